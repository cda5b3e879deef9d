"""The process that runs a job: whether it lives, and how it is asked to stop.

It lives while the lock in its run folder is held: the kernel drops that with the process, however it ends. Its number
alone would prove nothing, as numbers are given out again.
"""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Mapping
from pathlib import Path

from training_job.errors import MachineCannot

LOCK = ".lock"


def computer() -> str:
    """The name of this computer: others may share its folders and its store."""
    return os.uname().nodename


def owner_of(directory: Path) -> str:
    """What tells a later command whether the harness of a run still lives: the computer, and the lock it holds."""
    return f"{computer()}:{directory / LOCK}"


def computer_of(owner: str) -> str:
    """The computer on which an owner runs."""
    return owner.partition(":")[0]


def dead(owners: Mapping[str, str]) -> list[str]:
    """The jobs whose harness ran on this computer and lives no more."""
    return [job for job, owner in owners.items() if is_dead(owner)]


def is_dead(owner: str) -> bool:
    """Whether an owner of this computer has ended. Nothing is known of another computer's, or of a lock that may not
    be looked at."""
    path = owner.partition(":")[2]
    if computer_of(owner) != computer():
        return False
    try:
        with Path(path).open("rb") as lock:
            # Shared: two that look at once must not take each other for the owner.
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def this_process() -> str:
    """What names this process and no other: its number and, where the kernel tells it, when it began."""
    return _process(os.getpid())


def ask_to_stop(process: str, owner: str) -> bool:
    """Send SIGTERM to the harness `process` of `owner`; False where it lives no more. No other is ever signalled."""
    number = int(process.partition(":")[0])
    try:
        # Held before the lock is looked at: who holds the lock then held this number too, and it stays the same one.
        held = os.pidfd_open(number) if hasattr(os, "pidfd_open") else None
    except OSError:
        return False
    try:
        if is_dead(owner) or _process(number) != process:
            return False
        if held is None:
            os.kill(number, signal.SIGTERM)
        else:
            signal.pidfd_send_signal(held, signal.SIGTERM)
    except ProcessLookupError:
        return False
    except PermissionError:
        raise MachineCannot(
            f"process {number}, which runs the job, belongs to somebody else: only they can stop it"
        ) from None
    finally:
        if held is not None:
            os.close(held)
    return True


def _process(number: int) -> str:
    try:
        # proc(5): the name, field 2, stands in brackets and may hold anything; the start is field 22.
        fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return f"{number}:"
    return f"{number}:{fields[19]}"
