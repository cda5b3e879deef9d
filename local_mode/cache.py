"""Objects of S3 kept on this machine, shared by all its jobs: each fetched once while it does not change.

    objects/ab/ab12…     an object's content, named by store, key and ETag
    trees/12cd…/         a channel as a job sees it: hard links to objects, named by what it holds
    trees/12cd….lock     shared by the jobs that use the tree, held alone by the one that makes it
    parts/               what is being fetched or linked
    lock                 shared by all that add, held alone by whoever makes room

Nothing has a name before it is whole, so a process may be killed at any point.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import IO, Protocol

from local_mode.inputs.listing import Entry
from local_mode.object_store import ObjectStore, S3Object
from local_mode.part_files import no_room_told, sweep, written
from training_job.errors import DiskFull, Interrupted, MachineCannot

_FETCHERS = 16


class Fetching(Protocol):
    """Who is told how a fetch goes; called from several threads."""

    def fetching(self, objects: int, size: int) -> None:
        """So many objects of so many bytes are to be fetched."""

    def fetched(self, size: int) -> None:
        """So many bytes more are here."""


class Cache:
    """The cache below a directory, held under `limit` bytes while nobody uses more."""

    def __init__(self, directory: Path, limit: int) -> None:
        self._directory = directory
        self._limit = limit
        self._streamed = 0

    @contextmanager
    def tree(
        self, store: ObjectStore, entries: Sequence[Entry], told: Fetching, stopped: Callable[[], bool]
    ) -> Iterator[Path]:
        """A directory that holds exactly these entries, to be read only; it stays while the context is open.

        Raises DiskFull, having removed what it fetched; Interrupted once `stopped` says so.
        """
        tree = self._directory / "trees" / _tree_name(store, entries)
        with self._told(tree):
            tree.parent.mkdir(parents=True, exist_ok=True)
            lock = tree.with_suffix(".lock").open("a")
        with lock:
            with self._told(tree):
                fcntl.flock(lock, fcntl.LOCK_SH)
                if not tree.is_dir():
                    _hold_alone(lock, stopped)
                    if not tree.is_dir():
                        self._make(tree, store, entries, told, stopped)
                    fcntl.flock(lock, fcntl.LOCK_SH)
                os.utime(tree)
            yield tree

    def fetch(
        self, store: ObjectStore, objects: Sequence[S3Object], told: Fetching, stopped: Callable[[], bool]
    ) -> list[Path]:
        """Where each object's content is, fetched where it was not."""
        paths = [self._object(store, item) for item in objects]
        missing = {path: item for path, item in zip(paths, objects, strict=True) if not _touched(path)}
        if missing:
            self._fetch_all(store, missing, told, stopped)
        return paths

    def opened(self, store: ObjectStore, item: S3Object) -> IO[bytes] | None:
        """Its content, if it is here; readable until it is closed, whatever room is made."""
        path = self._object(store, item)
        with suppress(FileNotFoundError):
            return path.open("rb") if _touched(path) else None
        return None

    def streamed(self, store: ObjectStore, item: S3Object) -> Generator[bytes, None, None]:
        """Its content as it is fetched, kept once it is whole. What there is no room for is only passed on."""
        path, pieces, unsent = self._object(store, item), store.read(item), list[bytes]()
        if item.size > self._limit:
            yield from pieces
            return
        try:
            with self._told(path), written(path, parts=self._directory / "parts") as part:
                self._check_room(item.size)
                for piece in pieces:
                    unsent.append(piece)
                    part.write(piece)
                    yield unsent.pop()
        except DiskFull:
            yield from unsent
            yield from pieces
            return
        self._streamed += item.size
        if self._streamed > self._limit // 8:
            self._streamed = 0
            self.make_room()

    def make_room(self) -> None:
        """Remove what was used least recently until the cache is within its limit; nothing that a job uses."""
        with _locked(self._directory / "lock", fcntl.LOCK_EX | fcntl.LOCK_NB) as lock:
            if lock is None:
                return
            sweep(self._directory / "parts")
            for leftover in (self._directory / "parts").glob("tree-*"):
                shutil.rmtree(leftover, ignore_errors=True)
            excess = sum(item.stat().st_size for item in self._objects()) - self._limit
            for tree in sorted((self._directory / "trees").glob("*/"), key=lambda path: path.stat().st_mtime):
                if excess > 0:
                    _remove_unused(tree)
                    excess = self._remove_unlinked(excess)
            if excess > 0:
                self._remove_unlinked(excess)

    def _make(
        self,
        tree: Path,
        store: ObjectStore,
        entries: Sequence[Entry],
        told: Fetching,
        stopped: Callable[[], bool],
    ) -> None:
        with _locked(self._directory / "lock", fcntl.LOCK_SH):
            parts = self._directory / "parts"
            parts.mkdir(parents=True, exist_ok=True)
            making = Path(mkdtemp(prefix="tree-", dir=parts))
            try:
                making.chmod(0o755)
                rest = _link_files(making, store, entries)
                for entry, path in zip(
                    rest, self.fetch(store, [entry.object for entry in rest], told, stopped), strict=True
                ):
                    os.link(path, _below(making, entry))
                making.replace(tree)
            finally:
                shutil.rmtree(making, ignore_errors=True)
        self.make_room()

    def _fetch_all(
        self, store: ObjectStore, missing: dict[Path, S3Object], told: Fetching, stopped: Callable[[], bool]
    ) -> None:
        needed = sum(item.size for item in missing.values())
        self._directory.mkdir(parents=True, exist_ok=True)
        self._check_room(needed)
        told.fetching(len(missing), sum(item.size for item in missing.values()))
        failed = threading.Event()
        made: list[Path] = []

        def one(path: Path, item: S3Object) -> None:
            def over() -> bool:
                return failed.is_set() or stopped()

            if not over():
                self._fetch_one(store, item, path, told, over)
                made.append(path)

        with ThreadPoolExecutor(max_workers=_FETCHERS) as pool:
            futures = [pool.submit(one, path, item) for path, item in missing.items()]
            _first_failure(futures, failed)
        if stopped():
            raise Interrupted
        try:
            for future in futures:
                future.result()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            for path in made:
                path.unlink(missing_ok=True)
            raise DiskFull(self._directory, needed, shutil.disk_usage(self._directory).free) from None

    def _fetch_one(
        self, store: ObjectStore, item: S3Object, path: Path, told: Fetching, over: Callable[[], bool]
    ) -> None:
        with written(path, parts=self._directory / "parts") as part:
            for piece in store.read(item):
                if over():
                    raise Interrupted
                part.write(piece)
                told.fetched(len(piece))

    def _check_room(self, needed: int) -> None:
        free = shutil.disk_usage(self._directory).free
        if needed > free:
            raise DiskFull(self._directory, needed, free)

    def _object(self, store: ObjectStore, item: S3Object) -> Path:
        name = _digest(store.identity, store.uri(item.key), item.etag, str(item.size))
        return self._directory / "objects" / name[:2] / name

    def _objects(self) -> Iterator[Path]:
        return (self._directory / "objects").glob("*/*")

    def _remove_unlinked(self, excess: int) -> int:
        """Remove objects that are in no tree, oldest first; what is still too much."""
        unlinked = [(item, item.stat()) for item in self._objects()]
        for item, stat in sorted(unlinked, key=lambda found: found[1].st_mtime):
            if excess > 0 and stat.st_nlink == 1:
                item.unlink()
                excess -= stat.st_size
        return excess

    @contextmanager
    def _told(self, tree: Path) -> Iterator[None]:
        try:
            with no_room_told(tree, 0):
                yield
        except PermissionError as error:
            raise MachineCannot(
                f"the cache {self._directory}: {error.filename} is not yours to write. Name another with HOMEPORT_CACHE"
            ) from None


