"""MetricDefinitions over log lines: the first group of each match, as a number.

The value reported at the end is the last one emitted (API: FinalMetricDataList). How the service joins several hosts
that emit one metric is not documented; here the last line of any host wins.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from training_job.model import MetricDefinition

if TYPE_CHECKING:
    import regex

_SECONDS_PER_LINE = 0.25


@dataclass(frozen=True)
class MetricPoint:
    """One value a log line held."""

    name: str
    value: float
    timestamp: datetime
    host: str


class Metrics:
    """The metrics of one job, read from the lines of its hosts."""

    def __init__(self, definitions: Iterable[MetricDefinition]) -> None:
        self._patterns = [(definition.name, _compiled(definition.regex)) for definition in definitions]
        self.final: dict[str, MetricPoint] = {}
        self.too_slow: set[str] = set()

    def read(self, lines: str, clock: Callable[[], datetime], host: str) -> list[MetricPoint]:
        """The values in lines, each line by itself and each value with its own time.

        A pattern that cannot decide a line in time is dropped and kept in `too_slow`.
        """
        if len(self.too_slow) == len(self._patterns):
            return []
        found: list[MetricPoint] = []
        # A line ends with a line feed, and with nothing else that Unicode calls an end.
        for line in io.StringIO(lines, newline="\n"):
            for name, pattern in self._patterns:
                value = None if name in self.too_slow else self._value(name, pattern, line)
                if value is not None:
                    found.append(MetricPoint(name, value, clock(), host))
        self.final.update((point.name, point) for point in found)
        return found

    def _value(self, name: str, pattern: regex.Pattern[str], line: str) -> float | None:
        try:
            match = pattern.search(line, timeout=_SECONDS_PER_LINE)
        except TimeoutError:
            self.too_slow.add(name)
            return None
        return _number(match[1]) if match and match.re.groups else None

    @property
    def silent(self) -> tuple[str, ...]:
        """The metrics no line has matched."""
        return tuple(name for name, _ in self._patterns if name not in self.final)


def pattern_fault(pattern: str) -> str | None:
    """Why `pattern` is no usable regular expression, or None."""
    try:
        compiled = _compiled(pattern)
    except ValueError as error:
        return f"{pattern!r} is no regular expression: {error}"
    return None if compiled.groups else f"{pattern!r} has no group: the value is what the first (…) matches"


def _compiled(pattern: str) -> regex.Pattern[str]:
    """A pattern ready to be searched for. Raises ValueError."""
    # Here, as it takes a fiftieth of a start, and most short jobs define no metrics.
    import regex  # noqa: PLC0415

    try:
        return regex.compile(pattern)
    except regex.error as error:
        raise ValueError(str(error)) from None


def _number(text: str | None) -> float | None:
    """A number that CloudWatch would take; NaN and the infinities are none (API PutMetricData)."""
    try:
        value = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None
