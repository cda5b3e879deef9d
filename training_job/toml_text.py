"""Where a key stands in a TOML text. tomllib keeps no positions, and a fault without its line is half a fault."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

_TABLE = re.compile(r"^\s*(\[\[?)\s*([^\[\]#]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"""^\s*((?:"[^"]*"|'[^']*'|[A-Za-z0-9_.\-]|\s*\.\s*)+?)\s*=""")
# What decides where a statement ends: texts of one line as a whole, quotes of longer ones, brackets and comments.
_MARK = re.compile(r"""\\.|"{3}|'{3}|"(?:\\.|[^"\\])*"|'[^']*'|[\[\]{}#]""")
_LONG_QUOTES = ('"""', "'''")
_BRACKETS = {"[": 1, "]": -1, "{": 1, "}": -1}
_STEP = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|([^.\s"']+))\s*\.?""")

Key = tuple[str | int, ...]


def line_of(text: str, key: Sequence[str | int]) -> int | None:
    """The line (from 1) on which `key`, or the nearest table above it, is written; None if it is not there."""
    lines = lines_of(text)
    return next((found for length in range(len(key), 0, -1) if (found := lines.get(tuple(key[:length])))), None)


def lines_of(text: str) -> dict[Key, int]:
    """Every table header and key with the line (from 1) on which it is first written, or that first implies it."""
    written = list(_places(text))
    implied = [(number, place[:length]) for number, place in written for length in range(1, len(place))]
    return {place: number for number, place in reversed([*written, *implied])}


def _places(text: str) -> Iterator[tuple[int, Key]]:
    table: Key = ()
    counts: dict[Key, int] = {}
    for number, line in _statements(text):
        if header := _TABLE.match(line):
            table = _steps(header[2])
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                table = (*table, counts[table])
            yield number, table
        elif key := _KEY.match(line):
            yield number, (*table, *_steps(key[1]))


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """The lines that begin a key or a table; not those inside a list or a text of several lines."""
    depth = 0
    quote = ""
    for number, line in enumerate(text.split("\n"), start=1):
        if not depth and not quote:
            yield number, line
        for mark in _MARK.findall(line):
            if quote:
                quote = "" if mark == quote else quote
            elif mark in _LONG_QUOTES:
                quote = mark
            elif mark in _BRACKETS:
                depth += _BRACKETS[mark]
            elif mark == "#":
                break


def _steps(dotted: str) -> Key:
    return tuple(a or b or c for a, b, c in _STEP.findall(dotted))
