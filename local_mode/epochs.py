"""What each epoch of a Pipe channel writes to each host: which objects, in which order, in which frame.

Order and shares are what ShuffleConfig and S3DataDistributionType of the API say: with a seed the objects, or the lines
of an augmented manifest, are shuffled anew for every epoch, the same way on all hosts, and shared out only then.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO

from local_mode.cache import Cache
from local_mode.contents import StoreOf, contents, few, text_of
from local_mode.inputs.listing import Attribute, ListingRefused, read_augmented, share, shuffled
from local_mode.inputs.recordio import header, padding
from local_mode.inputs.s3 import S3Channel, told_of
from local_mode.lookup import looked_up, not_found
from local_mode.object_store import InputRefused, ObjectStore, ObjectVanished, S3Object
from local_mode.part_files import no_room_told
from local_mode.pipes import Feed, Piece
from local_mode.unzipped import unzipped
from training_job.errors import MachineCannot
from training_job.s3_uri import S3Uri

_SMALL = (
    64 << 10
)  # bytes up to which reading a file and writing it with others costs less than having the kernel move it
_CHUNK = 1 << 20
_FETCHERS = 16
_AHEAD = 2 * _FETCHERS


@dataclass(frozen=True)
class Stored:
    """An object, where it is, and its content if that is fetched ahead of its turn."""

    store: ObjectStore
    object: S3Object
    fetched: Future[bytes] | None = None

    @property
    def uri(self) -> str:
        """As people write it."""
        return self.store.uri(self.object.key)


Value = bytes | Stored
Row = tuple[Value, ...]


def epochs(channel: S3Channel, store_of: StoreOf, cache: Cache, spool: Path) -> list[Feed]:
    """A feed for each of the channel's hosts, in their order; everything is listed now, and read epoch by epoch.

    `spool` is a directory for what has to be unpacked before its size is known. Raises InputRefused for a channel that
    is empty or cannot be what the job says; while an epoch is read, for an object that is no gzip, and ObjectVanished.
    """
    source = _Source(channel, _rows(channel, store_of), cache, spool)
    if channel.record_io and not channel.gzip:
        for value in chain.from_iterable(source.rows):
            _header(value, _size(value))
    return [Feed(host, channel.name, partial(source.pieces, number)) for number, host in enumerate(channel.hosts)]


@dataclass(frozen=True)
class _Source:
    """A channel, and its objects or lines as they were listed."""

    channel: S3Channel
    rows: Sequence[Row]
    cache: Cache
    spool: Path

    def pieces(self, number: int, epoch: int) -> Generator[Piece, None, None]:
        """What epoch `epoch` writes to host `number`, both from 0."""
        rows = shuffled(self.rows, self.channel.seed, epoch)
        if self.channel.sharded:
            rows = share(rows, number, len(self.channel.hosts))
        with told_of(self.channel), ThreadPoolExecutor(_FETCHERS) as pool:
            try:
                for value in self._fetched_ahead(chain.from_iterable(rows), pool):
                    yield from self._record(value) if self.channel.record_io else self._plain(value)
            finally:
                pool.shutdown(cancel_futures=True)

    def _fetched_ahead(self, values: Iterable[Value], pool: ThreadPoolExecutor) -> Iterator[Value]:
        """The values; small ones that lie elsewhere are fetched side by side, a little before their turn."""
        waiting: deque[Value] = deque()
        for value in values:
            waiting.append(self._ordered(value, pool))
            if len(waiting) > _AHEAD:
                yield waiting.popleft()
        yield from waiting

    def _ordered(self, value: Value, pool: ThreadPoolExecutor) -> Value:
        if isinstance(value, bytes) or value.object.size > _CHUNK or value.store.file(value.object):
            return value
        return replace(value, fetched=pool.submit(self._whole, value))

    def _whole(self, value: Stored) -> bytes:
        if content := self.cache.opened(value.store, value.object):
            with content:
                return content.read()
        return b"".join(self.cache.streamed(value.store, value.object))

    def _record(self, value: Value) -> Iterator[Piece]:
        """One record of RecordIO."""
        if self.channel.gzip and isinstance(value, Stored):
            yield from self._unzipped_record(value)
            return
        size = _size(value)
        yield _header(value, size)
        yield from self._plain(value)
        yield padding(size)

    def _unzipped_record(self, value: Stored) -> Iterator[Piece]:
        """A record's size stands before its content, and gzip knows it only at the end."""
        with SpooledTemporaryFile(_SMALL, dir=str(self.spool)) as spooled:
            size = 0
            for chunk in self._unzipped(value):
                size += len(chunk)
                _header(value, size)  # refuses what is too large before it is all on the disk
                with no_room_told(self.spool, size):
                    spooled.write(chunk)
            spooled.seek(0)
            yield _header(value, size)
            yield spooled.read() if size <= _SMALL else spooled
            yield padding(size)

    def _plain(self, value: Value) -> Iterator[Piece]:
        """The value as the job is to see it."""
        if isinstance(value, bytes):
            yield value
        elif self.channel.gzip:
            yield from self._unzipped(value)
        else:
            yield from self._content(value)

    def _unzipped(self, value: Stored) -> Iterator[bytes]:
        with unzipped(value.uri, _in_bytes(self._content(value))) as content:
            while chunk := content.read(_CHUNK):
                yield chunk

    def _content(self, value: Stored) -> Iterator[Piece]:
        """The object as it is stored: read ahead, a file of this machine, in the cache, or fetched into it now."""
        if value.fetched:
            yield value.fetched.result()
            return
        path = value.store.file(value.object)
        if path and value.object.size <= _SMALL:
            yield from value.store.read(value.object)
        elif file := _opened(value, path) if path else self.cache.opened(value.store, value.object):
            with file:
                yield file
        else:
            yield from self.cache.streamed(value.store, value.object)


