"""homeport-local hydrate: fetch ahead what a linked file system would fetch at the first read."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import PurePosixPath

from local_mode.contents import connect
from local_mode.inputs.linked import Link, link_of
from local_mode.links import DataRepository, Survey
from local_mode.mounts import Refusal
from local_mode.object_store import InputRefused
from local_mode.place import Place
from local_mode.progress import Progress, megabytes
from local_mode.signals import stop_signals
from training_job.errors import Fault, JobRefused
from training_job.spelling import nearest

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
    lines = [f"{name}: {found.objects:,} objects, {megabytes(found.size)}; {fetched:,} fetched now, {here:,} were here"]
    if found.kept:
        lines.append(f"  {len(found.kept):,} changed here, and left as they are: {_few(found.kept)}")
    if found.let_go:
        lines.append(f"  {len(found.let_go):,} that a job deleted, moved or replaced: {_few(found.let_go)}")
        lines.append(f"    to fetch what is gone of them: homeport-local hydrate {name} --again")
    return "\n".join(lines)


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
