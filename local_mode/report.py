"""A run's folder as one HTML page that holds everything it shows."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from local_mode.charts import Point, chart
from training_job.instance_types import PRICES_OF, instance_type

_TAIL = 200
_USAGE = {
    "CPUUtilization": "CPU, % of one core",
    "MemoryUtilization": "Memory, %",
    "GPUUtilization": "GPU, % of one device",
    "GPUMemoryUtilization": "GPU memory, % of one device",
    "ReceivedBytesPerSecond": "Network in, bytes/s",
    "SentBytesPerSecond": "Network out, bytes/s",
}


@dataclass(frozen=True)
class _Log:
    host: str
    text: str
    lines: int
    left_out: int


def report(folder: Path, described: Mapping[str, Any]) -> str:
    """The page of the run in `folder`, whose DescribeTrainingJob answer is `described`."""
    steps = described["SecondaryStatusTransitions"]
    began = datetime.fromisoformat(steps[0]["StartTime"])
    plan = _json(folder / "plan.json")
    template = files("local_mode").joinpath("report.html.jinja").read_text(encoding="utf-8")
    return (
        Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
        .from_string(template)
        .render(
            name=described["TrainingJobName"],
            status=described["TrainingJobStatus"],
            secondary=described["SecondaryStatus"],
            hosts=" + ".join(f"{kind} × {count}" for kind, count in _groups(described)),
            image=described["AlgorithmSpecification"].get("TrainingImage", ""),
            reason=described.get("FailureReason", ""),
            transitions=[_step(step) for step in steps],
            bill=bill(described),
            metrics=list(_metrics(_rows(folder / "metrics.jsonl"), began)),
            usage=list(_usage(list(_rows(folder / "usage.jsonl")), began)),
            logs=[_log(path) for path in sorted((folder / "logs").glob("*.log"), key=_number)],
            ledger=plan.get("ledger", []),
            request=json.dumps(_json(folder / "request.json"), indent=2),
        )
    )


def bill(described: Mapping[str, Any]) -> str:
    """What the cloud would have billed for the job's billable time; empty where a price is not known."""
    groups, seconds = list(_groups(described)), described.get("BillableTimeInSeconds")
    prices = [instance_type(kind).price_per_hour for kind, _ in groups]
    if seconds is None or any(price is None for price in prices):
        return ""
    total = sum((price or 0) * count for price, (_, count) in zip(prices, groups, strict=True)) * seconds / 3600
    return f"In the cloud its {seconds:,} billable seconds would have cost ${total:,.2f} (prices of {PRICES_OF})."


def _groups(described: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    resources = described["ResourceConfig"]
    for group in resources.get("InstanceGroups") or [resources]:
        yield group["InstanceType"], group["InstanceCount"]


def _step(step: Mapping[str, Any]) -> dict[str, Any]:
    start, end = step["StartTime"], step.get("EndTime")
    seconds = (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds() if end else None
    return {
        "status": step["Status"],
        "start": start.replace("T", " ")[:19],
        "seconds": "" if seconds is None else f"{seconds:,.1f}",
        "message": step.get("StatusMessage", ""),
    }


def _metrics(rows: Iterable[Mapping[str, Any]], began: datetime) -> Iterator[dict[str, Any]]:
    curves: dict[str, dict[str, list[Point]]] = {}
    for row in rows:
        at = (datetime.fromisoformat(row["Timestamp"]) - began).total_seconds()
        curves.setdefault(row["MetricName"], {}).setdefault(row["Host"], []).append((at, row["Value"]))
    for name, hosts in curves.items():
        points = sorted(point for curve in hosts.values() for point in curve)
        values = [value for _, value in points]
        yield {
            "name": name,
            "last": f"{values[-1]:g}",
            "low": f"{min(values):g}",
            "high": f"{max(values):g}",
            "count": f"{len(values):,}",
            "chart": chart(name, hosts),
        }


def _usage(rows: Sequence[Mapping[str, Any]], began: datetime) -> Iterator[str]:
    for member, title in _USAGE.items():
        curves: dict[str, list[Point]] = {}
        for row in rows:
            if member in row:
                at = (datetime.fromisoformat(row["Timestamp"]) - began).total_seconds()
                curves.setdefault(row["Host"], []).append((at, row[member]))
        if curves:
            yield chart(title, curves, from_zero=True)


def _log(path: Path) -> _Log:
    with path.open(encoding="utf-8", errors="replace") as file:
        tail: deque[str] = deque(maxlen=_TAIL)
        count = 0
        for line in file:
            tail.append(line)
            count += 1
    return _Log(path.stem, "".join(tail), len(tail), count - len(tail))


def _number(path: Path) -> tuple[int, str]:
    """algo-10 after algo-2."""
    digits = path.stem.rpartition("-")[2]
    return int(digits) if digits.isdecimal() else 0, path.stem


def _json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """A file of one object a line; a last line that is not whole yet is left out."""
    if path.exists():
        with path.open(encoding="utf-8") as file:
            yield from (json.loads(line) for line in file if line.endswith("\n"))
