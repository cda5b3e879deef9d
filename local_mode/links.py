"""A file system whose data repository is a prefix of S3: which objects are here as files, and how the others come.

As on FSx for Lustre, an object below the prefix is a file of the same path. One that changes in S3 is fetched again
unless its file was changed here; one that is deleted in S3 later stays, as where nothing is deleted automatically; what
is written here is not exported.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from local_mode.fetching import Fetching, each
from local_mode.inputs.linked import Link
from local_mode.inputs.listing import Entry, ListingRefused, under_prefix
from local_mode.link_state import LinkState, Written
from local_mode.locks import alone
from local_mode.object_store import InputRefused, ObjectStore, ObjectVanished, S3Object
from local_mode.part_files import sweep, written
from training_job.errors import DiskFull, HomeportError, Interrupted, MachineCannot

_NAMED = 5

Standing = Literal["here", "missing", "kept"]


class HydrationInterrupted(Interrupted):
    """Ctrl-C while objects were fetched."""

    def __init__(self, fetched: int, asked: int) -> None:
        HomeportError.__init__(
            self, f"interrupted: {fetched:,} of {asked:,} objects were fetched and stay; the rest is fetched next time"
        )


@dataclass(frozen=True)
class Survey:
    """What of a link is here, or of a path in it. Paths begin at the link's directory.

    `kept` are files that differ from their object because somebody changed them here, `let_go` those that a job
    deleted, moved or replaced: neither is fetched.
    """

    subpath: str
    missing: tuple[Entry, ...]
    here: int
    size: int
    kept: tuple[str, ...]
    let_go: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        """Whether the plain directory is all there is to mount."""
        return not self.missing

    @property
    def objects(self) -> int:
        """How many there are in S3."""
        return len(self.missing) + self.here + len(self.kept) + len(self.let_go)


def standing(found: os.stat_result | None, known: Written | None, item: S3Object) -> Standing:
    """What a file is to its object. One that nobody recorded but has the object's size and time was fetched once."""
    if found is None:
        return "missing"
    if not stat.S_ISREG(found.st_mode):
        return "kept"
    mark = (found.st_size, found.st_mtime_ns)
    if known is None:
        return "here" if mark == (item.size, item.modified_ns) else "kept"
    if mark != (known.size, known.mtime_ns):
        return "kept"
    return "here" if known.etag == item.etag else "missing"


