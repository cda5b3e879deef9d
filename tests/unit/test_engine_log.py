"""Whole lines out of the frames of an engine's log."""

import struct
from collections.abc import Iterator

import pytest

from local_mode import engine_log
from local_mode.engine_log import Entry, unseen

STDOUT, STDERR = 1, 2
STAMP = b"2026-11-21T10:15:30.123456789Z"


def frame(text: bytes, stream: int = STDOUT) -> bytes:
    payload = STAMP + b" " + text
    return struct.pack(">BxxxL", stream, len(payload)) + payload


def lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    return engine_log.lines(engine_log.entries(chunks))


def cut(text: bytes, size: int) -> Iterator[bytes]:
    return (text[start : start + size] for start in range(0, len(text), size))


@pytest.mark.parametrize(
    ("frames", "found"),
    [
        ([], []),
        ([frame(b"")], []),
        ([frame(b"a\n")], [b"a\n"]),
        ([frame(b"a\nb\n\nc\n")], [b"a\n", b"b\n", b"\n", b"c\n"]),
        ([frame(b"a\n"), frame(b"b\n", STDERR), frame(b"c\n")], [b"a\n", b"b\n", b"c\n"]),
        ([frame(b"one "), frame(b"long "), frame(b"line\nnext\n")], [b"one long line\n", b"next\n"]),
        (
            [frame(b"out one, "), frame(b"error one, ", STDERR), frame(b"two\n"), frame(b"two\n", STDERR)],
            [b"out one, two\n", b"error one, two\n"],
        ),
        ([frame(b"no end")], [b"no end"]),
        ([frame(b"out"), frame(b"error", STDERR)], [b"out", b"error"]),
        ([frame(b"10%\r20%\r\n")], [b"10%\r20%\r\n"]),
        ([frame(b"\xff\x00\n")], [b"\xff\x00\n"]),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 7, 8, 9, 1 << 16])
def test_lines_are_whole_however_the_frames_are_cut(frames: list[bytes], found: list[bytes], size: int) -> None:
    assert list(lines(cut(b"".join(frames), size))) == found


def test_a_line_is_given_as_soon_as_it_is_whole() -> None:
    fed: list[bytes] = []

    def chunks() -> Iterator[bytes]:
        for chunk in (frame(b"a\nb"), frame(b"\n")):
            fed.append(chunk)
            yield chunk

    reader = lines(chunks())

    assert next(reader) == b"a\n"
    assert len(fed) == 1


def test_a_burst_loses_nothing() -> None:
    expected = [b"line %d\n" % number for number in range(50_000)]
    text = b"".join(frame(line, STDOUT + number % 2) for number, line in enumerate(expected))

    assert list(lines(cut(text, 1 << 16))) == expected


def test_a_frame_that_never_ends_is_dropped_with_its_connection() -> None:
    assert list(lines(iter([frame(b"a\n"), frame(b"half a frame")[:-3]]))) == [b"a\n"]


A, B, C = (Entry(STDOUT, b"%d" % number, b"same\n") for number in range(3))


@pytest.mark.parametrize(
    ("last", "tail", "found"),
    [
        (None, [], []),
        (None, [A, B], [A, B]),
        (B, [A, B], []),
        (A, [A, B, C], [B, C]),
        (A, [B, C], None),
        (A, [], None),
        (B, [A, B, B, C], [C]),
    ],
)
def test_what_was_not_seen_is_what_follows_the_last_that_was(
    last: Entry | None, tail: list[Entry], found: list[Entry] | None
) -> None:
    assert unseen(last, tail) == found
