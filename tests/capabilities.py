"""Root as anybody: for tests of what may not be read or written."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_VERSION_3 = 0x20080522
_MAY_WRITE_ALL, _MAY_READ_ALL = 1 << 1, 1 << 2
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH (capabilities(7))."""
_SET_SECUREBITS, _NO_SETUID_FIXUP = 28, 1 << 2
"""prctl(2): without it, access(2) asks for what root might do, not for what it may do now."""


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Set(ctypes.Structure):
    _fields_ = [("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32)]


@contextmanager
def anybody() -> Iterator[None]:
    """Files' modes bind this thread meanwhile, also where it is root's (capset(2)); on Linux."""
    if os.geteuid() != 0 or sys.platform != "linux":
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header, held = _Header(_VERSION_3, 0), (_Set * 2)()
    _checked(libc.capget(ctypes.byref(header), held))
    mine = held[0].effective
    held[0].effective = mine & ~(_MAY_WRITE_ALL | _MAY_READ_ALL)
    _checked(libc.prctl(_SET_SECUREBITS, _NO_SETUID_FIXUP, 0, 0, 0))
    _checked(libc.capset(ctypes.byref(header), held))
    try:
        yield
    finally:
        _checked(libc.prctl(_SET_SECUREBITS, 0, 0, 0, 0))
        held[0].effective = mine
        _checked(libc.capset(ctypes.byref(header), held))


def _checked(code: int) -> None:
    if code != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
