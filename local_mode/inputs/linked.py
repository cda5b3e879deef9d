"""A channel of a file system whose data repository is a prefix of S3: what is there is seen at the start. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from local_mode.buckets import Bucket, find_bucket, unknown
from local_mode.mounts import Mount, Refusal
from local_mode.place import FileSystem, Place
from training_job.s3_uri import S3Uri


@dataclass(frozen=True)
class Link:
    """A directory that stands for a file system, and what its files come from. `state` is a SQLite file."""

    uri: S3Uri
    bucket: Bucket
    directory: Path
    state: Path


@dataclass(frozen=True)
class LinkedChannel:
    """A channel of a linked file system: `mount` is what it would be if all of it were here."""

    name: str
    link: Link
    subpath: str
    mount: Mount
    hosts: tuple[str, ...] = ()


def link_of(mapping: FileSystem, place: Place) -> Link | Refusal | None:
    """The link of a mapped file system; None where it has none."""
    if mapping.link is None:
        return None
    uri = S3Uri.parse(mapping.link)
    bucket = find_bucket(uri.bucket, place)
    if bucket is None:
        return unknown(uri.bucket, place)
    directory = place.path(mapping.path)
    name = hashlib.sha256(f"{directory}\0{uri}".encode()).hexdigest()
    return Link(uri, bucket, directory, place.cache / "links" / f"{name}.sqlite")
