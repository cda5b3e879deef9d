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
from tempfile import NamedTemporaryFile, mkdtemp
from typing import IO, cast

from training_job.errors import DiskFull

SUFFIX = ".homeport-part"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def written(path: Path, *, needed: int = 0, parts: Path | None = None) -> Iterator[IO[bytes]]:
    """A file to write, which becomes `path` at the end and is gone where that is not reached.

    The part lies beside `path`, or in `parts` on the same file system. Raises DiskFull, naming `needed` bytes.
    """
    folder = parts or path.parent
    with no_room_told(path, needed):
        folder.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=folder, prefix=".", suffix=SUFFIX, delete=False) as part:
            made = Path(part.name)
            try:
                fcntl.flock(part, fcntl.LOCK_EX)
                yield cast(IO[bytes], part)
                part.flush()
                made.chmod(0o644)
                path.parent.mkdir(parents=True, exist_ok=True)
                made.replace(path)
            finally:
                made.unlink(missing_ok=True)


@contextmanager
def spool(folder: Path) -> Iterator[Path]:
    """A directory in `folder` to write to, of any number of files, gone at the end with all of them."""
    with no_room_told(folder, 0):
        folder.mkdir(parents=True, exist_ok=True)
        made = Path(mkdtemp(dir=folder, prefix=".", suffix=SUFFIX))
    held = os.open(made, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        os.close(held)


def sweep(folder: Path) -> None:
    """Remove the parts and spools anywhere below a folder that no process writes any more."""
    for directory, folders, names in os.walk(folder):
        for name in (*names, *folders):
            if name.endswith(SUFFIX):
                _remove_unheld(Path(directory, name))
        folders[:] = [name for name in folders if not name.endswith(SUFFIX)]


@contextmanager
def no_room_told(path: Path, needed: int) -> Iterator[None]:
    """A full disk, met while `needed` bytes are written to `path`, as DiskFull."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        there = next(folder for folder in (path, *path.parents) if folder.exists())
        raise DiskFull(path, needed, shutil.disk_usage(there).free) from None


def _remove_unheld(part: Path) -> None:
    try:
        held = os.open(part, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        # Its writer has just finished.
        return
    try:
        with suppress(OSError):
            # Refused while somebody writes it.
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if part.is_dir():
                shutil.rmtree(part, ignore_errors=True)
            else:
                part.unlink()
    finally:
        os.close(held)
