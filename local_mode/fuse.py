"""File systems in user space: whether this machine has them, and how one is ended."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_SYS_ADMIN = 21  # linux/capability.h


def why_not() -> str | None:
    """Why no file system can be mounted here so that an engine sees it; None if one can."""
    if sys.platform != "linux" or not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "there is no /dev/fuse"
    if shutil.which("fusermount3") is None:
        return "fusermount3 is not installed (Debian and Ubuntu: apt-get install fuse3)"
    if os.geteuid() != 0 and not _others_allowed():
        return "/etc/fuse.conf has no line user_allow_other, without which the engine cannot read the mount"
    if os.geteuid() == 0 and not _may_mount():
        return "this root may not mount: it lacks CAP_SYS_ADMIN, as in a container"
    return None


def is_mount(path: Path) -> bool:
    """Whether a file system is mounted there, be it one whose server is gone."""
    try:
        return path.is_mount()
    except OSError:
        return True


def unmount(path: Path) -> None:
    """Unmount what is there, at once for new readers and for the others when they are done."""
    subprocess.run(["fusermount3", "-u", "-z", path], check=False, capture_output=True)


def end_with_parent() -> None:
    """For a child before it becomes its program: be killed when the harness is."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _others_allowed() -> bool:
    try:
        lines = Path("/etc/fuse.conf").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    return "user_allow_other" in (line.strip() for line in lines)


def _may_mount() -> bool:
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("CapEff:"):
                return bool(int(line.split()[1], 16) >> _SYS_ADMIN & 1)
    return True
