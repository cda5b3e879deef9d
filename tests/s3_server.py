"""A real S3 server for tests, on loopback: rclone serves folders as buckets."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

_RCLONE = shutil.which("rclone", path=str(Path(sys.executable).parent)) or "rclone"
_PATIENCE = 30


@dataclass(frozen=True)
class S3Server:
    """A server that answers. `root` holds a folder for each bucket."""

    url: str
    root: Path
    credentials: dict[str, str] = field(
        default_factory=lambda: {
            "AWS_ACCESS_KEY_ID": "homeport-test",
            "AWS_SECRET_ACCESS_KEY": "homeport-secret",
            "AWS_REGION": "us-west-2",
        }
    )

    def put(self, bucket: str, key: str, content: bytes) -> None:
        """An object, written where the server finds it."""
        path = self.root / bucket / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@contextmanager
def serving(root: Path) -> Iterator[S3Server]:
    """A server over `root`, ended on exit."""
    root.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    server = S3Server(f"http://{address}", root)
    keys = ",".join(list(server.credentials.values())[:2])
    # Whatever a folder holds is seen at once.
    command = [_RCLONE, "serve", "s3", "--addr", address, "--auth-key", keys, "--dir-cache-time", "0s", str(root)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(server.url, process)
        yield server
    finally:
        process.terminate()
        process.wait()


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        try:
            urlopen(url).close()
        except HTTPError:
            return
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise AssertionError(f"rclone serves no S3 at {url}")
