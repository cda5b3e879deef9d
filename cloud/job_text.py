"""Words for people about jobs that the account describes. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from cloud.run_folder import RunFolder
from training_job.log_text import duration

_HEADINGS = ("NAME", "STATUS", "CREATED", "DURATION")


def list_text(jobs: Sequence[Mapping[str, Any]], now: datetime) -> str:
    """A line a job."""
    rows = [_HEADINGS, *(_columns(job, now) for job in jobs)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS) - 1)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=True)), row[-1]]) for row in rows
    )


def describe_text(answer: Mapping[str, Any], folder: RunFolder, now: datetime) -> str:
    """A job for a person: how it went, why it failed, what it ran on, where its things are."""
    image = answer["AlgorithmSpecification"].get("TrainingImage", "")
    status, secondary = answer["TrainingJobStatus"], answer.get("SecondaryStatus", "")
    both = status if secondary in ("", status) else f"{status}, {secondary}"
    running = "TrainingEndTime" not in answer
    lines = [
        f"{answer['TrainingJobName']} · {both} · {_instances(answer.get('ResourceConfig', {}))} · {image}",
        _row("created", f"{_local(answer['CreationTime'])}, {_took(answer, now)} {'so far' if running else 'in all'}"),
        *(
            _row(_local(step["StartTime"]), f"{step['Status']}: {step.get('StatusMessage', '')}")
            for step in answer.get("SecondaryStatusTransitions", [])
        ),
        *(_row("failed", line) for line in str(answer.get("FailureReason", "")).splitlines()),
    ]
    if "BillableTimeInSeconds" in answer:
        lines.append(_row("billable", f"{answer['BillableTimeInSeconds']} s an instance"))
    lines += [
        _row("metric", f"{point['MetricName']} {point['Value']:g}") for point in answer.get("FinalMetricDataList", [])
    ]
    lines += [_row("parameter", f"{name} = {value}") for name, value in answer.get("HyperParameters", {}).items()]
    if not running:
        lines.append(_row("model", answer.get("ModelArtifacts", {}).get("S3ModelArtifacts", "")))
    if folder.directory.is_dir():
        lines.append(_row("folder", str(folder.directory)))
    return "\n".join([*lines, _row("ARN", answer["TrainingJobArn"])])


def _columns(job: Mapping[str, Any], now: datetime) -> tuple[str, ...]:
    return job["TrainingJobName"], job["TrainingJobStatus"], _local(job["CreationTime"]), _took(job, now)


def _took(job: Mapping[str, Any], now: datetime) -> str:
    end = datetime.fromisoformat(job["TrainingEndTime"]) if "TrainingEndTime" in job else now
    return duration(max(0.0, (end - datetime.fromisoformat(job["CreationTime"])).total_seconds()))


def _instances(resources: Mapping[str, Any]) -> str:
    groups = resources.get("InstanceGroups") or [resources]
    return " + ".join(f"{group.get('InstanceType', '')} × {group.get('InstanceCount', '')}" for group in groups)


def _row(name: str, what: str) -> str:
    return f"  {name:<19}  {what}"


def _local(time: str) -> str:
    return f"{datetime.fromisoformat(time).astimezone():%Y-%m-%d %H:%M:%S}"
