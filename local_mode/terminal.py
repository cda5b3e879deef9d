"""A terminal that nobody waits for: what is told is shown in its order by a thread of its own.

One that is stopped with Ctrl-S, or a pipe that is not read for a while, holds up no job, nor its logs, nor its end, and
shows everything once it is read again, as `docker compose up` does. What waits meanwhile is in memory, and from a
mebibyte on in a temporary file without a name. Only this process waits for its reader, at its very end.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from io import FileIO
from tempfile import TemporaryFile
from typing import Protocol, Self, TextIO

_IN_MEMORY = 1 << 20
_PIECE = 1 << 16


class Stream(Protocol):
    """What text for a person is written to."""

    def write(self, text: str, /) -> int:
        """Take it."""

    def flush(self) -> None:
        """Show what was written."""

    def isatty(self) -> bool:
        """Whether it is a terminal."""


class Terminal:
    """A stream over another, which is written to from several threads; leaving it waits until all is shown."""

    def __init__(self, stream: TextIO) -> None:
        self.encoding = stream.encoding or "utf-8"
        self._stream = stream
        self._turn = threading.Condition()
        # Each is text that waits, or how much of the file does.
        self._waiting: deque[bytes | int] = deque()
        self._in_memory = 0
        self._file: FileIO | None = None
        self._read = 0
        self._over = False
        self._thread = threading.Thread(target=self._show, name="terminal", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._turn:
            self._over = True
            self._turn.notify()
        self._thread.join()
        if self._file is not None:
            self._file.close()

    def write(self, text: str, /) -> int:
        """Have it shown. Returns at once."""
        content = text.encode(self.encoding, errors="replace")
        with self._turn:
            spooled = self._spooled(content) if content and self._in_memory + len(content) > _IN_MEMORY else 0
            if rest := content[spooled:]:
                self._waiting.append(rest)
                self._in_memory += len(rest)
            self._turn.notify()
        return len(text)

    def flush(self) -> None:
        """What is written is shown without being asked for."""

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._stream.isatty()

    def _spooled(self, content: bytes) -> int:
        """How many bytes the file took. What finds no room there stays in memory."""
        try:
            if self._file is None:
                self._file = TemporaryFile(buffering=0)  # noqa: SIM115 - closed on leaving
            size = self._file.write(content)
        except OSError:
            return 0
        last = self._waiting[-1] if self._waiting else b""
        if isinstance(last, int):
            self._waiting[-1] = last + size
        else:
            self._waiting.append(size)
        return size

    def _show(self) -> None:
        while piece := self._next():
            try:
                self._stream.buffer.write(piece)
                self._stream.flush()
            except OSError:
                # Nobody reads any more; the job goes on and its logs are whole.
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def _next(self) -> bytes:
        """What is to be shown next, as much as is there; nothing at the end."""
        with self._turn:
            self._turn.wait_for(lambda: self._waiting or self._over)
            found: list[bytes] = []
            while self._waiting:
                first = self._waiting.popleft()
                if isinstance(first, int):
                    self._waiting.appendleft(first)
                    break
                self._in_memory -= len(first)
                found.append(first)
            return b"".join(found) or self._from_file()

    def _from_file(self) -> bytes:
        if self._file is None or not self._waiting:
            return b""
        size = self._waiting.popleft()
        assert isinstance(size, int)
        piece = os.pread(self._file.fileno(), min(size, _PIECE), self._read)
        self._read += len(piece)
        if size > len(piece):
            self._waiting.appendleft(size - len(piece))
        elif not self._waiting:
            self._file.seek(0)
            self._file.truncate()
            self._read = 0
        return piece
