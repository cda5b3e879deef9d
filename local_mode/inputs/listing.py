"""What a channel holds, from what a bucket lists or a manifest names. Pure.

A key's part after the prefix is its path in the channel, as observed in a real job; which objects a host gets under
ShardedByS3Key is not documented: here every n-th, so that each object goes to exactly one host.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from local_mode.object_store import S3Object
from training_job.s3_uri import S3Uri

T = TypeVar("T")
_NAME_BYTES = 255
_PATH_BYTES = 4096 - len("/opt/ml/input/data/") - 64


@dataclass(frozen=True)
class Entry:
    """One file of a channel: its path from the channel's directory on, and the object it is."""

    path: str
    object: S3Object


class ListingRefused(ValueError):
    """A listing that no directory can hold, or a manifest that cannot be read; carries every reason."""

    def __init__(self, reasons: Sequence[str]) -> None:
        self.reasons = tuple(reasons)
        super().__init__("; ".join(reasons))


def under_prefix(prefix: str, objects: Iterable[S3Object]) -> list[Entry]:
    """The objects below a prefix as a directory's files. A prefix that is one object's key names that file."""
    return laid_out(named(prefix, objects))


def named(prefix: str, objects: Iterable[S3Object]) -> list[Entry]:
    """The objects below a prefix, whether or not they could be files side by side."""
    found = []
    for item in objects:
        path = item.key.removeprefix(prefix)
        if path.startswith("/") and prefix and not prefix.endswith("/"):
            path = path[1:]
        found.append(Entry(path or item.key.rpartition("/")[2], item))
    return found


def laid_out(entries: Iterable[Entry]) -> list[Entry]:
    """The entries, if files can have these paths side by side. Raises ListingRefused with every one that cannot."""
    by_path: dict[str, Entry] = {}
    reasons = []
    for entry in entries:
        if why := _unfit(entry.path):
            reasons.append(f"key {entry.object.key!r} {why}")
        other = by_path.setdefault(entry.path, entry)
        if other.object == entry.object:
            continue
        key, twin = other.object.key, entry.object.key
        if key == twin:
            reasons.append(f"keys {key!r} and {key + '/'!r} differ only in a trailing slash")
        else:
            reasons.append(f"keys {key!r} and {twin!r} are both {entry.path!r} in the channel")
    for path, entry in by_path.items():
        reasons += [
            f"key {by_path[folder].object.key!r} is a file where {entry.object.key!r} needs a folder"
            for folder in _folders(path)
            if folder in by_path
        ]
    if reasons:
        raise ListingRefused(reasons)
    return list(by_path.values())


def share(items: Sequence[T], number: int, count: int) -> list[T]:
    """Host `number` (from 0) of `count`: every count-th item."""
    return list(items[number::count])


def shuffled(items: Sequence[T], seed: int | None, epoch: int) -> list[T]:
    """The order of an epoch: the same for one seed and epoch, another in the next; as listed without a seed."""
    found = list(items)
    if seed is not None:
        random.Random(f"{seed}/{epoch}").shuffle(found)  # noqa: S311 - an order, no secret
    return found


@dataclass(frozen=True)
class Manifest:
    """A ManifestFile: where its names start, and the names."""

    prefix: S3Uri
    names: tuple[str, ...]


def read_manifest(text: str) -> Manifest:
    """`[{"prefix": "s3://bucket/path/"}, "name", …]` (S3DataSource.S3Uri). Raises ListingRefused naming lines."""
    values = _array(text)
    if not values:
        raise ListingRefused(['line 1: must begin with {"prefix": "s3://…"}, and is empty'])
    line, first = values[0]
    prefix = first.get("prefix") if isinstance(first, dict) and len(first) == 1 else None
    if not isinstance(prefix, str):
        raise ListingRefused([f'line {line}: must be {{"prefix": "s3://…"}}, not {_short(first)}'])
    reasons = [f"line {at}: must be a key's text, not {_short(name)}" for at, name in values[1:] if not _is_name(name)]
    if reasons:
        raise ListingRefused(reasons)
    try:
        return Manifest(S3Uri.parse(prefix), tuple(str(name) for _, name in values[1:]))
    except ValueError as error:
        raise ListingRefused([f"line {line}: {error}"]) from None


