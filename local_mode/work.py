"""A directory for what a run needs while it runs and nobody after: pipes, mount points.

It lies outside the run's folder, under a lock: what a killed run left is found and removed by the next.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from local_mode import fuse
from local_mode.part_files import no_room_told
from training_job.errors import MachineCannot

_LOCK = ".lock"


@contextmanager
def work_directory(parent: Path) -> Iterator[Path]:
    """A new directory below `parent`, gone afterwards."""
    try:
        with no_room_told(parent, 0):
            parent.mkdir(parents=True, exist_ok=True)
            directory = Path(mkdtemp(dir=parent))
    except OSError as error:
        raise MachineCannot(
            f"{parent}: cannot be written ({error.strerror}). Name another with HOMEPORT_CACHE"
        ) from None
    with (directory / _LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield directory
        finally:
            _remove(directory)


def sweep(parent: Path) -> None:
    """Remove the directories whose run lives no more."""
    for directory in parent.glob("*/"):
        try:
            with (directory / _LOCK).open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(directory)
        except FileNotFoundError:
            _remove(directory)
        except OSError:
            continue


def _remove(directory: Path) -> None:
    for found, folders, _ in os.walk(directory):
        for folder in [folder for folder in folders if fuse.is_mount(Path(found, folder))]:
            fuse.unmount(Path(found, folder))
    shutil.rmtree(directory, ignore_errors=True)
