"""Objects fetched to files by several threads; a job that is stopped does not wait for one that hangs."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Protocol, TypeVar

from local_mode.object_store import ObjectStore, ObjectVanished, S3Object
from training_job.errors import Interrupted

T = TypeVar("T")
R = TypeVar("R")
_THREADS = 16
_PATIENCE = 1.0  # seconds for threads to end once they need not go on


class Fetching(Protocol):
    """Who is told how a fetch goes; called from several threads."""

    def fetching(self, objects: int, size: int) -> None:
        """So many objects of so many bytes are to be fetched."""

    def fetched(self, size: int) -> None:
        """So many bytes more are here."""


def fetch(store: ObjectStore, item: S3Object, target: Path, told: Fetching, over: Callable[[], bool]) -> None:
    """Write an object's content to a new file. Raises ObjectVanished, Interrupted once it is `over`."""
    size = 0
    with target.open("xb") as file:
        for piece in store.read(item):
            if over():
                raise Interrupted
            file.write(piece)
            size += len(piece)
            told.fetched(len(piece))
    if size != item.size:
        raise ObjectVanished(store.uri(item.key))


def each(work: Callable[[T, Callable[[], bool]], None], items: Sequence[T], stopped: Callable[[], bool]) -> None:
    """Do `work` for every item; it is told when it need not go on. Raises the first failure, Interrupted if stopped."""
    over = threading.Event()
    todo, turn = deque(items), threading.Lock()
    ended: SimpleQueue[BaseException | None] = SimpleQueue()

    def run() -> None:
        try:
            while not over.is_set():
                with turn:
                    item = todo.popleft() if todo else None
                if item is None:
                    break
                work(item, over.is_set)
            ended.put(None)
        except BaseException as error:
            ended.put(error)

    # Daemons, since one that waits for a server that is gone must not keep the process.
    threads = [threading.Thread(target=run, daemon=True) for _ in range(min(_THREADS, len(items)))]
    for thread in threads:
        thread.start()
    try:
        for _ in threads:
            if failure := _next(ended, stopped):
                raise failure
    finally:
        over.set()
        deadline = time.monotonic() + _PATIENCE
        for thread in threads:
            thread.join(max(0, deadline - time.monotonic()))


def answer(work: Callable[[], R], stopped: Callable[[], bool]) -> R:
    """What `work` returns or raises; Interrupted if stopped meanwhile, while it waits for a server that is silent.

    It must leave nothing that matters if it is never waited for.
    """
    found: list[R] = []
    each(lambda do, _: found.append(do()), [work], stopped)
    return found[0]


def _next(ended: SimpleQueue[BaseException | None], stopped: Callable[[], bool]) -> BaseException | None:
    while True:
        if stopped():
            raise Interrupted
        try:
            return ended.get(timeout=0.1)
        except Empty:
            continue
