"""homeport-local hydrate: fetch ahead what a linked file system would fetch at the first read."""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Self, TextIO

from local_mode.contents import connect
from local_mode.inputs.linked import Link, link_of
from local_mode.links import DataRepository, Survey
from local_mode.mounts import Refusal
from local_mode.object_store import InputRefused
from local_mode.place import Place
from local_mode.signals import stop_signals
from training_job.errors import Fault, JobRefused
from training_job.spelling import nearest

if TYPE_CHECKING:
    from tqdm import tqdm

_NAMED = 5


def hydrate(asked: argparse.Namespace, place: Place) -> int:
    """Fetch `asked.path` of the file system `asked.name`, or all of it; 0, or an error that has its own code."""
    link, path = _link(asked.name, place), _path(asked.path)
    with (
        stop_signals() as events,
        DataRepository(link, connect(link.bucket)) as repository,
        Progress(asked.name, sys.stderr) as told,
    ):
        found = repository.look(path, again=asked.again)
        if not found.objects:
            raise InputRefused(f"{link.uri.joined(path) if path else link.uri}: there is no object below")
        fetched = repository.hydrate(found, told, lambda: not events.empty())
    print(hydrated(asked.name, found, fetched))
    return 0


def hydrated(name: str, found: Survey, fetched: int) -> str:
    """What a person reads at the end."""
    here = found.here + len(found.missing) - fetched
    lines = [
        f"{name}: {found.objects:,} objects, {_megabytes(found.size)}; {fetched:,} fetched now, {here:,} were here"
    ]
    if found.kept:
        lines.append(f"  {len(found.kept):,} changed here, and left as they are: {_few(found.kept)}")
    if found.let_go:
        lines.append(f"  {len(found.let_go):,} that a job deleted, moved or replaced: {_few(found.let_go)}")
        lines.append(f"    to fetch what is gone of them: homeport-local hydrate {name} --again")
    return "\n".join(lines)


class Progress:
    """A bar on a terminal, a line for every tenth elsewhere. Called from many threads."""

    def __init__(self, name: str, stream: TextIO) -> None:
        self._name = name
        self._stream = stream
        self._turn = threading.Lock()
        self._bar: tqdm[Any] | None = None
        self._size = self._done = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def fetching(self, objects: int, size: int) -> None:
        """It begins."""
        self._size = size
        if not self._stream.isatty():
            self._say(f"fetching {objects:,} objects, {_megabytes(size)}")
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
                self._say(f"{self._tenths()}0 %, {_megabytes(self._done)}")

    def _tenths(self) -> int:
        return 10 * self._done // self._size if self._size else 0

    def _say(self, text: str) -> None:
        print(f"{self._name}: {text}", file=self._stream, flush=True)


def _link(name: str, place: Place) -> Link:
    mappings = place.file_systems
    key = name if name in mappings else next((key for key, mapping in mappings.items() if mapping.id == name), None)
    if key is None:
        raise JobRefused(place.source, [Fault(f"file system {name!r}", f"is not mapped here{nearest(name, mappings)}")])
    link = link_of(mappings[key], place)
    if link is None:
        what = 'has no link; what its files are fetched from is link = "s3://bucket/prefix"'
        raise JobRefused(place.source, [Fault(f"local.file_systems.{key}", what)])
    if isinstance(link, Refusal):
        raise JobRefused(place.source, [Fault(f"local.file_systems.{key}.link", link.why)])
    return link


def _path(asked: str | None) -> str:
    parts = [part for part in PurePosixPath(asked or "").parts if part != "/"]
    if ".." in parts:
        raise JobRefused("hydrate", [Fault("PATH", f"{asked!r} must hold no ..")])
    return "/".join(parts)


def _few(paths: Sequence[str]) -> str:
    more = len(paths) - _NAMED
    return ", ".join([*paths[:_NAMED], *([f"and {more:,} more"] if more > 0 else [])])


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