@dataclass(frozen=True)
class Attribute:
    """One value of an augmented manifest's line: text as it stands, or the object that a `-ref` names."""

    text: str | None = None
    reference: S3Uri | None = None


def read_augmented(text: str, names: Sequence[str]) -> list[tuple[Attribute, ...]]:
    """Every line's attributes, in the order of `names` (developer guide, augmented-manifest).

    A text is emitted as it stands, any other value as compact JSON. Raises ListingRefused naming lines.
    """
    rows: list[tuple[Attribute, ...]] = []
    reasons: list[str] = []
    # Not splitlines(): a JSON text may hold the other separators that it splits at.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            rows.append(_row(json.loads(line), names))
        except (ValueError, RecursionError) as error:
            reasons.append(f"line {number}: {_why(error)}")
    if reasons:
        raise ListingRefused(reasons)
    return rows


def sibling_manifest(prefix: S3Uri, entries: Iterable[Entry]) -> bytes:
    """`<channel>-manifest`, which lies beside a File channel. Its form in the cloud is not documented: this is
    ManifestFile's."""
    names = [entry.object.key.removeprefix(prefix.key) for entry in entries]
    return json.dumps([{"prefix": str(prefix)}, *names], separators=(",", ":")).encode()


def _unfit(path: str) -> str | None:
    parts = path.split("/")
    try:
        path.encode()
    except UnicodeEncodeError:
        return "holds half a character, which UTF-8 cannot say"
    if path.startswith("/"):
        return "begins with / after the prefix: no file of a channel can"
    if any(part in ("", ".", "..") for part in parts):
        return "holds an empty part, . or ..: no file of a channel can"
    if any(len(part.encode()) > _NAME_BYTES for part in parts):
        return f"has a part of over {_NAME_BYTES} bytes, the most that a file name holds"
    if len(path.encode()) > _PATH_BYTES:
        return f"is over {_PATH_BYTES} bytes long, the most that a path holds"
    return "holds a NUL" if "\0" in path else None


def _folders(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _array(text: str) -> list[tuple[int, Any]]:
    """The elements of a JSON array, each with its line."""
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise ListingRefused([f"line {error.lineno}: is no JSON: {error.msg}"]) from None
    except (ValueError, RecursionError) as error:
        raise ListingRefused([f"line 1: cannot be read: {error}"]) from None
    if not isinstance(values, list):
        raise ListingRefused(["line 1: must be a JSON array"])
    decoder, at, found = json.JSONDecoder(), text.index("[") + 1, []
    for _ in values:
        while text[at] in " \t\r\n,":
            at += 1
        line = text.count("\n", 0, at) + 1
        value, at = decoder.raw_decode(text, at)
        found.append((line, value))
    return found


def _row(line: Any, names: Sequence[str]) -> tuple[Attribute, ...]:
    if not isinstance(line, dict):
        raise ValueError(f"must be a JSON object, not {_short(line)}")  # noqa: TRY004 - a fault of the text
    if missing := [name for name in names if name not in line]:
        raise ValueError(f"has no attribute {', '.join(missing)}")
    return tuple(_attribute(name, line[name]) for name in names)


def _attribute(name: str, value: Any) -> Attribute:
    if name.endswith("-ref"):
        if not isinstance(value, str):
            raise ValueError(f"{name} must be an s3:// URI, not {_short(value)}")
        uri = S3Uri.parse(value)
        if not uri.key:
            raise ValueError(f"{name} {_short(value)} names a bucket and no object")
        return Attribute(reference=uri)
    return Attribute(text=value if isinstance(value, str) else json.dumps(value, separators=(",", ":")))


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _why(error: Exception) -> str:
    return f"is no JSON: {error.msg}" if isinstance(error, json.JSONDecodeError) else str(error)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
