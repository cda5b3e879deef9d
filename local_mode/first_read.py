"""A linked directory as a job is to see it: every object is a file at once, and its content comes when it is opened.

The file system is a process of its own (local_mode.link_mount): a mount answers while the harness waits for its hosts.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter

from local_mode import fuse
from local_mode.inputs.linked import Link
from local_mode.links import Survey
from training_job.errors import MachineCannot

READY = "ready"
_LIBRARIES = ("libfuse3.so.4", "libfuse3.so.3")
_PATIENCE = 2.0
_READ_AHEAD_KILOBYTES = 1024


@dataclass(frozen=True)
class Errand:
    """What the mounting process is told."""

    link: Link
    found: Survey
    mount_point: Path


ERRAND = TypeAdapter(Errand)


def can_mount() -> str | None:
    """Why no linked directory can be mounted here; None if it can. Where it cannot, hydrate it before the job."""
    if why := fuse.why_not():
        return why
    if _library() is None:
        return "libfuse3 is not installed (Debian and Ubuntu: apt-get install fuse3)"
    return None


@contextmanager
def mounted(link: Link, found: Survey, mount_point: Path) -> Iterator[Path]:
    """The link's directory, or the path of it that was surveyed, at `mount_point` while the context is open.

    What is read or written there is read and written in the directory. The process that opens this context must do so
    in a thread that lives as long. Raises MachineCannot.
    """
    mount_point.mkdir(parents=True, exist_ok=True)
    server = _start(Errand(link, found, mount_point))
    try:
        _wait(server, mount_point)
        yield mount_point
    finally:
        _end(server, mount_point)


def clear_stale(mount_point: Path) -> None:
    """Remove a mount point that a killed harness has left, its process gone or not."""
    if fuse.is_mount(mount_point):
        fuse.unmount(mount_point)
    with suppress(OSError):
        mount_point.rmdir()


def _start(errand: Errand) -> subprocess.Popen[bytes]:
    server = subprocess.Popen(
        [sys.executable, "-P", "-m", "local_mode.link_mount"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": _import_path(), "FUSE_LIBRARY_PATH": _library() or ""},
        # Ctrl-C asks for a stop, during which hosts still read.
        start_new_session=True,
        preexec_fn=fuse.end_with_parent,  # noqa: PLW1509 - it calls prctl and nothing else
    )
    assert server.stdin
    # One that has died says why on its other pipe.
    with suppress(BrokenPipeError), server.stdin as pipe:
        pipe.write(ERRAND.dump_json(errand))
    return server


def _wait(server: subprocess.Popen[bytes], mount_point: Path) -> None:
    """Until the mount answers; the process closes its output when it is ready."""
    assert server.stdout
    said = server.stdout.read().decode(errors="replace").strip()
    if said != READY:
        raise MachineCannot(said or f"{mount_point} cannot be mounted; what FUSE says of it stands above")
    device = mount_point.stat().st_dev
    # 128 KB by default, which makes many small requests of a long read. Only root may ask for more.
    with suppress(OSError):
        Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb").write_text(
            str(_READ_AHEAD_KILOBYTES), encoding="ascii"
        )


def _end(server: subprocess.Popen[bytes], mount_point: Path) -> None:
    clear_stale(mount_point)
    try:
        server.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        # Somebody still holds a file open, or a fetch does not end. Without the process their reads fail.
        server.kill()
        server.wait()
    if server.stdout:
        server.stdout.close()


def _import_path() -> str:
    """Where the process finds this package, wherever it is started."""
    ours = str(Path(__file__).parents[1])
    return os.pathsep.join([ours, *filter(None, [os.environ.get("PYTHONPATH")])])


@cache
def _library() -> str | None:
    for name in _LIBRARIES:
        with suppress(OSError):
            ctypes.CDLL(name)
            return name
    return None