def _tree_name(store: ObjectStore, entries: Sequence[Entry]) -> str:
    parts = (part for entry in sorted(entries, key=lambda entry: entry.path) for part in _parts(store, entry))
    return _digest(store.identity, *parts)


def _parts(store: ObjectStore, entry: Entry) -> tuple[str, ...]:
    return entry.path, store.uri(entry.object.key), entry.object.etag, str(entry.object.size)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _below(making: Path, entry: Entry) -> Path:
    target = making / entry.path
    if "/" in entry.path:
        target.parent.mkdir(parents=True, exist_ok=True)
    return target


def _link_files(making: Path, store: ObjectStore, entries: Sequence[Entry]) -> list[Entry]:
    """Link what lies on this machine already; the rest, which is to be fetched, as on another file system."""
    rest = []
    for entry in entries:
        file = store.file(entry.object)
        try:
            if file is None:
                raise FileNotFoundError
            os.link(file.resolve(), _below(making, entry))
        except OSError:
            rest.append(entry)
    return rest


def _touched(path: Path) -> bool:
    """Whether the object is here; if so, it was used now."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def _hold_alone(lock: IO[str], stopped: Callable[[], bool]) -> None:
    """Wait until nobody else holds the lock: another job may be fetching the same channel."""
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if stopped():
                raise Interrupted from None
            time.sleep(0.05)
        else:
            return


def _first_failure(futures: Sequence[Future[None]], failed: threading.Event) -> None:
    """Wait for all; the first that fails ends the others' work."""
    done, _ = wait(futures, return_when=FIRST_EXCEPTION)
    if any(future.exception() for future in done):
        failed.set()
        wait(futures)


def _remove_unused(tree: Path) -> None:
    with _locked(tree.with_suffix(".lock"), fcntl.LOCK_EX | fcntl.LOCK_NB) as lock:
        if lock is not None:
            shutil.rmtree(tree, ignore_errors=True)


@contextmanager
def _locked(path: Path, how: int) -> Iterator[int | None]:
    """A lock file, held; None where another holds it and `how` says not to wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, how)
        except BlockingIOError:
            yield None
            return
        yield file.fileno()
