"""Fetch a file whose size and checksum are known: an interrupted download goes on, a wrong file is never used."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

PATIENCE = 20  # seconds without a byte before a connection is given up


@dataclass(frozen=True)
class Archive:
    """A file on the web, and what it must be for us to use it."""

    url: str
    size: int
    sha256: str


class NetworkError(Exception):
    """The file could not be fetched, or not to its end."""


class ChecksumError(Exception):
    """What came is another file than the one we know."""


def fetch(archive: Archive, beside: Path) -> Path:
    """The archive in that directory, its checksum verified; what is there from an earlier time is not fetched again."""
    whole = beside / archive.url.rpartition("/")[2]
    part = whole.with_name(whole.name + ".part")
    if not whole.exists():
        print(f"Getting {archive.url} ({archive.size / 1e6:,.0f} MB)", flush=True)
        have = size_of(part)
        while have < archive.size:  # as long as each connection brings something, try another
            before, have = have, download(archive, part)
            if have <= before:
                raise NetworkError(f"{archive.url} broke off after {have:,} of {archive.size:,} bytes")
        part.rename(whole)
    digest = sha256(whole)
    if digest != archive.sha256:
        whole.unlink()
        raise ChecksumError(
            f"the sha256 checksum of {whole} is {digest}, and should be {archive.sha256}. "
            "It was not used and is removed: run this again to get it anew."
        )
    return whole


def download(archive: Archive, part: Path) -> int:
    """Add to the part what one connection brings, and return how many bytes it has then."""
    have = size_of(part)
    request = urllib.request.Request(archive.url)  # noqa: S310 our URLs are constants
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=PATIENCE)  # noqa: S310
    except (OSError, http.client.HTTPException) as error:
        raise NetworkError(f"{archive.url}: {getattr(error, 'reason', error)}") from error
    with response:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            have = 0  # the server starts anew, and so do we
        announced = response.headers.get("Content-Length")
        if announced is not None and have + int(announced) != archive.size:
            raise ChecksumError(
                f"{archive.url} offers {have + int(announced):,} bytes, and should have {archive.size:,}. "
                "Nothing of it was used: a proxy may have answered in its place."
            )
        bar = tqdm(total=archive.size, initial=have, unit="B", unit_scale=True, leave=False, disable=None)
        with bar, part.open("ab" if have else "wb") as file:
            for chunk in chunks(response, at_most=archive.size - have):
                file.write(chunk)
                bar.update(len(chunk))
    return size_of(part)


def chunks(response: http.client.HTTPResponse, at_most: int) -> Iterator[bytes]:
    """What the connection brings until it ends or breaks; how much that was tells which."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        while at_most > 0 and (chunk := response.read(min(at_most, 1 << 16))):
            at_most -= len(chunk)
            yield chunk


def size_of(part: Path) -> int:
    """How many bytes of an earlier download there are."""
    return part.stat().st_size if part.exists() else 0


def sha256(path: Path) -> str:
    """The file's checksum, read a piece at a time."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
