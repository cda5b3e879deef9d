"""Whole lines out of the frames of an engine's log."""

import io
import struct
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from time import perf_counter

import pytest

from local_mode import engine_log
from local_mode.engine_log import Entry, behind, time_of, unchunked, unseen

STDOUT, STDERR = 1, 2
STAMP = b"2026-11-21T10:15:30.123456789Z"


def frame(text: bytes, stream: int = STDOUT) -> bytes:
    payload = STAMP + b" " + text
    return struct.pack(">BxxxL", stream, len(payload)) + payload


def lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Line by line, what is given joined."""
    for given in engine_log.lines(engine_log.entries(pieces)):
        yield from io.BytesIO(given)


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


def test_lines_that_are_there_together_are_given_together() -> None:
    first = frame(b"a\n") + frame(b"b", STDERR) + frame(b"c\n") + frame(b"d\n", STDERR) + frame(b"e")

    assert list(engine_log.lines(engine_log.entries([first, frame(b"f\n")]))) == [b"a\nc\nbd\n", b"ef\n"]


def test_a_burst_loses_nothing() -> None:
    expected = [b"line %d\n" % number for number in range(50_000)]
    text = b"".join(frame(line, STDOUT + number % 2) for number, line in enumerate(expected))

    assert list(lines(cut(text, 1 << 16))) == expected


def test_a_frame_that_never_ends_is_dropped_with_its_connection() -> None:
    assert list(lines(iter([frame(b"a\n"), frame(b"half a frame")[:-3]]))) == [b"a\n"]


def test_unfinished_lines_are_given_each_by_itself() -> None:
    logged = engine_log.entries([frame(b"\xe2\x94") + frame(b"\x82", STDERR)])

    assert list(engine_log.lines(logged)) == [b"\xe2\x94", b"\x82"]


def test_a_line_without_an_end_in_sight_is_not_copied_for_each_of_its_parts() -> None:
    part = frame(b"." * 16_000)
    began = perf_counter()

    (line,) = lines([part] * 6_000)

    assert len(line) == 6_000 * 16_000
    assert perf_counter() - began < 5


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(content), content)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 1 << 16])
def test_a_chunked_body_is_put_together_however_it_was_cut(size: int) -> None:
    contents = [b"one", b"\r\n0\r\n\r\n", b"x" * 300, b"\xff"]
    body = b"".join(chunk(content) for content in contents) + b"0;last\r\n\r\n"

    assert b"".join(unchunked(cut(body, size))) == b"".join(contents)


def test_chunks_that_are_there_together_are_given_together() -> None:
    pieces = unchunked(iter([chunk(b"one") + chunk(b"two")[:-1], b"\n" + chunk(b"three"), chunk(b"")]))

    assert [piece for piece in pieces if piece] == [b"one", b"twothree"]


@pytest.mark.parametrize("body", [b"", b"3", b"3\r\non", chunk(b"one")])
def test_a_chunked_body_that_breaks_off_is_told(body: bytes) -> None:
    with pytest.raises(EOFError):
        list(unchunked(iter([body])))


A, B, C = ((STDOUT, b"%d same\n" % number) for number in range(3))


@pytest.mark.parametrize(
    ("last", "tail", "found"),
    [
        (B, [A, B], []),
        (A, [A, B, C], [B, C]),
        (A, [B, C], None),
        (A, [], None),
        (B, [A, B, B, C], [C]),
    ],
)
def test_what_was_not_seen_is_what_follows_the_last_that_was(
    last: Entry, tail: list[Entry], found: list[Entry] | None
) -> None:
    assert unseen(last, tail) == found


@pytest.mark.parametrize(
    ("logged", "found"),
    [
        ([], []),
        ([[A], [B, C]], [[C]]),
        ([[A, B], [C], [A]], [[], [C], [A]]),
        ([[A, B], [B, C]], [[], [C]]),
        ([[A], [C]], []),
    ],
)
def test_what_stands_behind_an_entry_is_found_while_a_log_is_read(
    logged: list[list[Entry]], found: list[list[Entry]]
) -> None:
    assert list(behind(B, logged)) == found


def test_an_entry_knows_its_time() -> None:
    (found,) = engine_log.entries([frame(b"a b\n")])

    assert time_of(found[0]) == datetime(2026, 11, 21, 10, 15, 30, 123456, tzinfo=UTC)