def _rows(channel: S3Channel, store_of: StoreOf) -> list[Row]:
    if channel.data_type == "AugmentedManifestFile":
        return _augmented(channel, store_of)
    found = contents(channel, store_of)
    return [(Stored(found.store, entry.object),) for entry in found.entries]


def _augmented(channel: S3Channel, store_of: StoreOf) -> list[Row]:
    try:
        lines = read_augmented(text_of(channel.uri, store_of), channel.attributes)
        if not lines:
            raise InputRefused(f"{channel.uri}: the manifest has no line")
        known = _referenced(lines, store_of)
    except ListingRefused as error:
        raise InputRefused(f"{channel.uri}: {'; '.join(few(error.reasons))}") from None
    return [
        tuple(known[item.reference] if item.reference else (item.text or "").encode() for item in line)
        for line in lines
    ]


def _referenced(lines: Iterable[Sequence[Attribute]], store_of: StoreOf) -> dict[S3Uri, Stored]:
    """What the lines refer to, in whichever buckets. Raises ListingRefused with everything that is not there."""
    wanted: dict[str, dict[S3Uri, None]] = defaultdict(dict)
    for reference in (item.reference for line in lines for item in line if item.reference):
        wanted[reference.bucket][reference] = None
    known: dict[S3Uri, Stored] = {}
    missing: list[str] = []
    for bucket, references in wanted.items():
        store = store_of(bucket)
        keys = [reference.key for reference in references]
        found = looked_up(store, keys)
        known |= {uri: Stored(store, found[uri.key]) for uri in references if uri.key in found}
        missing += [f"refers to {what}" for what in not_found(store, keys, found)]
    if missing:
        raise ListingRefused(missing)
    return known


def _opened(value: Stored, path: Path) -> IO[bytes]:
    """The object's file, as it was listed."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise ObjectVanished(value.uri) from None
    except PermissionError:
        raise MachineCannot(f"{path} cannot be read by you") from None
    if value.store.find(value.object.key) != value.object:
        file.close()
        raise ObjectVanished(value.uri)
    return file


def _in_bytes(pieces: Iterable[Piece]) -> Iterator[bytes]:
    for piece in pieces:
        if isinstance(piece, bytes):
            yield piece
        else:
            while chunk := piece.read(_CHUNK):
                yield chunk


def _size(value: Value) -> int:
    return len(value) if isinstance(value, bytes) else value.object.size


def _header(value: Value, size: int) -> bytes:
    try:
        return header(size)
    except ValueError as error:
        uri = value.uri if isinstance(value, Stored) else "an attribute"
        raise InputRefused(
            f"{uri}: RecordWrapperType RecordIO, and this is {error}. Split it, or ask for None"
        ) from None
