"""How far a fetch is, for a person."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from local_mode.terminal import Stream

if TYPE_CHECKING:
    from tqdm import tqdm


class Progress:
    """A bar on a terminal, a line for every tenth elsewhere. Called from many threads."""

    def __init__(self, name: str, stream: Stream) -> None:
        self._name = name
        self._stream = stream
        self._turn = threading.Lock()
        self._bar: tqdm[Any] | None = None
        self._size = self._done = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """A bar is gone from the terminal."""
        if self._bar is not None:
            self._bar.close()

    def fetching(self, objects: int, size: int) -> None:
        """It begins."""
        self._size = size
        if not self._stream.isatty():
            self._say(f"fetching {objects:,} objects, {megabytes(size)}")
            return
        # A twentieth of a second to import, and often nothing is fetched.
        from tqdm import tqdm  # noqa: PLC0415

        self._bar = tqdm(total=size, desc=self._name, unit="B", unit_scale=True, file=self._stream, leave=False)

    def fetched(self, size: int) -> None:
        """So many bytes more are here."""
        with self._turn:
            before = self._tenths()
            self._done += size
            if self._bar is not None:
                self._bar.update(size)
            elif self._tenths() > before:
                self._say(f"{self._tenths()}0 %, {megabytes(self._done)}")

    def _tenths(self) -> int:
        return 10 * self._done // self._size if self._size else 0

    def _say(self, text: str) -> None:
        # Where nobody reads any more, what is fetched is wanted all the same.
        with suppress(BrokenPipeError):
            print(f"{self._name}: {text}", file=self._stream, flush=True)


def megabytes(size: int) -> str:
    """`1,234.5 MB`."""
    return f"{size / 1e6:,.1f} MB"
