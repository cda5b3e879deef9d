"""Whether a harness lives, and how another process asks it to stop."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from local_mode.harness import _process, ask_to_stop, dead, owner_of, this_process
from local_mode.records import run_record
from tests.fakes import a_plan
from training_job.errors import MachineCannot

_HOLDER = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print(1, flush=True); "


@contextmanager
def holder(lock: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds a lock until its input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", f"{_HOLDER} sys.stdin.read()", lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        process.stdout.readline()
        yield process


def test_a_run_that_goes_on_is_alive_and_its_end_frees_its_name(tmp_path: Path) -> None:
    with run_record(a_plan(tmp_path)) as record:
        owner = record.owner

        assert dead({"job-1": owner}) == []

    assert dead({"job-1": owner}) == ["job-1"]


def test_a_run_whose_harness_was_killed_is_dead(tmp_path: Path) -> None:
    owner = owner_of(tmp_path)
    with holder(tmp_path / ".lock") as process:
        assert dead({"job-1": owner}) == []

        process.kill()
        process.wait()

    assert dead({"job-1": owner}) == ["job-1"]


@pytest.mark.parametrize("owner", ["elsewhere:/runs/job-1/.lock", "", ":"])
def test_a_run_of_another_computer_is_left_alone(owner: str) -> None:
    assert dead({"job-1": owner}) == []


def test_a_lock_that_cannot_be_looked_at_is_left_alone(tmp_path: Path) -> None:
    assert dead({"job-1": f"{socket.gethostname()}:{tmp_path}"}) == []


def test_a_lock_is_not_taken_by_looking_at_it(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    lock.touch()

    assert dead({"job-1": f"{socket.gethostname()}:{lock}"}) == ["job-1"]

    with lock.open("w") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_two_that_look_at_once_do_not_take_each_other_for_the_owner(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    lock.touch()

    with lock.open() as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)

        assert dead({"job-1": owner_of(tmp_path)}) == ["job-1"]


def test_a_harness_is_asked_to_stop(tmp_path: Path) -> None:
    with holder(tmp_path / ".lock") as process:
        assert ask_to_stop(_process(process.pid), owner_of(tmp_path))

        assert process.wait(10) == -signal.SIGTERM


def test_a_process_that_has_the_number_of_a_dead_harness_is_not_signalled(tmp_path: Path) -> None:
    with holder(tmp_path / "another") as process:
        (tmp_path / ".lock").touch()

        assert not ask_to_stop(_process(process.pid), owner_of(tmp_path))

        assert process.poll() is None
        process.stdin.close()
        assert process.wait(10) == 0


def test_a_process_that_began_at_another_time_is_not_signalled(tmp_path: Path) -> None:
    with holder(tmp_path / ".lock") as process:
        assert not ask_to_stop(f"{process.pid}:1", owner_of(tmp_path))

        assert process.poll() is None
        process.stdin.close()


def test_a_process_that_is_gone_is_not_signalled(tmp_path: Path) -> None:
    with holder(tmp_path / ".lock") as process:
        name = _process(process.pid)
        process.stdin.close()

    assert not ask_to_stop(name, owner_of(tmp_path))


def test_the_harness_of_somebody_else_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    # As the kernel refuses whoever is not root.
    monkeypatch.setattr(os, "kill", refuse)
    monkeypatch.setattr(signal, "pidfd_send_signal", refuse, raising=False)
    monkeypatch.setattr("local_mode.harness.is_dead", lambda _: False)

    with pytest.raises(MachineCannot, match="belongs to somebody else"):
        ask_to_stop(_process(1), owner_of(tmp_path))


def test_a_process_has_a_name_that_no_later_one_gets() -> None:
    number, _, began = this_process().partition(":")

    assert int(number) == os.getpid()
    assert began.isdigit() or sys.platform != "linux"
