"""A directory of a host, read as the tar that an engine streams of it: one member after another, in flat memory.

An engine ends the stream early when a file shrinks or goes while it is read, without any error of HTTP's: Go's tar
writer then writes nothing more, the end of the archive neither. Such a stream says nothing of what it does not hold.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO

from local_mode.engine import Host
from training_job.errors import MachineCannot

CHUNK = 1 << 20


class StreamBroken(MachineCannot):
    """A directory's stream ended before the directory did."""

    def __init__(self, directory: str) -> None:
        super().__init__(f"{directory} changed while the engine read it, or the engine was interrupted")


@dataclass(frozen=True)
class Member:
    """What is in the directory, by its path from there on. Sizes are bytes, times seconds since 1970, often whole.

    `linked` is the path of the file that this one is a hard link to. `unfit` says why it can be no object, and
    `content` is to be read before the next member is asked for.
    """

    path: str
    size: int
    mtime: float
    linked: str | None = None
    unfit: str | None = None
    content: IO[bytes] | None = None

    def pieces(self) -> Iterator[bytes]:
        """Its content. Raises StreamBroken where the stream ends before it."""
        try:
            while self.content and (piece := self.content.read(CHUNK)):
                yield piece
        except tarfile.TarError:
            raise StreamBroken(self.path) from None


def members(host: Host, directory: str, stopped: Callable[[], bool]) -> Generator[Member, None, None]:
    """Every file of a host's directory, and whatever else is no directory.

    Raises StreamBroken at the end of a stream that is not whole, and as soon as `stopped` says so; NoSuchDirectory.
    """
    folder = PurePosixPath(directory).name
    with closing(host.fetch(directory.rstrip("/"))) as chunks:
        stream = Chunks(chunks, stopped)
        try:
            with tarfile.open(fileobj=stream, mode="r|", bufsize=CHUNK) as source:
                for entry in source:
                    if not entry.isdir():
                        yield _member(entry, folder, source.extractfile(entry) if entry.isreg() else None)
                # The first block of zeros has ended the loop; a stream that broke off has no second.
                if not source.fileobj or source.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                    raise StreamBroken(directory)
        except tarfile.TarError:
            raise StreamBroken(directory) from None


class Chunks(io.RawIOBase):
    """An iterator of bytes as a file to read from; it ends early once `stopped` says so."""

    def __init__(self, chunks: Iterator[bytes], stopped: Callable[[], bool]) -> None:
        self._chunks = chunks
        self._stopped = stopped
        self._rest = b""

    def readable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int = -1) -> bytes:
        """`size` bytes, fewer at the end."""
        found, length = [self._rest], len(self._rest)
        while (size < 0 or length < size) and not self._stopped() and (chunk := next(self._chunks, None)) is not None:
            found.append(chunk)
            length += len(chunk)
        whole = found[0] if len(found) == 1 else b"".join(found)
        taken, self._rest = (whole, b"") if size < 0 else (whole[:size], whole[size:])
        return taken


def _member(entry: tarfile.TarInfo, folder: str, content: IO[bytes] | None) -> Member:
    path = _below(entry.name, folder)
    linked = _below(entry.linkname, folder) if entry.islnk() else None
    if path is None or (entry.islnk() and linked is None):
        return Member(entry.name, 0, 0, unfit="leads out of the directory")
    return Member(path, entry.size, entry.mtime, linked, _unfit(entry), content)


def _unfit(entry: tarfile.TarInfo) -> str | None:
    if entry.issym():
        return "is a symbolic link"
    if not (entry.isreg() or entry.islnk()):
        return "is a FIFO" if entry.isfifo() else "is a device"
    try:
        entry.name.encode()
    except UnicodeEncodeError:
        return "has a name that is not UTF-8"
    return None


def _below(name: str, folder: str) -> str | None:
    """A member's path from inside `folder`; None where it is not there."""
    first, _, path = name.partition("/")
    inside = first == folder and path and all(part not in ("", ".", "..") for part in path.split("/"))
    return path if inside else None
