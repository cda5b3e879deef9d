"""Whole lines out of the frames of a container engine's log (Docker API: ContainerAttach, stream format). Pure."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

_FRAME = struct.Struct(">BxxxL")


class Entry(NamedTuple):
    """What the engine logged at once: a line, or a part of one that is longer than its buffer."""

    stream: int
    stamp: bytes
    text: bytes


def entries(chunks: Iterable[bytes]) -> Iterator[Entry]:
    """The entries of a log that was asked for with timestamps, however the engine's bytes were cut on the way."""
    waiting = bytearray()
    for chunk in chunks:
        waiting += chunk
        start = 0
        while len(waiting) - start >= _FRAME.size:
            stream, length = _FRAME.unpack_from(waiting, start)
            end = start + _FRAME.size + length
            if end > len(waiting):
                break
            stamp, _, text = bytes(waiting[start + _FRAME.size : end]).partition(b" ")
            start = end
            yield Entry(stream, stamp, text)
        del waiting[:start]


def lines(logged: Iterable[Entry]) -> Iterator[bytes]:
    """Whole lines, each with its end; what is unfinished when the log ends is given as it is.

    Each of stdout and stderr collects its own parts: those of one may stand between those of the other.
    """
    unfinished: dict[int, bytearray] = {}
    for stream, _, text in logged:
        begun = unfinished.setdefault(stream, bytearray())
        *whole, rest = text.split(b"\n")
        for line in whole:
            yield bytes(begun) + line + b"\n"
            begun.clear()
        begun += rest
    yield from (bytes(rest) for rest in unfinished.values() if rest)


def unseen(last: Entry | None, tail: Sequence[Entry]) -> Sequence[Entry] | None:
    """The entries of a log's tail that came after `last`; None if the tail does not reach back to it."""
    if last is None:
        return tail
    positions = [number for number, entry in enumerate(tail) if entry == last]
    return tail[positions[-1] + 1 :] if positions else None
