"""The gzip of a Pipe channel, undone while it is read."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from gzip import BadGzipFile, GzipFile

from isal import igzip
from isal.igzip_lib import IsalError

from local_mode.object_store import InputRefused


@contextmanager
def unzipped(uri: str, pieces: Iterable[bytes]) -> Iterator[GzipFile]:
    """What gzip would make of the pieces, members one after another; nothing at all is nothing too.

    Raises InputRefused, naming `uri`, for what gzip refuses.
    """
    try:
        with igzip.IGzipFile(fileobj=_Pieces(iter(pieces)), mode="rb") as content:  # type: ignore[no-untyped-call]
            yield content
    except (BadGzipFile, EOFError, IsalError) as error:  # type: ignore[misc]
        raise InputRefused(
            f"{uri}: CompressionType Gzip, and this is no whole gzip file: {error}. Compress it, or ask for None"
        ) from None


class _Pieces(io.RawIOBase):
    """Pieces as a file to be read from its beginning to its end."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size
