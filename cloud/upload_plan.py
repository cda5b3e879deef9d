"""What of a data set has to be sent, and in which pieces. Pure: the same files and objects, the same plan."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PART = 16 << 20
"""Bytes up to which a file is sent at once. What is larger is sent in parts, of which none is sent twice."""
_MOST_PARTS = 9000
"""Under S3's 10,000."""


@dataclass(frozen=True, order=True)
class LocalFile:
    """A file, the key it gets, and its size (bytes) and time (ns since 1970) when it was listed."""

    key: str
    path: Path
    size: int
    modified_ns: int


@dataclass(frozen=True)
class RemoteObject:
    """An object as it is listed: `etag` without quotes."""

    key: str
    size: int
    etag: str


@dataclass(frozen=True)
class UploadPlan:
    """`new` are sent; of `alike`, an object of the same size is there, and their contents tell whether it is theirs."""

    new: tuple[LocalFile, ...]
    alike: tuple[tuple[LocalFile, RemoteObject], ...]


def plan_upload(files: Iterable[LocalFile], objects: Iterable[RemoteObject]) -> UploadPlan:
    """By key and size alone, the smallest files first."""
    there = {item.key: item for item in objects}
    new, alike = [], []
    for file in sorted(files, key=lambda file: (file.size, file.key)):
        item = there.get(file.key)
        if item and item.size == file.size:
            alike.append((file, item))
        else:
            new.append(file)
    return UploadPlan(tuple(new), tuple(alike))


@dataclass(frozen=True)
class Part:
    """A piece of a file: its number from 1 on, where it begins, how long it is (bytes)."""

    number: int
    offset: int
    size: int


def parts_of(size: int) -> list[Part]:
    """The pieces that a file of `size` bytes is sent in; one alone up to PART, also where it is empty."""
    step = max(PART, -(-size // _MOST_PARTS))
    return [
        Part(number, offset, min(step, size - offset)) for number, offset in enumerate(range(0, max(size, 1), step), 1)
    ]


@dataclass(frozen=True)
class PartDigest:
    """What a part's content comes to."""

    md5: bytes
    sha256: bytes

    @classmethod
    def of(cls, content: bytes) -> PartDigest:
        """Both digests."""
        return cls(_md5(content), hashlib.sha256(content).digest())

    @property
    def checksum(self) -> str:
        """As S3 writes its ChecksumSHA256."""
        return base64.b64encode(self.sha256).decode()

    def is_of(self, etag: str, checksum: str | None) -> bool:
        """Whether a part with this ETag and ChecksumSHA256 has the same content."""
        return checksum == self.checksum or etag == self.md5.hex()


def etags_of(parts: Sequence[PartDigest], whole_md5: bytes) -> frozenset[str]:
    """The ETags that an object of this content can have where no customer's key encrypts it: its MD5, or in parts."""
    joined = _md5(b"".join(part.md5 for part in parts)).hex()
    return frozenset({whole_md5.hex(), f"{joined}-{len(parts)}"})


def checksum_of(parts: Sequence[PartDigest]) -> str:
    """The ChecksumSHA256 of an object that was sent in these parts, less the number of parts that S3 adds."""
    if len(parts) == 1:
        return parts[0].checksum
    return base64.b64encode(hashlib.sha256(b"".join(part.sha256 for part in parts)).digest()).decode()


def import_token(file_system: str, objects: Mapping[str, int]) -> str:
    """Names an import of these keys and sizes, so that AWS does it once however often it is asked."""
    listed = "\n".join(f"{key} {size}" for key, size in sorted(objects.items()))
    return hashlib.sha256(f"{file_system}\n{listed}".encode()).hexdigest()[:63]


def _md5(content: bytes) -> bytes:
    return hashlib.md5(content, usedforsecurity=False).digest()