class DataRepository:
    """A link at work. Several may work on one link, in one process or many: each object is fetched once."""

    def __init__(self, link: Link, store: ObjectStore) -> None:
        self.link = link
        self._store = store
        self._state = LinkState(link.state)
        self._locks = link.state.with_suffix(".locks")
        with _told(self._locks):
            self._locks.mkdir(exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._state.close()

    def look(self, subpath: str = "", *, again: bool = False) -> Survey:
        """List what is in S3 at and below a path, and compare it with what is here; fetch nothing.

        `again` wants what jobs have let go. Raises InputRefused for keys no file can have.
        """
        if self.link.directory.exists() and not self.link.directory.is_dir():
            raise MachineCannot(f"{self.link.directory}: must be a directory: files of {self.link.uri} go there")
        if again:
            self._state.want_again(subpath)
        known, let_go = self._state.written(subpath), self._state.let_go(subpath)
        missing, kept, adopted, gone, here, size = [], [], [], [], 0, 0
        for entry in self._listed(subpath):
            size += entry.object.size
            if entry.path in let_go:
                gone.append(entry.path)
                continue
            match standing(self._stat(entry), known.get(entry.path), entry.object):
                case "missing":
                    missing.append(entry)
                case "kept":
                    kept.append(entry.path)
                case "here":
                    here += 1
                    if entry.path not in known:
                        adopted.append((entry.path, _as_written(entry.object, entry.object.modified_ns)))
        if adopted:
            self._state.write(adopted)
        return Survey(subpath, tuple(missing), here, size, tuple(kept), tuple(gone))

    def hydrate(self, found: Survey, told: Fetching, stopped: Callable[[], bool]) -> int:
        """Fetch what a survey found missing; how many files that made. What is whole stays, whatever happens.

        Raises DiskFull; ObjectVanished; HydrationInterrupted once `stopped` says so.
        """
        if not found.missing:
            return 0
        self.sweep(found.subpath)
        self._check_room(found)
        told.fetching(len(found.missing), sum(entry.object.size for entry in found.missing))
        made: list[Entry] = []

        def make(entry: Entry, over: Callable[[], bool]) -> None:
            if self.fetch(entry, told, over):
                made.append(entry)

        try:
            each(make, found.missing, stopped)
        except Interrupted:
            raise HydrationInterrupted(len(made), len(found.missing)) from None
        return len(made)

    def fetch(self, entry: Entry, told: Fetching, over: Callable[[], bool]) -> bool:
        """Make an object its file; whether that was still to be done, after waiting for whoever was doing it."""
        target, item = self.link.directory / entry.path, entry.object
        with _told(target), alone(self._locks / _digest(entry.path), over):
            known = self._state.written(entry.path).get(entry.path)
            if standing(self._stat(entry), known, item) != "missing":
                return False
            with written(target, needed=item.size) as part:
                for piece in self._store.read(item):
                    if over():
                        raise Interrupted
                    part.write(piece)
                    told.fetched(len(piece))
                part.flush()
                os.utime(part.fileno(), ns=(item.modified_ns, item.modified_ns))
                made = os.fstat(part.fileno())
                if made.st_size != item.size:
                    raise ObjectVanished(self._store.uri(item.key))
            self._state.write([(entry.path, _as_written(item, made.st_mtime_ns))])
            return True

    def give_up(self, path: str) -> None:
        """A path whose object was not fetched is a job's own now, or nothing: it stays so."""
        self._state.give_up(path)

    def give_up_written(self, path: str) -> None:
        """What was fetched at and below a path was deleted or moved by a job: it does not come back."""
        self._state.give_up_written(path)

    def sweep(self, subpath: str) -> None:
        """Remove the parts of files that a killed process has left."""
        sweep(self.link.directory / subpath)

    def _listed(self, subpath: str) -> list[Entry]:
        """Everything below a folder; the object itself where the path is no folder."""
        prefix = f"{self.link.uri.key.rstrip('/')}/" if self.link.uri.key else ""
        folder = f"{prefix}{subpath}/" if subpath else prefix
        found = self._store.listed(folder)
        if not found and subpath:
            key = f"{prefix}{subpath}"
            found = [item for item in self._store.listed(key) if item.key == key]
        try:
            return under_prefix(prefix, found)
        except ListingRefused as error:
            few, more = "; ".join(error.reasons[:_NAMED]), len(error.reasons) - _NAMED
            raise InputRefused(f"{self.link.uri}: {few}{f'; and {more:,} more' if more > 0 else ''}") from None

    def _stat(self, entry: Entry) -> os.stat_result | None:
        path = f"{self.link.directory}/{entry.path}"
        try:
            return os.lstat(path)
        except FileNotFoundError:
            return None
        except NotADirectoryError:
            # A file of the user's own lies where the object needs a folder.
            return os.lstat(next(folder for folder in Path(path).parents if folder.exists()))
        except PermissionError as error:
            raise MachineCannot(f"{error.filename} cannot be read by you") from None

    def _check_room(self, found: Survey) -> None:
        needed = sum(entry.object.size for entry in found.missing)
        with _told(self.link.directory):
            self.link.directory.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.link.directory).free
        if needed > free:
            raise DiskFull(self.link.directory, needed, free)


def _as_written(item: S3Object, mtime_ns: int) -> Written:
    return Written(item.etag, item.size, mtime_ns)


def _digest(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:32]


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """What a directory of the user's refuses, as ours."""
    try:
        yield
    except (PermissionError, NotADirectoryError, IsADirectoryError, FileExistsError) as error:
        raise MachineCannot(f"{error.filename or path} cannot be written by you: {error.strerror}") from None
