"""Whole lines out of the answer in which a container engine streams a log. Pure.

The engine sends every line as an HTTP chunk of its own (RFC 9112, 7.1), and in it a frame (Docker API: ContainerAttach,
stream format) of a stamp, a space and text. All that is there is taken at once: what comes out for each piece that goes
in are the lines that it ends.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import groupby
from operator import itemgetter

_FRAME = struct.Struct(">BxxxL")
_LINE_END = b"\r\n"

Entry = tuple[int, bytes]
"""What the engine logged at once, a line or a part of one that is longer than its buffer: the stream, and the text
behind its stamp."""


def unchunked(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The content of a chunked body, however it was cut on the way. Raises EOFError where it ends before its end."""
    waiting = b""
    for piece in pieces:
        waiting += piece
        found: list[bytes] = []
        start = 0
        while (head := waiting.find(_LINE_END, start)) >= 0:
            # What stands behind a semicolon is an extension, and may be ignored.
            size = int(waiting[start:head].partition(b";")[0], 16)
            begin = head + len(_LINE_END)
            if begin + size + len(_LINE_END) > len(waiting) and size:
                break
            if not size:
                yield b"".join(found)
                return
            found.append(waiting[begin : begin + size])
            start = begin + size + len(_LINE_END)
        waiting = waiting[start:]
        yield b"".join(found)
    raise EOFError


def entries(pieces: Iterable[bytes]) -> Iterator[Sequence[Entry]]:
    """The entries that each piece of a log ends."""
    waiting = b""
    for piece in pieces:
        waiting += piece
        found: list[Entry] = []
        start = 0
        while len(waiting) - start >= _FRAME.size:
            stream, length = _FRAME.unpack_from(waiting, start)
            begin = start + _FRAME.size
            if begin + length > len(waiting):
                break
            start = begin + length
            found.append((stream, waiting[begin:start]))
        waiting = waiting[start:]
        if found:
            yield found


def lines(logged: Iterable[Sequence[Entry]]) -> Iterator[bytes]:
    """The whole lines that entries end, joined; what is unfinished when the log ends is given as it is, each by itself.

    Each of stdout and stderr collects its own parts: those of one may stand between those of the other.
    """
    unfinished: dict[int, list[bytes]] = defaultdict(list)
    for found in logged:
        whole: list[bytes] = []
        for stream, of_stream in groupby(found, itemgetter(0)):
            text = b"".join([entry[entry.find(b" ") + 1 :] for _, entry in of_stream])
            ended, line_end, rest = text.rpartition(b"\n")
            if line_end:
                whole += *unfinished.pop(stream, ()), ended, line_end
            if rest:
                unfinished[stream].append(rest)
        if whole:
            yield b"".join(whole)
    yield from (b"".join(parts) for parts in unfinished.values())


def time_of(entry: Entry) -> datetime:
    """When the engine logged it, to the microsecond."""
    return datetime.fromisoformat(entry[1].partition(b" ")[0].decode())


def unseen(last: Entry, tail: Sequence[Entry]) -> Sequence[Entry] | None:
    """The entries of a log's tail that came after `last`; None if the tail does not reach back to it."""
    positions = [number for number, entry in enumerate(tail) if entry == last]
    return tail[positions[-1] + 1 :] if positions else None


def behind(last: Entry, logged: Iterable[Sequence[Entry]]) -> Iterator[Sequence[Entry]]:
    """The entries after `last`, and after those that cannot be told from it; none where it is not among them."""
    reached = False
    for found in logged:
        rest = unseen(last, found)
        if rest is not None or reached:
            reached = True
            yield found if rest is None else rest
