"""Files that appear under their name only when they are whole, and what a killed process left of them.

A file in the making is locked by its writer. The kernel drops the lock with the process, so a part that nobody holds
is a remain, whoever finds it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, cast

from training_job.errors import DiskFull

SUFFIX = ".homeport-part"
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def written(path: Path, *, needed: int = 0, parts: Path | None = None) -> Iterator[IO[bytes]]:
    """A file to write, which becomes `path` at the end and is gone where that is not reached.

    The part lies beside `path`, or in `parts` on the same file system. Raises DiskFull, naming `needed` bytes.
    """
    with no_room_told(path, needed), _part(parts or path.parent) as part:
        yield part
        part.flush()
        Path(part.name).chmod(0o644)
        path.parent.mkdir(parents=True, exist_ok=True)
        Path(part.name).replace(path)


@contextmanager
def spool(folder: Path) -> Iterator[Path]:
    """A directory in `folder` to write to, of any number of files, gone at the end with all of them."""
    with _part(folder) as part:
        made = _spool_of(Path(part.name))
        with no_room_told(folder, 0):
            made.mkdir(mode=0o700)
        try:
            yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)


@contextmanager
def written_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `path` at the end and is gone where that is not reached. Raises DiskFull."""
    with no_room_told(path, 0), spool(path.parent) as made:
        yield made
        made.chmod(0o755)
        made.replace(path)


def sweep(folder: Path) -> None:
    """Remove the parts and spools anywhere below a folder that no process writes any more."""
    for directory, folders, names in os.walk(folder):
        for name in names:
            if name.endswith(SUFFIX):
                _remove_unheld(Path(directory, name))
        folders[:] = [name for name in folders if not name.endswith(SUFFIX)]


@contextmanager
def no_room_told(path: Path, needed: int) -> Iterator[None]:
    """A full disk, met while `needed` bytes are written to `path`, as DiskFull."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise disk_full(path, needed) from None


def disk_full(path: Path, needed: int) -> DiskFull:
    """What there is to say when `needed` bytes find no room at `path`."""
    there = next(folder for folder in (path, *path.parents) if folder.exists())
    return DiskFull(path, needed, shutil.disk_usage(there).free)


@contextmanager
def _part(folder: Path) -> Iterator[IO[bytes]]:
    """A new part, held while the context is open; whatever still has its name then is removed."""
    with no_room_told(folder, 0):
        part = _held(folder)
    with part:
        try:
            yield part
        finally:
            Path(part.name).unlink(missing_ok=True)


def _held(folder: Path) -> IO[bytes]:
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        part = NamedTemporaryFile(dir=folder, prefix=".", suffix=SUFFIX, delete=False)  # noqa: SIM115 - the caller's
        fcntl.flock(part, fcntl.LOCK_EX)
        # One that was swept before it was held is no part any more.
        if os.fstat(part.fileno()).st_nlink:
            return cast(IO[bytes], part)
        part.close()


def _spool_of(part: Path) -> Path:
    """A spool lies beside a part that is held for it: some file systems lock no directories."""
    return part.with_name(f"{part.name.removesuffix(SUFFIX)}.spool{SUFFIX}")


def _remove_unheld(part: Path) -> None:
    with suppress(OSError), part.open("r+b") as held:
        # Refused while somebody writes it; gone where its writer has just finished.
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(_spool_of(part), ignore_errors=True)
        part.unlink()
