"""What a terminal shows that is read, late, or never."""

import io
import os
import threading
from collections.abc import Iterator

import pytest

from local_mode import terminal
from local_mode.terminal import Terminal

PIPES_HOLD = 1 << 20  # bytes, and no system's pipe holds more


@pytest.fixture
def pipe() -> Iterator[tuple[int, io.TextIOWrapper]]:
    """A pipe's end to read from, and a stream into it."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "w", encoding="utf-8") as stream:
        yield reader, stream


def read_all(reader: int) -> bytes:
    with os.fdopen(reader, "rb") as source:
        return source.read()


def test_what_is_written_is_shown_at_once(pipe: tuple[int, io.TextIOWrapper]) -> None:
    reader, stream = pipe

    with Terminal(stream) as shown:
        shown.write("a line │\n")

        assert os.read(reader, 100).decode() == "a line │\n"


def test_all_is_shown_on_leaving() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")

    with Terminal(stream) as shown:
        for number in range(1000):
            shown.write(f"{number} ·\n")

    assert stream.buffer.getvalue() == b"".join(b"%d ?\n" % number for number in range(1000))  # type: ignore[attr-defined]


@pytest.mark.parametrize("room", [True, False], ids=["room on disk", "no room on disk"])
def test_a_terminal_that_is_read_late_holds_nobody_up_and_loses_nothing(
    pipe: tuple[int, io.TextIOWrapper], monkeypatch: pytest.MonkeyPatch, room: bool
) -> None:
    reader, stream = pipe
    if not room:
        monkeypatch.setattr(terminal, "TemporaryFile", lambda **_: open("/dev/full", "r+b", 0))  # noqa: PTH123, SIM115
    read: list[bytes] = []
    reading = threading.Thread(target=lambda: read.append(read_all(reader)))
    written = [f"{number} " + "x" * 999 + "\n" for number in range(8 * PIPES_HOLD // 1000)]

    with stream, Terminal(stream) as shown:
        for text in written:
            shown.write(text)
        reading.start()
    reading.join()

    assert read[0].decode() == "".join(written)


def test_what_waits_does_not_stay_in_memory(pipe: tuple[int, io.TextIOWrapper]) -> None:
    reader, stream = pipe
    reading = threading.Thread(target=read_all, args=(reader,))

    with stream, Terminal(stream) as shown:
        for _ in range(64):
            shown.write("x" * PIPES_HOLD)
        in_memory = sum(len(text) for text in shown._waiting if isinstance(text, bytes))
        reading.start()
    reading.join()

    assert in_memory <= PIPES_HOLD


def test_what_waited_on_disk_leaves_it_once_it_is_shown(pipe: tuple[int, io.TextIOWrapper]) -> None:
    reader, stream = pipe
    with stream, Terminal(stream) as shown:
        for _ in range(4):
            shown.write("x" * PIPES_HOLD)
        left = 4 * PIPES_HOLD
        while left:
            left -= len(os.read(reader, left))

        with shown._turn:
            assert shown._file is not None
            assert os.fstat(shown._file.fileno()).st_size == 0
        shown.write("more")
        assert os.read(reader, 100) == b"more"


def test_a_reader_that_goes_away_is_no_error(pipe: tuple[int, io.TextIOWrapper]) -> None:
    reader, stream = pipe
    os.close(reader)

    with Terminal(stream) as shown:
        shown.write("one\n")
        shown.write("two\n")

    print("three", file=stream, flush=True)
