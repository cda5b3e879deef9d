"""What lies below an S3 prefix, as a tar to be put into containers before they start: streamed, in flat memory."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from time import time

from local_mode.cache import Cache
from local_mode.fetching import Fetching, answer
from local_mode.inputs.listing import Entry, ListingRefused, under_prefix
from local_mode.mirror import Synced
from local_mode.object_store import CHUNK, InputRefused, ObjectVanished
from training_job.errors import MachineCannot


@dataclass(frozen=True)
class Restored:
    """A prefix as it was listed.

    `mtime` (seconds since 1970) is every file's; `digests` are known once a tar was streamed.
    """

    synced: Synced
    entries: tuple[Entry, ...]
    contents: Callable[[Entry], Generator[bytes, None, None]]
    mtime: int
    digests: dict[str, bytes] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.object.size for entry in self.entries)

    @property
    def newest(self) -> str | None:
        """The path of the file that was written last."""
        return (
            max(self.entries, key=lambda entry: (entry.object.modified_ns, entry.path)).path if self.entries else None
        )

    def archive(self) -> Iterator[bytes]:
        """A tar below `/` of the directory with every file, owned by root; one for each host that gets it.

        Raises ObjectVanished if an object is another one by now.
        """
        root = self.synced.path.strip("/")
        for folder in (root, *_folders(root, self.entries)):
            yield self._header(folder, tarfile.DIRTYPE, 0o755)
        for entry in self.entries:
            yield self._header(f"{root}/{entry.path}", tarfile.REGTYPE, 0o644, entry.object.size)
            yield from self._content(entry)
            yield bytes(-entry.object.size % tarfile.BLOCKSIZE)
        yield bytes(2 * tarfile.BLOCKSIZE)

    def _header(self, name: str, kind: bytes, mode: int, size: int = 0) -> bytes:
        header = tarfile.TarInfo(name)
        header.type, header.mode, header.mtime, header.size = kind, mode, self.mtime, size
        header.uname = header.gname = "root"
        return header.tobuf(tarfile.PAX_FORMAT)

    def _content(self, entry: Entry) -> Iterator[bytes]:
        digest, left = hashlib.sha256(), entry.object.size
        with closing(self.contents(entry)) as pieces:
            for piece in pieces:
                left -= len(piece)
                digest.update(piece)
                yield piece
        if left:
            raise ObjectVanished(self.synced.store.uri(entry.object.key))
        self.digests[entry.path] = digest.digest()


@contextmanager
def restored(synced: Synced, cache: Cache, told: Fetching, stopped: Callable[[], bool]) -> Iterator[Restored]:
    """Everything below the prefix; what lies elsewhere is fetched into the cache once, for all hosts.

    Raises InputRefused where no directory can hold it side by side.
    """
    store = synced.store
    try:
        listed = answer(partial(store.listed, synced.folder), stopped)
        entries = tuple(under_prefix(synced.folder, listed))
    except ListingRefused as refused:
        reasons = "; ".join(refused.reasons)
        raise InputRefused(f"{store.uri(synced.folder)} cannot become {synced.path}: {reasons}") from None
    if all(store.file(entry.object) for entry in entries):
        yield Restored(synced, entries, lambda entry: store.read(entry.object), int(time()))
        return
    with cache.tree(store, entries, told, stopped) as tree:
        yield Restored(synced, entries, lambda entry: _pieces(tree / entry.path), int(time()))


def _pieces(file: Path) -> Generator[bytes, None, None]:
    try:
        with file.open("rb") as content:
            while piece := content.read(CHUNK):
                yield piece
    except OSError as error:
        # Raised inside an upload to the engine, it would read as the engine's failure.
        raise MachineCannot(f"{file} cannot be read: {error.strerror}") from None


def _folders(root: str, entries: Iterable[Entry]) -> list[str]:
    """Every folder below `root` that a file lies in, outer ones first."""
    found = {folder for entry in entries for folder in PurePosixPath(entry.path).parents}
    return sorted(f"{root}/{folder}" for folder in found if folder != PurePosixPath())
