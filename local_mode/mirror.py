"""One directory of several hosts, and the objects it is kept as: what has changed is uploaded, what is gone deleted.

An engine's tar has whole seconds, and its clock need not be ours. So a file is trusted by size and time only once it
was read twice, two seconds apart by our clock, with one content: no write after that can leave its time as it is. The
last pass trusts nothing and compares contents.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import IO

from local_mode.directory_stream import Member, StreamBroken, members
from local_mode.engine import Host, NoSuchDirectory
from local_mode.object_store import ObjectStore
from local_mode.part_files import no_room_told, spool
from training_job.errors import DiskFull

_SETTLES_AFTER = 2  # seconds: one of the file's time, and one for where in it the clock stood
_KEY_BYTES = 1024


@dataclass(frozen=True)
class Synced:
    """A directory of the containers, and where its files go as objects.

    `skipped` are folders at its top that stay where they are. `deletes` says whether what goes here goes there too.
    """

    path: str
    store: ObjectStore
    prefix: str
    deletes: bool = True
    skipped: tuple[str, ...] = ()

    def key(self, path: str) -> str:
        """The key of a file, by its path in the directory: no host has a part in it."""
        return f"{self.folder}{path}"

    @property
    def folder(self) -> str:
        """What every key begins with: nothing, or a prefix that ends in /."""
        return f"{self.prefix.rstrip('/')}/" if self.prefix else ""


@dataclass(frozen=True)
class Version:
    """A file as it was read: its size, its time, its content's digest, and when we read it (s of our steady clock)."""

    size: int
    mtime: float
    digest: bytes
    read: float
    settled: bool = False

    def alike(self, member: Member) -> bool:
        """Whether a member can be this version."""
        return (self.size, self.mtime) == (member.size, member.mtime)


@dataclass
class Count:
    """What was done, for a person."""

    uploaded: int = 0
    size: int = 0
    deleted: int = 0


@dataclass(frozen=True)
class _Change:
    """A file to be uploaded, and where its content was put meanwhile."""

    path: str
    file: Path
    version: Version


UNREAD = Version(-1, -1, b"", 0)
"""A file that is there, of which nothing is known."""


