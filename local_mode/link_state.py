"""What is known of the files of a link: a small SQLite file, shared by every process that uses the link.

Paths begin at the link's directory. They are kept as bytes: a job may name a file as no text is.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training_job.errors import MachineCannot

_TABLES = """
CREATE TABLE IF NOT EXISTS written (
    path BLOB PRIMARY KEY, etag TEXT NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS let_go (path BLOB PRIMARY KEY) WITHOUT ROWID;
"""
# A path itself, and all that is below it; everything for the link's directory.
_BELOW = "(:path = x'' OR path = :path OR (path > :first AND path < :last))"
_PATIENCE = 60.0


@dataclass(frozen=True)
class Written:
    """An object's file as it was when it was written: another size or time since means that somebody changed it."""

    etag: str
    size: int
    mtime_ns: int


class LinkState:
    """Which objects were written to which files, and which of them a job has deleted, moved or replaced since."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._turn = threading.Lock()
        with self._told():
            file.parent.mkdir(parents=True, exist_ok=True)
            self._tables = sqlite3.connect(file, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
            # A record that a power cut takes is found again: its file has the object's own size and time.
            self._tables.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; {_TABLES}")

    def close(self) -> None:
        """Let the file go."""
        with self._turn:
            self._tables.close()

    def written(self, below: str = "") -> dict[str, Written]:
        """The files that were written at and below a path."""
        rows = self._run(f"SELECT path, etag, size, mtime_ns FROM written WHERE {_BELOW}", below)  # noqa: S608
        return {os.fsdecode(path): Written(*rest) for path, *rest in rows}

    def let_go(self, below: str = "") -> set[str]:
        """The paths at and below a path that a job has deleted, moved or replaced."""
        rows = self._run(f"SELECT path FROM let_go WHERE {_BELOW}", below)  # noqa: S608
        return {os.fsdecode(path) for (path,) in rows}

    def write(self, files: Iterable[tuple[str, Written]]) -> None:
        """These files are S3's content now."""
        rows = [(os.fsencode(path), known.etag, known.size, known.mtime_ns) for path, known in files]
        with self._turn, self._told():
            self._tables.execute("BEGIN IMMEDIATE")
            self._tables.executemany("INSERT OR REPLACE INTO written VALUES (?, ?, ?, ?)", rows)
            self._tables.execute("COMMIT")

    def give_up(self, path: str) -> None:
        """S3's content is not wanted at this path any more."""
        self._run("INSERT OR IGNORE INTO let_go VALUES (:path)", path)
        self._run("DELETE FROM written WHERE path = :path", path)

    def give_up_written(self, path: str) -> None:
        """The same for all that was written at and below a path."""
        self._run(f"INSERT OR IGNORE INTO let_go SELECT path FROM written WHERE {_BELOW}", path)  # noqa: S608
        self._run(f"DELETE FROM written WHERE {_BELOW}", path)  # noqa: S608

    def want_again(self, below: str = "") -> None:
        """Nothing at and below a path is let go any more."""
        self._run(f"DELETE FROM let_go WHERE {_BELOW}", below)  # noqa: S608

    def _run(self, statement: str, path: str) -> list[Any]:
        name = os.fsencode(path)
        # "0" is the character after "/".
        bounds = {"path": name, "first": name + b"/", "last": name + b"0"}
        with self._turn, self._told():
            return self._tables.execute(statement, bounds).fetchall()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise MachineCannot(
                f"{self._file}: what is known of the link cannot be kept ({error}). Free the disk, or name another "
                "cache with HOMEPORT_CACHE"
            ) from None
