"""The logs of a job's hosts, as they are kept in its folder: read at once, or followed while they grow."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO

_PAUSE_SECONDS = 0.1


class _Tail:
    """A log that may still grow."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.rest = b""

    def lines(self) -> Iterator[bytes]:
        """The whole lines since the last look."""
        while line := self._file.readline():
            self.rest += line
            if line.endswith(b"\n"):
                whole, self.rest = self.rest, b""
                yield whole


def log_lines(
    folder: Path, host: str | None, has_ended: Callable[[], bool], waits: Callable[[], None] = lambda: None
) -> Iterator[tuple[str, bytes]]:
    """Every line of every host, or of one, with the host, until the job has ended. `waits` is called before each pause.

    The lines of a host are in order; how those of several lay among each other is only seen while they come.
    """
    tails: dict[str, _Tail] = {}
    with ExitStack() as stack:
        while True:
            # Asked before the files are read: what is written before the end is read after it.
            ended = has_ended()
            for path in sorted(folder.glob("*.log"), key=_number):
                if path.stem not in tails and host in (None, path.stem):
                    tails[path.stem] = _Tail(stack.enter_context(path.open("rb")))
            for name, tail in tails.items():
                yield from ((name, line) for line in tail.lines())
            if ended:
                yield from ((name, tail.rest) for name, tail in tails.items() if tail.rest)
                return
            waits()
            time.sleep(_PAUSE_SECONDS)


def _number(path: Path) -> tuple[int, str]:
    """`algo-10` comes after `algo-9`."""
    number = path.stem.rpartition("-")[2]
    return int(number) if number.isdigit() else 0, path.stem
