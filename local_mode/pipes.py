"""The FIFOs of Pipe channels, each fed by a thread: `<directory>/<host>/<channel>_<epoch>`, epoch from 0.

An epoch begins when a reader opens its FIFO and ends with EOF, or early when the reader closes it. The next epoch's
FIFO is there from the moment the current one is opened. That of an epoch that is over is gone, so that opening it once
more says so instead of waiting for ever. FIFOs work within one kernel: the containers' engine must run on this one.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import IO

from training_job.errors import MachineCannot

Piece = bytes | IO[bytes]
"""Something an epoch writes: bytes, or an open file from where it stands to its end, which the kernel moves."""

_BUFFER = 1 << 20
_BATCH = 64 << 10


@dataclass(frozen=True)
class Feed:
    """A channel of a host, and what each epoch writes into it; an epoch's pieces are closed when it is over."""

    host: str
    channel: str
    pieces: Callable[[int], Generator[Piece, None, None]]


class Feeders:
    """The feeders of a job."""

    def __init__(self, feeders: Sequence[_Feeder]) -> None:
        self._feeders = feeders

    @property
    def unread(self) -> tuple[tuple[str, str], ...]:
        """Host and channel of every feed that no reader has ever opened."""
        return tuple((feeder.feed.host, feeder.feed.channel) for feeder in self._feeders if not feeder.was_opened)


@contextmanager
def feeding(directory: Path, feeds: Sequence[Feed], failed: Callable[[BaseException], None]) -> Iterator[Feeders]:
    """Feed while the context is open; no thread and no FIFO outlives it, whatever readers do. The directories stay.

    `failed` is told, from a feeder's thread, the error that ends a feed; its reader sees the end of the pipe only then.
    """
    if sys.platform != "linux":
        raise MachineCannot("input mode Pipe: containers read pipes only where their engine runs on this kernel, Linux")
    ended = os.eventfd(0)
    feeders = [_Feeder(directory / feed.host, feed, ended, failed) for feed in feeds]
    try:
        for feeder in feeders:
            feeder.start()
        yield Feeders(feeders)
    finally:
        for feeder in feeders:
            feeder.release()
        os.eventfd_write(ended, 1)
        for feeder in feeders:
            feeder.join()
        os.close(ended)


class _Ended(Exception):
    """The context was left."""


class _ReaderGone(Exception):
    """The reader closed its end before the epoch was over."""


class _Feeder:
    """The thread that feeds one channel of one host."""

    def __init__(self, folder: Path, feed: Feed, ended: int, failed: Callable[[BaseException], None]) -> None:
        self.feed = feed
        self.was_opened = False
        self._folder = folder
        self._ended = ended
        self._failed = failed
        self._lock = threading.Lock()
        self._over = False
        self._current = self._fifo(0)
        self._made: set[Path] = set()
        self._releasing: int | None = None
        self._thread = threading.Thread(target=self._run, name=f"pipe {feed.host} {feed.channel}", daemon=True)

    def start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        # The job may be any user, and what this process may not show to others is not in these directories.
        self._folder.chmod(0o755)
        self._make(0)
        self._thread.start()

    def release(self) -> None:
        """Let the thread go where it waits in open(): for a reader, which this now is."""
        with self._lock:
            self._over = True
            # It has no name any more once it was opened and is over: nobody waits for it then.
            with suppress(FileNotFoundError):
                self._releasing = os.open(self._current, os.O_RDONLY | os.O_NONBLOCK)

    def join(self) -> None:
        if self._thread.ident is not None:
            self._thread.join()
        if self._releasing is not None:
            os.close(self._releasing)
        self._remove(*self._made)

    def _run(self) -> None:
        for epoch in count():
            pipe: int | None = None
            try:
                pipe = self._open(epoch)
                self._make(epoch + 1)
                self._feed(pipe, epoch)
            except _Ended:
                return
            except _ReaderGone:
                pass
            except BaseException as error:
                self._failed(self._told(error))
                self._remove(*self._made)
                return
            finally:
                # In this order nobody can open what nobody will write to: an open() that comes between succeeds.
                self._remove(self._fifo(epoch))
                if pipe is not None:
                    os.close(pipe)

    def _open(self, epoch: int) -> int:
        """The writing end, once there is a reader. Raises _Ended."""
        with self._lock:
            if self._over:
                raise _Ended
            self._current = self._fifo(epoch)
        pipe = os.open(self._current, os.O_WRONLY)
        if self._over:
            os.close(pipe)
            raise _Ended
        self.was_opened = True
        os.set_blocking(pipe, False)
        # A user who has too many large pipes already gets no more: then it stays at the kernel's 64 KiB.
        with suppress(PermissionError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _BUFFER)
        return pipe

    def _feed(self, pipe: int, epoch: int) -> None:
        with closing(self.feed.pieces(epoch)) as pieces:
            for piece in _batched(pieces):
                if isinstance(piece, bytes):
                    self._write(pipe, memoryview(piece))
                else:
                    self._move(pipe, piece.fileno())

    def _write(self, pipe: int, rest: memoryview) -> None:
        while rest:
            rest = rest[self._attempt(pipe, partial(os.write, pipe, rest)) :]

    def _move(self, pipe: int, file: int) -> None:
        """Write a file from its position on: the kernel's own pages, where the file system can give them."""
        try:
            while self._attempt(pipe, partial(os.splice, file, pipe, _BUFFER)):
                pass
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            while content := os.read(file, _BUFFER):
                self._write(pipe, memoryview(content))

    def _attempt(self, pipe: int, write: Callable[[], int]) -> int:
        """How many bytes were written, as soon as the pipe takes some. Raises _ReaderGone, and _Ended at the end."""
        poll = select.poll()
        poll.register(pipe, select.POLLOUT)
        poll.register(self._ended, select.POLLIN)
        while not self._over:
            try:
                return write()
            except BlockingIOError:
                poll.poll()
            except BrokenPipeError:
                raise _ReaderGone from None
        raise _Ended

    def _make(self, epoch: int) -> None:
        fifo = self._fifo(epoch)
        os.mkfifo(fifo)
        self._made.add(fifo)
        fifo.chmod(0o644)

    def _remove(self, *fifos: Path) -> None:
        for fifo in fifos:
            fifo.unlink(missing_ok=True)
            self._made.discard(fifo)

    def _fifo(self, epoch: int) -> Path:
        return self._folder / f"{self.feed.channel}_{epoch}"

    def _told(self, error: BaseException) -> BaseException:
        if isinstance(error, OSError):
            return MachineCannot(f"channel {self.feed.channel} of {self.feed.host} cannot be read: {error}")
        return error


def _batched(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """The pieces, short bytes joined: a record of RecordIO is three, and a channel may hold a million of them."""
    batch = bytearray()
    for piece in pieces:
        if isinstance(piece, bytes) and len(piece) < _BATCH:
            batch += piece
            if len(batch) < _BATCH:
                continue
        if batch:
            yield bytes(batch)
            batch.clear()
        if not isinstance(piece, bytes) or len(piece) >= _BATCH:
            yield piece
    if batch:
        yield bytes(batch)
