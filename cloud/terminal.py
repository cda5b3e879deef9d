"""Ctrl-C and questions while a job in the cloud is followed. A signal leaves a mark that is acted on between looks."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType
from typing import Self

from cloud.aws_errors import CredentialsExpired
from cloud.follow import how_to_go_on
from training_job.errors import Left


class Terminal:
    """What whoever started the command wants meanwhile. Without a terminal nobody is asked: Ctrl-C leaves the job."""

    def __init__(self, job: str, *, interactive: bool | None = None) -> None:
        self._job = job
        self._interactive = sys.stdin.isatty() and sys.stderr.isatty() if interactive is None else interactive
        self._pressed = threading.Event()

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._interrupted)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def pause(self, seconds: float) -> None:
        """Wait, or until Ctrl-C is pressed."""
        self._pressed.wait(seconds)

    def stop_wanted(self) -> bool:
        """Whether the job is to be stopped, where Ctrl-C was pressed. Raises Left."""
        if not self._pressed.is_set():
            return False
        wish = (
            self._asked("\nStop the job, leave it running, or go on following? [s/l/g] ") if self._interactive else "l"
        )
        self._pressed.clear()
        if wish.startswith("l"):
            raise self._left()
        return wish.startswith("s")

    def renewed(self, problem: CredentialsExpired) -> None:
        """Return once somebody says that there are new credentials. Raises CredentialsExpired, Left."""
        if not self._interactive:
            raise CredentialsExpired(f"{problem}. {how_to_go_on(self._job)}")
        if self._asked(f"\n{problem}.\nThen press Enter to go on; l leaves the job running: ").startswith("l"):
            raise self._left()

    def _interrupted(self, _number: int, _frame: FrameType | None) -> None:
        # A second press while the first is not looked at: AWS keeps us waiting.
        if self._pressed.is_set():
            raise self._left()
        self._pressed.set()

    def _asked(self, question: str) -> str:
        """The answer in small letters; `l` where Ctrl-C or the end of input is the answer."""
        mine = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            print(question, end="", file=sys.stderr, flush=True)
            line = sys.stdin.readline()
        except KeyboardInterrupt:
            return "l"
        finally:
            signal.signal(signal.SIGINT, mine)
        return line.strip().lower() if line else "l"

    def _left(self) -> Left:
        return Left(f"left {self._job}. {how_to_go_on(self._job)}")
