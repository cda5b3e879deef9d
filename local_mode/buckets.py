"""Which directory of this machine, or which S3 endpoint, a bucket is. Pure.

A bucket that homeport.toml knows nothing of is asked for nowhere: no job here talks to AWS unless somebody said so.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from local_mode.mounts import Refusal
from local_mode.place import Place
from training_job.spelling import nearest

AWS = "aws"
"""The endpoint that stands for S3 itself."""


@dataclass(frozen=True)
class Folder:
    """A bucket played by a directory: its files are the objects."""

    bucket: str
    path: Path


@dataclass(frozen=True)
class Endpoint:
    """A bucket behind an S3 endpoint; `url` is None for S3 itself."""

    bucket: str
    url: str | None
    region: str

    @property
    def where(self) -> str:
        """What to call it in a message."""
        return self.url or f"S3 in {self.region}"


Bucket = Folder | Endpoint


def find_bucket(name: str, place: Place) -> Bucket | None:
    """What the bucket is here; None where nobody said."""
    mapping = place.buckets.get(name)
    if mapping and mapping.path is not None:
        return Folder(name, place.path(mapping.path))
    asked = (mapping and mapping.endpoint) or place.endpoint
    return Endpoint(name, None if asked == AWS else asked, place.region) if asked else None


def unknown(name: str, place: Place) -> Refusal:
    """Why an unknown bucket cannot be had, and every way to have it."""
    return Refusal(
        f"bucket {name!r} is not mapped in {place.source}{nearest(name, place.buckets)}; add\n"
        f"      [local.buckets.{name}]\n"
        '      path = "the directory that stands for it"\n'
        '    or, to read it from S3 with your own credentials, endpoint = "aws" in the place of path'
    )
