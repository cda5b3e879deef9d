"""Files and folders that appear under their name only when they are whole, and what a killed process left of them.

What is in the making is locked by its writer. The kernel drops the lock with the process, so a part that nobody holds
is a remain, whoever finds it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile, mkdtemp
from typing import IO, cast

from training_job.errors import DiskFull

SUFFIX = ".homeport-part"
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


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
def written_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `path` at the end and is gone where that is not reached. Raises DiskFull."""
    with no_room_told(path, 0):
        path.parent.mkdir(parents=True, exist_ok=True)
        made = Path(mkdtemp(dir=path.parent, prefix=".", suffix=SUFFIX))
        held = os.open(made, os.O_RDONLY)
        try:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield made
            made.chmod(0o755)
            made.replace(path)
        finally:
            shutil.rmtree(made, ignore_errors=True)
            os.close(held)


def sweep(folder: Path) -> None:
    """Remove the parts anywhere below a folder that no process writes any more."""
    for directory, folders, names in os.walk(folder):
        for name in (*names, *folders):
            if name.endswith(SUFFIX):
                _remove_unheld(Path(directory, name))
        # One that is still being filled holds nothing that is ours to look at.
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


def _remove_unheld(part: Path) -> None:
    try:
        held = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        # Its writer has just finished.
        return
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink()
    except OSError:
        # Somebody writes it, or has just finished.
        return
    finally:
        os.close(held)