@dataclass
class Mirror:
    """The state of one synced directory. `told` hears what a person should know; `work` is where contents wait."""

    synced: Synced
    hosts: Mapping[str, Host]
    work: Path
    told: Callable[[str], None]
    known: dict[str, dict[str, Version]] = field(default_factory=dict)
    kept: dict[str, bytes] = field(default_factory=dict)
    """Digests of what we know the store to hold; empty where an upload may have failed half-way."""
    count: Count = field(default_factory=Count)
    newest: Version | None = None
    """Of what went to the store, what was written last."""
    _links: dict[str, dict[str, set[str]]] = field(default_factory=dict)

    def began_with(self, digests: Mapping[str, bytes], sizes: Mapping[str, int], mtime: float) -> None:
        """Every host has these files, and so has the store."""
        self.kept |= digests
        for host in self.hosts:
            self.known[host] = {
                path: Version(sizes[path], mtime, digest, monotonic()) for path, digest in digests.items()
            }

    def look(self, stopped: Callable[[], bool]) -> bool:
        """One pass while the hosts run; whether it saw everything. Uploads begin when no host is held any more."""
        whole = True
        for name, host in self.hosts.items():
            broken: StreamBroken | DiskFull | None = None
            with spool(self.work) as folder:
                changes: list[_Change] = []
                try:
                    whole &= self._read(name, host, folder, changes.append, stopped=stopped, trusting=True)
                except (StreamBroken, DiskFull) as error:
                    # What was read before is as good as ever, and gone from here leaves room for the rest.
                    broken = error
                for change in changes:
                    if stopped():
                        return False
                    self._upload(name, change)
            if isinstance(broken, DiskFull):
                raise broken
            whole &= broken is None and self._linked(name)
        return self._settle() and whole

    def look_last(self) -> bool:
        """One pass over hosts that have ended; whether the store then holds exactly what they do."""
        exact = True
        for name, host in self.hosts.items():
            with spool(self.work) as folder:

                def upload(change: _Change, name: str = name) -> None:
                    self._upload(name, change)
                    change.file.unlink()

                exact &= self._read(name, host, folder, upload, stopped=_never, trusting=False)
            exact &= self._linked(name)
        return self._settle() and exact

    def _read(
        self,
        name: str,
        host: Host,
        folder: Path,
        changed: Callable[[_Change], None],
        *,
        stopped: Callable[[], bool],
        trusting: bool,
    ) -> bool:
        """Stream a host's directory past what is known of it; whether nothing is left to be read again."""
        began, known = monotonic(), self.known.setdefault(name, {})
        links: dict[str, set[str]] = {}
        present, again = set(), False
        try:
            with closing(members(host, self.synced.path, stopped)) as found:
                for member in found:
                    if not self._fits(name, member):
                        continue
                    present.add(member.path)
                    version = known.setdefault(member.path, UNREAD)
                    if member.linked is not None:
                        links.setdefault(member.linked, set()).add(member.path)
                    elif not version.alike(member):
                        changed(_spooled(member, folder / str(len(present))))
                    elif not (version.settled and trusting):
                        known[member.path] = _looked_at_again(version, member, began)
                        again |= known[member.path] == UNREAD
        except NoSuchDirectory:
            pass
        for path in known.keys() - present:
            del known[path]
        self._links[name] = links
        return not again

    def _fits(self, host: str, member: Member) -> bool:
        if member.path.partition("/")[0] in self.synced.skipped:
            return False
        unfit = member.unfit
        if not unfit and len(self.synced.key(member.path).encode()) > _KEY_BYTES:
            unfit = f"makes a key of over {_KEY_BYTES} bytes"
        if unfit:
            self.told(f"{host}: {self.synced.path}/{_printable(member.path)} {unfit}: it is not uploaded")
        return not unfit

    def _upload(self, host: str, change: _Change) -> None:
        """Make a file, and every hard link to it, an object. What the store holds already is not sent again."""
        known = self.known[host]
        for path in (change.path, *self._links.get(host, {}).get(change.path, ())):
            if self.kept.get(path) != change.version.digest:
                self.kept[path] = b""
                self.synced.store.write(self.synced.key(path), change.file)
                self.kept[path] = change.version.digest
                self.count.uploaded += 1
                self.count.size += change.version.size
            known[path] = change.version
        if self.newest is None or change.version.mtime > self.newest.mtime:
            self.newest = change.version

    def _linked(self, host: str) -> bool:
        """Give hard links their file's version; one that the store lacks has the file read again, to be sent twice."""
        known, whole = self.known[host], True
        for target, paths in self._links.get(host, {}).items():
            version = known.get(target)
            for path in paths & known.keys():
                if version is None:
                    self.told(f"{host}: {self.synced.path}/{path} is a hard link to a file that is not uploaded")
                    del known[path]
                    continue
                known[path] = version
                if self.kept.get(path) != version.digest:
                    known[target] = UNREAD
                    whole = False
        return whole

    def _settle(self) -> bool:
        """Delete what no host has any more; whether every object is what some host has under its name."""
        gone = sorted(self.kept.keys() - set().union(*self.known.values()))
        if gone and self.synced.deletes:
            self.synced.store.delete([self.synced.key(path) for path in gone])
            self.count.deleted += len(gone)
        for path in gone:
            del self.kept[path]
        whole = True
        for path, digest in self.kept.items():
            holders = [known for known in self.known.values() if path in known]
            if all(known[path].digest != digest for known in holders):
                # The host whose version is kept has removed it, and another one's is now the file.
                holders[0][path] = UNREAD
                whole = False
        return whole


def _spooled(member: Member, file: Path) -> _Change:
    with no_room_told(file, member.size), file.open("wb") as copy:
        digest = copied(member.pieces(), copy)
    return _Change(member.path, file, Version(member.size, member.mtime, digest, monotonic()))


def _looked_at_again(version: Version, member: Member, began: float) -> Version:
    """A file of the size and time we know: settled if its content is as it was long enough ago, else unread."""
    if digest_of(member.pieces()) != version.digest:
        return UNREAD
    return replace(version, settled=began >= version.read + _SETTLES_AFTER)


def digest_of(pieces: Iterable[bytes]) -> bytes:
    """What a content is compared by."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.digest()


def copied(content: Iterable[bytes], target: IO[bytes]) -> bytes:
    """Write a content; its digest."""
    digest = hashlib.sha256()
    for piece in content:
        digest.update(piece)
        target.write(piece)
    return digest.digest()


def _printable(path: str) -> str:
    return path.encode(errors="backslashreplace").decode()


def _never() -> bool:
    return False
