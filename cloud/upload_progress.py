"""How far an upload is, for a person."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self, TextIO

if TYPE_CHECKING:
    from tqdm import tqdm


class UploadProgress:
    """A bar on a terminal, a line for every tenth elsewhere. Takes calls of many threads."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._turn = threading.Lock()
        self._bar: tqdm[Any] | None = None
        self._size = 0
        self.sent = 0
        """Bytes."""
        self.there = 0
        """Bytes that had been there."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def sending(self, files: int, size: int) -> None:
        """So many files and bytes are to be there in the end."""
        self._size = size
        self.says(f"  {files:,} files, {size / 1e6:,.1f} MB")
        if self._stream.isatty():
            # A twentieth of a second to import.
            from tqdm import tqdm  # noqa: PLC0415

            self._bar = tqdm(total=size, unit="B", unit_scale=True, file=self._stream, leave=False)

    def done(self, size: int, *, sent: bool) -> None:
        """So many bytes more are there."""
        with self._turn:
            before = self._tenths()
            if sent:
                self.sent += size
            else:
                self.there += size
            if self._bar is not None:
                self._bar.update(size)
            elif self._tenths() > before:
                self.says(f"  {self._tenths()}0 %")

    def says(self, text: str) -> None:
        """A line of its own."""
        # Where nobody reads any more, the data are wanted all the same.
        with suppress(BrokenPipeError):
            print(text, file=self._stream, flush=True)

    def _tenths(self) -> int:
        return 10 * (self.sent + self.there) // self._size if self._size else 0
