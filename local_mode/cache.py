"""Objects of S3 kept on this machine, shared by all its jobs: each fetched once while it does not change.

    objects/ab/ab12…     an object's content, named by store, key and ETag
    trees/12cd…/         a channel as a job sees it: hard links to objects, named by what it holds
    trees/12cd….lock     shared by the jobs that use the tree, held alone by the one that makes it
    parts/               what is being fetched or linked
    lock                 held by whoever makes room

Nothing has a name before it is whole, so a process may be killed at any point.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from local_mode.cache_room import LOCK, OBJECTS, PARTS, TREES, drop, lock_now, make_room
from local_mode.fetching import Fetching, each, fetch
from local_mode.inputs.listing import Entry
from local_mode.object_store import ObjectStore, S3Object
from local_mode.part_files import no_room_told, spool, sweep, written
from training_job.errors import DiskFull, Interrupted, MachineCannot

_POLL = 0.05  # seconds between two looks at a lock, and at whether the job was stopped


class CacheFull(DiskFull):
    """The cache's disk has no room; what this job fetched is removed again."""

    def __init__(self, directory: Path, needed: int, free: int) -> None:
        MachineCannot.__init__(
            self,
            f"the cache {directory}: no room. {needed / 1e6:,.1f} MB are to be fetched and {free / 1e6:,.1f} MB are "
            "free. Free some, or name a directory on another disk with HOMEPORT_CACHE.",
        )


@dataclass(frozen=True)
class _Wanted:
    """An object that is to be fetched: where it is kept, and the files of a tree that are it."""

    object: S3Object
    path: Path
    targets: list[Path]


