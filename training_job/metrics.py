"""MetricDefinitions over log lines: the first group of each match, as a number.

The value reported at the end is the last one emitted (API: FinalMetricDataList). How the service joins several hosts
that emit one metric is not documented; here the last line of any host wins.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
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
    """The metrics of one job, read line by line."""

    def __init__(self, definitions: Iterable[MetricDefinition]) -> None:
        self._patterns = [(definition.name, _compiled(definition.regex)) for definition in definitions]
        self.final: dict[str, MetricPoint] = {}
        self.too_slow: set[str] = set()

    def read(self, line: str, timestamp: datetime, host: str) -> Iterator[MetricPoint]:
        """The values in a line. A pattern that cannot decide a line in time is dropped and kept in `too_slow`."""
        for name, pattern in self._patterns:
            if name in self.too_slow:
                continue
            try:
                match = pattern.search(line, timeout=_SECONDS_PER_LINE)
            except TimeoutError:
                self.too_slow.add(name)
                continue
            value = _number(match[1]) if match and match.re.groups else None
            if value is not None:
                point = MetricPoint(name, value, timestamp, host)
                self.final[name] = point
                yield point

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
