"""A harness in a session of its own, which outlives the terminal that it was started from.

As with `docker run -d`, what comes before the job's hosts run is waited for and shown, and an error then is this
command's own. From there on the harness writes into the run's folder.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

LOG = "harness.log"
_PAUSE_SECONDS = 0.05
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Detached:
    """Both ends of a fork: in the child `pid` is 0, and its output goes to a file until the job is kept."""

    def __init__(self, pid: int, output: int, news: int) -> None:
        self.pid = pid
        self._output = output
        self._news = news

    @classmethod
    def fork(cls) -> Detached:
        """Part from the terminal. To be called before there is any thread."""
        with tempfile.TemporaryFile() as file:
            output = os.dup(file.fileno())
        hears, tells = os.pipe()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        pid = os.fork()
        if pid:
            os.close(tells)
            return cls(pid, output, hears)
        os.close(hears)
        os.setsid()
        _redirect(output)
        with Path(os.devnull).open() as nothing:
            os.dup2(nothing.fileno(), 0)
        return cls(0, output, tells)

    def kept(self, directory: Path) -> None:
        """In the child: the job has begun. What was said so far, and all that follows, is in its folder."""
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        with (directory / LOG).open("ab", buffering=0) as log:
            os.lseek(self._output, 0, os.SEEK_SET)
            with os.fdopen(os.dup(self._output), "rb") as said:
                shutil.copyfileobj(said, log)
            _redirect(log.fileno())
        os.write(self._news, directory.name.encode())
        os.close(self._news)

    def wait(self) -> tuple[str | None, int]:
        """In the parent: show what the child says until its job has begun. The job's name and 0; or None and the exit
        code of a child whose job never began. Ctrl-C and the like go to the child."""
        shown = 0
        with _passed_on(self.pid):
            while not select.select([self._news], [], [], _PAUSE_SECONDS)[0]:
                shown = self._show(shown)
            name = os.read(self._news, 1 << 10).decode()
            self._show(shown)
            if name:
                return name, 0
            code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            self._show(shown)
        return None, code if code >= 0 else 128 - code

    def _show(self, shown: int) -> int:
        while piece := os.pread(self._output, 1 << 16, shown):
            sys.stderr.buffer.write(piece)
            sys.stderr.flush()
            shown += len(piece)
        return shown


def _redirect(to: int) -> None:
    for number in (1, 2):
        os.dup2(to, number)


@contextmanager
def _passed_on(pid: int) -> Iterator[None]:
    def pass_on(number: int, _frame: FrameType | None) -> None:
        # Not reaped yet, so the number is still its own.
        os.kill(pid, number)

    before = {number: signal.signal(number, pass_on) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, action in before.items():
            signal.signal(number, action)
