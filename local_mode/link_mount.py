"""The process behind a mounted link: python -m local_mode.link_mount, started by local_mode.first_read and nobody else.

The only module that says `import mfusepy`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from typing import Any

from mfusepy import (  # type: ignore[import-untyped]
    FUSE,
    fuse_get_context,
    fuse_version_major,
    fuse_version_minor,
)

from local_mode.contents import connect
from local_mode.first_read import ERRAND, READY, Errand
from local_mode.linked_directory import LinkedDirectory
from local_mode.links import DataRepository
from training_job.errors import HomeportError, MachineCannot

_THREADS = 64


class _FileBuffer(ctypes.Structure):
    """A fuse_bufvec of one fuse_buf (fuse_common.h), with room for the member that libfuse 3.17 added at its end."""

    _fields_ = (
        ("count", ctypes.c_size_t),
        ("index", ctypes.c_size_t),
        ("offset", ctypes.c_size_t),
        ("size", ctypes.c_size_t),
        ("flags", ctypes.c_int),
        ("memory", ctypes.c_void_p),
        ("file", ctypes.c_int),
        ("position", ctypes.c_longlong),
        ("added", ctypes.c_size_t),
    )


_IS_FILE, _SEEK, _RETRY = 1 << 1, 1 << 2, 1 << 3
_LIBC = ctypes.CDLL(None)
_LIBC.calloc.restype = ctypes.c_void_p
_LIBC.calloc.argtypes = (ctypes.c_size_t, ctypes.c_size_t)


class _Operations(LinkedDirectory):
    """A linked directory, and what makes mfusepy ask the session for a buffer instead of for bytes."""

    def read_buf(self) -> None:
        """Never called."""


class _Session(FUSE):  # type: ignore[misc]
    """Mfusepy's, but for two callbacks that it cannot pass on as they are."""

    def rename_fuse_3(self, old: bytes, new: bytes, flags: int) -> int:
        if flags:
            # RENAME_NOREPLACE and RENAME_EXCHANGE, which Python's rename does not know.
            return -errno.EINVAL
        return super().rename_fuse_3(old, new, flags)  # type: ignore[no-any-return]

    def read_buf(self, _path: bytes, buffers: Any, size: int, offset: int, opened: Any) -> int:
        """Name the file and let libfuse read it, outside Python; libfuse frees the buffer."""
        address = _LIBC.calloc(1, ctypes.sizeof(_FileBuffer))
        if not address:
            return -errno.ENOMEM
        buffer = _FileBuffer.from_address(address)
        buffer.count, buffer.size, buffer.flags = 1, size, _IS_FILE | _SEEK | _RETRY
        buffer.file, buffer.position = opened.contents.fh, offset
        ctypes.cast(buffers, ctypes.POINTER(ctypes.c_void_p))[0] = address
        return 0


def serve(errand: Errand) -> None:
    """Mount, and answer until somebody unmounts. Raises MachineCannot; RuntimeError where libfuse has said why not."""
    with DataRepository(errand.link, connect(errand.link.bucket)) as repository:
        repository.sweep(errand.found.subpath)
        try:
            directory = _Operations(repository, errand.found, fuse_get_context, _say_ready)
        except OSError as error:
            raise MachineCannot(f"{error.filename} cannot be made: {error.strerror}") from None
        # The kernel has taken the caller's umask off what it asks for.
        os.umask(0)
        # Ten threads unless told otherwise, and each fetch keeps one. Told only the most, libfuse 3.14 complains.
        threads = {"max_threads": _THREADS} if (fuse_version_major, fuse_version_minor) >= (3, 12) else {}
        _Session(
            directory,
            str(errand.mount_point),
            foreground=True,
            allow_other=True,
            default_permissions=True,
            fsname=str(errand.link.uri).replace(",", ""),
            subtype="homeport",
            # What is read stays in the kernel's memory until the file is another: others may write to the directory.
            auto_cache=True,
            attr_timeout=1,
            entry_timeout=1,
            max_idle_threads=10,
            **threads,
        )


def main() -> int:
    """Take the errand from stdin. What goes wrong before the mount answers is said on stdout."""
    try:
        serve(ERRAND.validate_json(sys.stdin.buffer.read()))
    except HomeportError as error:
        print(error)
        return error.exit_code
    except RuntimeError:
        return 1
    return 0


def _say_ready() -> None:
    """Once and for all: who waits reads to the end."""
    os.write(sys.stdout.fileno(), READY.encode())
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


if __name__ == "__main__":
    sys.exit(main())
