"""Where a key stands in a TOML text. tomllib keeps no positions, and a fault without its line is half a fault."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

_TABLE = re.compile(r"^\s*(\[\[?)\s*([^\[\]#]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"""^\s*((?:"[^"]*"|'[^']*'|[A-Za-z0-9_.\-]|\s*\.\s*)+?)\s*=""")
_STEP = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|([^.\s"']+))\s*\.?""")

Key = tuple[str | int, ...]


def line_of(text: str, key: Sequence[str | int]) -> int | None:
    """The line (from 1) on which `key`, or the nearest table above it, is written; None if it is not there."""
    lines = {place: number for number, place in reversed(list(_places(text)))}
    for length in range(len(key), 0, -1):
        if (found := lines.get(tuple(key[:length]))) is not None:
            return found
    return None


def _places(text: str) -> Iterator[tuple[int, Key]]:
    """Every table header and key with its line number."""
    table: Key = ()
    counts: dict[Key, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _TABLE.match(line):
            table = _steps(header[2])
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                table = (*table, counts[table])
            yield number, table
        elif key := _KEY.match(line):
            yield number, (*table, *_steps(key[1]))


def _steps(dotted: str) -> Key:
    return tuple(a or b or c for a, b, c in _STEP.findall(dotted))
