"""Logs are read whole, also while they grow."""

import threading
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest

from local_mode.log_files import log_lines


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local_mode.log_files._PAUSE_SECONDS", 0)


def ended() -> bool:
    return True


def steps(*done: Callable[[], object]) -> Callable[[], bool]:
    """Does one thing each time it is asked; then the job has ended."""
    waiting = iter(done)

    def has_ended() -> bool:
        step = next(waiting, None)
        if step:
            step()
        return step is None

    return has_ended


def test_every_host_is_read_in_its_order(tmp_path: Path) -> None:
    for number in (10, 9, 1):
        (tmp_path / f"algo-{number}.log").write_bytes(b"%d: one\r\n%d: two" % (number, number))

    assert list(log_lines(tmp_path, None, ended)) == [
        ("algo-1", b"1: one\r\n"),
        ("algo-9", b"9: one\r\n"),
        ("algo-10", b"10: one\r\n"),
        ("algo-1", b"1: two"),
        ("algo-9", b"9: two"),
        ("algo-10", b"10: two"),
    ]


def test_one_host_is_read_alone(tmp_path: Path) -> None:
    for host in ("algo-1", "algo-10"):
        (tmp_path / f"{host}.log").write_text(f"{host}\n")

    assert list(log_lines(tmp_path, "algo-1", ended)) == [("algo-1", b"algo-1\n")]


def test_a_job_without_logs_has_no_lines(tmp_path: Path) -> None:
    assert list(log_lines(tmp_path / "logs", None, ended)) == []


def test_a_line_comes_once_it_is_whole(tmp_path: Path) -> None:
    log = (tmp_path / "algo-1.log").open("wb", buffering=0)
    lines = log_lines(tmp_path, None, steps(*(lambda piece=piece: log.write(piece) for piece in (b"ha", b"lf\nre"))))

    assert list(lines) == [("algo-1", b"half\n"), ("algo-1", b"re")]


def test_a_host_that_begins_to_speak_later_is_heard(tmp_path: Path) -> None:
    def begins(host: str) -> Callable[[], object]:
        return lambda: (tmp_path / f"{host}.log").write_text(f"{host}\n")

    assert list(log_lines(tmp_path, None, steps(begins("algo-2"), begins("algo-1")))) == [
        ("algo-2", b"algo-2\n"),
        ("algo-1", b"algo-1\n"),
    ]


def test_what_is_written_just_before_the_end_is_read(tmp_path: Path) -> None:
    log = tmp_path / "algo-1.log"
    log.touch()

    def ends_with_a_line() -> bool:
        log.write_text("last\n")
        return True

    assert list(log_lines(tmp_path, None, ends_with_a_line)) == [("algo-1", b"last\n")]


def test_what_was_read_is_handed_on_before_a_pause(tmp_path: Path) -> None:
    (tmp_path / "algo-1.log").write_text("one\n")
    told: list[str] = []

    lines = log_lines(tmp_path, None, steps(lambda: None), lambda: told.append("pause"))
    for _, line in lines:
        told.append(line.decode())

    assert told == ["one\n", "pause"]


def test_no_line_is_lost_of_a_log_that_is_written_at_the_same_time(tmp_path: Path) -> None:
    said = [b"line %d\n" % number for number in range(50_000)]
    log = (tmp_path / "algo-1.log").open("wb", buffering=0)
    written = threading.Event()

    def write() -> None:
        lines: Iterator[bytes] = iter(said)
        while piece := b"".join(islice(lines, 7)):
            # Torn in the middle of a line.
            log.write(piece[:20])
            log.write(piece[20:])
        written.set()

    writer = threading.Thread(target=write)
    writer.start()

    assert [line for _, line in log_lines(tmp_path, None, written.is_set)] == said
    writer.join()