class Cache:
    """The cache below a directory, held under `limit` bytes while nobody uses more."""

    def __init__(self, directory: Path, limit: int) -> None:
        self._directory = directory
        self._limit = limit
        self._streamed = 0

    def sweep(self) -> None:
        """Remove what killed jobs had begun."""
        with self._told():
            sweep(self._directory / PARTS)

    @contextmanager
    def tree(
        self, store: ObjectStore, entries: Sequence[Entry], told: Fetching, stopped: Callable[[], bool]
    ) -> Iterator[Path]:
        """A directory that holds exactly these entries, to be read only; it stays while the context is open.

        Raises CacheFull, having removed what it fetched; Interrupted once `stopped` says so.
        """
        tree = self._directory / TREES / _tree_name(store, entries)
        with self._told():
            lock = self._held(tree, store, entries, told, stopped)
        with lock:
            yield tree

    def fetch(
        self, store: ObjectStore, objects: Sequence[S3Object], told: Fetching, stopped: Callable[[], bool]
    ) -> list[Path]:
        """Where each object's content is, fetched where it was not. Only a tree holds it when others make room."""
        entries = [Entry(str(number), item) for number, item in enumerate(objects)]
        with self._told(), spool(self._directory / PARTS) as folder:
            self._fill(folder, store, entries, told, stopped)
        return [self._object(store, item) for item in objects]

    def opened(self, store: ObjectStore, item: S3Object) -> IO[bytes] | None:
        """Its content, if it is here; readable until it is closed, whatever room is made."""
        path = self._object(store, item)
        with suppress(FileNotFoundError):
            os.utime(path)
            return path.open("rb")
        return None

    def streamed(self, store: ObjectStore, item: S3Object) -> Generator[bytes, None, None]:
        """Its content as it is fetched, kept once it is whole. What there is no room for is only passed on."""
        path, pieces, unsent = self._object(store, item), store.read(item), list[bytes]()
        if item.size > self._limit:
            yield from pieces
            return
        try:
            with self._told(), written(path, needed=item.size, parts=self._directory / PARTS) as part:
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

    def make_room(self, needed: int = 0) -> None:
        """Remove what was used least recently until `needed` bytes more fit; nothing that a job uses."""
        with self._told():
            make_room(self._directory, self._limit, needed)

    def _held(
        self, tree: Path, store: ObjectStore, entries: Sequence[Entry], told: Fetching, stopped: Callable[[], bool]
    ) -> IO[str]:
        """The tree's lock, shared, once the tree is whole."""
        path = tree.with_suffix(LOCK)
        # Neither lock is waited for alone: who made the tree shares it for as long as its job runs.
        while not stopped():
            if (lock := lock_now(path, fcntl.LOCK_SH)) and _is_whole_under(lock, tree, entries):
                os.utime(tree)
                return lock
            if lock := lock_now(path, fcntl.LOCK_EX):
                with lock:
                    if not _is_whole(tree, entries):
                        self._make(tree, store, entries, told, stopped)
                continue
            time.sleep(_POLL)
        raise Interrupted

    def _make(
        self, tree: Path, store: ObjectStore, entries: Sequence[Entry], told: Fetching, stopped: Callable[[], bool]
    ) -> None:
        with spool(self._directory / PARTS) as folder:
            making = folder / "tree"
            making.mkdir(mode=0o755)
            making.chmod(0o755)
            rest = _link_files(making, store, entries)
            self._fill(making, store, rest, told, stopped)
            if tree.is_dir():
                drop(self._directory, tree)
            making.rename(tree)

    def _fill(
        self, making: Path, store: ObjectStore, entries: Sequence[Entry], told: Fetching, stopped: Callable[[], bool]
    ) -> None:
        """Link every entry's object, fetched where it is not here."""
        missing: dict[Path, _Wanted] = {}
        for entry in entries:
            path, target = self._object(store, entry.object), _below(making, entry)
            if not _linked(path, target, entry.object.size):
                missing.setdefault(path, _Wanted(entry.object, path, [])).targets.append(target)
        self.make_room(sum(wanted.object.size for wanted in missing.values()))
        if missing:
            self._fetch(store, missing, told, stopped)

    def _fetch(
        self, store: ObjectStore, missing: Mapping[Path, _Wanted], told: Fetching, stopped: Callable[[], bool]
    ) -> None:
        needed = sum(wanted.object.size for wanted in missing.values())
        self._check_room(needed)
        told.fetching(len(missing), needed)
        made: list[Path] = []

        def one(wanted: _Wanted, over: Callable[[], bool]) -> None:
            first, *others = wanted.targets
            fetch(store, wanted.object, first, told, over)
            first.chmod(0o644)
            _keep(first, wanted.path, made)
            for other in others:
                os.link(first, other)

        try:
            with no_room_told(self._directory, needed):
                each(one, list(missing.values()), stopped)
        except DiskFull:
            for path in made:
                path.unlink(missing_ok=True)
            raise CacheFull(self._directory, needed, self._free()) from None

    def _check_room(self, needed: int) -> None:
        if needed > (free := self._free()):
            raise CacheFull(self._directory, needed, free)

    def _object(self, store: ObjectStore, item: S3Object) -> Path:
        name = _digest(store.identity, store.uri(item.key), item.etag, str(item.size))
        return self._directory / OBJECTS / name[:2] / name

    def _free(self) -> int:
        return shutil.disk_usage(self._directory).free

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What the file system refuses, as a person can mend it."""
        try:
            yield
        except DiskFull as full:
            raise full if isinstance(full, CacheFull) else CacheFull(self._directory, 0, self._free()) from None
        except OSError as error:
            raise MachineCannot(
                f"the cache {self._directory}: {error.filename or self._directory}: {error.strerror}. "
                "Name another directory with HOMEPORT_CACHE"
            ) from None


def _tree_name(store: ObjectStore, entries: Sequence[Entry]) -> str:
    parts = (part for entry in sorted(entries, key=lambda entry: entry.path) for part in _parts(store, entry))
    return _digest(store.identity, *parts)


def _parts(store: ObjectStore, entry: Entry) -> tuple[str, ...]:
    return entry.path, store.uri(entry.object.key), entry.object.etag, str(entry.object.size)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _is_whole(tree: Path, entries: Sequence[Entry]) -> bool:
    """Whether every file is there with its size, which a power cut or a person may have changed."""
    try:
        return tree.is_dir() and all((tree / entry.path).stat().st_size == entry.object.size for entry in entries)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _is_whole_under(lock: IO[str], tree: Path, entries: Sequence[Entry]) -> bool:
    """Whether the tree is whole; the lock is let go where it is not."""
    if _is_whole(tree, entries):
        return True
    lock.close()
    return False


def _below(making: Path, entry: Entry) -> Path:
    target = making / entry.path
    if "/" in entry.path:
        target.parent.mkdir(parents=True, exist_ok=True)
    return target


def _link_files(making: Path, store: ObjectStore, entries: Sequence[Entry]) -> list[Entry]:
    """Link what lies on this machine already; the rest is to be fetched: on another file system, or another's."""
    rest = []
    for entry in entries:
        file = store.file(entry.object)
        # link() would link a link.
        real = file.resolve() if file and file.is_symlink() else file
        if real is None or not _linked(real, _below(making, entry), entry.object.size):
            rest.append(entry)
    return rest


def _linked(file: Path, target: Path, size: int) -> bool:
    """Link a file, if it is there, whole, and on a file system that lets it be linked from here."""
    try:
        os.link(file, target)
    except OSError:
        return False
    if target.stat().st_size == size:
        return True
    target.unlink()
    return False


def _keep(file: Path, path: Path, made: list[Path]) -> None:
    """Name a fetched file as the object it is, unless another job has been quicker."""
    try:
        os.link(file, path)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(file, path)
    except FileExistsError:
        if path.stat().st_size == file.stat().st_size:
            return
        path.unlink()
        os.link(file, path)
    made.append(path)
