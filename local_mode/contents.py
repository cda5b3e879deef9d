"""What an S3 channel holds: a prefix listed, or the names of a manifest looked up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from local_mode.buckets import Bucket, Folder, find_bucket, unknown
from local_mode.inputs.listing import Entry, ListingRefused, Manifest, laid_out, named, read_manifest
from local_mode.inputs.s3 import S3Channel
from local_mode.lookup import looked_up, not_found
from local_mode.object_store import FolderStore, InputRefused, ObjectStore
from local_mode.place import Place
from training_job.s3_uri import S3Uri

StoreOf = Callable[[str], ObjectStore]
_NAMED = 5


@dataclass(frozen=True)
class Contents:
    """The files of a channel, what has them, and the prefix that their paths begin after."""

    store: ObjectStore
    prefix: S3Uri
    entries: tuple[Entry, ...]

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(entry.object.size for entry in self.entries)


class Stores:
    """The store of each bucket that a job names, connected once."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._known: dict[str, ObjectStore] = {}

    def __call__(self, bucket: str) -> ObjectStore:
        """Raises InputRefused where nobody said what the bucket is here."""
        if bucket not in self._known:
            found = find_bucket(bucket, self._place)
            if found is None:
                raise InputRefused(unknown(bucket, self._place).why)
            self._known[bucket] = connect(found)
        return self._known[bucket]


def connect(bucket: Bucket) -> ObjectStore:
    """The store that a bucket is."""
    if isinstance(bucket, Folder):
        return FolderStore(bucket.bucket, bucket.path)
    # Loads obstore, which a job without S3 does not need.
    from local_mode.s3_endpoint import EndpointStore  # noqa: PLC0415

    return EndpointStore(bucket)


def contents(channel: S3Channel, store_of: StoreOf) -> Contents:
    """The files of an S3Prefix or ManifestFile channel. Raises InputRefused where there are none, or can be none."""
    try:
        found = (
            _of_manifest(channel, store_of) if channel.data_type == "ManifestFile" else _of_prefix(channel, store_of)
        )
    except ListingRefused as error:
        raise InputRefused(f"{channel.uri}: {'; '.join(few(error.reasons))}") from None
    if not found.entries:
        raise InputRefused(f"{channel.uri}: there is no object whose key begins so{_near(channel)}")
    return found


def text_of(uri: S3Uri, store_of: StoreOf) -> str:
    """A manifest's text. Raises InputRefused where there is none, or it is no text."""
    store = store_of(uri.bucket)
    found = store.find(uri.key)
    if found is None:
        raise InputRefused(f"{uri}: there is no such manifest")
    try:
        return b"".join(store.read(found)).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputRefused(f"{uri}: is no UTF-8 text: {error.reason} at byte {error.start}") from None


def _of_prefix(channel: S3Channel, store_of: StoreOf) -> Contents:
    store = store_of(channel.uri.bucket)
    found = named(channel.uri.key, store.listed(channel.uri.key))
    return Contents(store, channel.uri, tuple(_fit(channel, found)))


def _of_manifest(channel: S3Channel, store_of: StoreOf) -> Contents:
    manifest = read_manifest(text_of(channel.uri, store_of))
    store = store_of(manifest.prefix.bucket)
    return Contents(store, manifest.prefix, tuple(_fit(channel, _named(manifest, store))))


def _named(manifest: Manifest, store: ObjectStore) -> list[Entry]:
    keys = [(name, manifest.prefix.key + name) for name in manifest.names]
    known = looked_up(store, [key for _, key in keys])
    if missing := not_found(store, (key for _, key in keys), known):
        raise ListingRefused([f"names {what}" for what in missing])
    return [Entry(name, known[key]) for name, key in keys]


def _fit(channel: S3Channel, entries: list[Entry]) -> list[Entry]:
    """A stream takes what no directory could hold side by side."""
    return entries if channel.mode == "Pipe" else laid_out(entries)


def few(reasons: tuple[str, ...]) -> list[str]:
    """The first reasons, and how many more there are."""
    more = len(reasons) - _NAMED
    return [*reasons[:_NAMED], *([f"and {more:,} more"] if more > 0 else [])]


def _near(channel: S3Channel) -> str:
    if channel.data_type == "ManifestFile":
        return ": the manifest names none"
    where = f"in {channel.bucket.path}" if isinstance(channel.bucket, Folder) else f"at {channel.bucket.where}"
    return f" {where}. Correct the URI, or put the objects there first"
