"""Locks that are files, held against threads and processes alike; the kernel drops them with whoever held them."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from training_job.errors import Interrupted


@contextmanager
def alone(lock: Path, over: Callable[[], bool]) -> Iterator[None]:
    """Hold a lock whose file is there only while somebody holds it. Raises Interrupted if `over` says so meanwhile."""
    while True:
        with lock.open("a") as held:
            _hold(held.fileno(), over)
            if _is(held.fileno(), lock):
                try:
                    yield
                finally:
                    lock.unlink()
                return


def _hold(lock: int, over: Callable[[], bool]) -> None:
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if over():
                raise Interrupted from None
            time.sleep(0.01)
        else:
            return


def _is(lock: int, path: Path) -> bool:
    """Whether a held lock is still the one at its path: whoever held it before has removed it."""
    try:
        return os.path.samestat(os.fstat(lock), path.stat())
    except FileNotFoundError:
        return False
