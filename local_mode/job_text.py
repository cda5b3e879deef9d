"""Words for people about recorded jobs. Quick to import: `list` and `describe` load nothing that trains."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from local_mode.job_record import JobRecord
from training_job.log_text import duration

_HEADINGS = ("NAME", "STATUS", "SECONDARY", "CREATED", "DURATION", "INSTANCES")


def instances_text(instances: Sequence[tuple[str, int]]) -> str:
    """Each type with how many there are of it."""
    return " + ".join(f"{kind} × {count}" for kind, count in instances)


def list_text(jobs: Sequence[JobRecord], now: datetime) -> str:
    """A line a job."""
    rows = [_HEADINGS, *(_columns(job, now) for job in jobs)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS) - 1)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=True)), row[-1]]) for row in rows
    )


def list_answer(jobs: Sequence[JobRecord]) -> dict[str, Any]:
    """ListTrainingJobs' answer, and what only this machine knows under `Homeport`."""
    return {"TrainingJobSummaries": [_summary(job) for job in jobs]}


def describe_text(job: JobRecord, now: datetime) -> str:
    """A job for a person: how it went, why it failed, what it ran on, where its things are."""
    lines = [
        f"{job.name} · {_both(job.status, job.secondary_status)} · {instances_text(job.instances)} · {job.image}",
        _row(
            "created", f"{_local(job.created)}, {duration(_seconds(job, now))} {'so far' if job.running else 'in all'}"
        ),
        *(_row(_local(step.start), f"{step.status}: {step.message}") for step in job.transitions),
    ]
    if job.failure_reason is not None:
        lines += [_row("failed", line) for line in job.failure_reason.splitlines()]
    if job.exit_code is not None:
        lines.append(_row("exit code", str(job.exit_code)))
    if "BillableTimeInSeconds" in job.answer:
        lines.append(_row("billable", f"{job.answer['BillableTimeInSeconds']} s"))
    if job.gpus:
        lines.append(_row("GPUs", ",".join(job.gpus)))
    lines += [
        _row("metric", f"{point['MetricName']} {point['Value']:g}") for point in job.answer["FinalMetricDataList"]
    ]
    lines += [_row("parameter", f"{name} = {value}") for name, value in job.answer.get("HyperParameters", {}).items()]
    if not job.running:
        lines.append(_row("model", job.answer["ModelArtifacts"]["S3ModelArtifacts"]))
    return "\n".join([*lines, _row("folder", str(job.directory)), _row("ARN", job.arn)])


def _columns(job: JobRecord, now: datetime) -> tuple[str, ...]:
    return (
        job.name,
        job.status,
        job.secondary_status,
        _local(job.created),
        duration(_seconds(job, now)),
        instances_text(job.instances),
    )


def _summary(job: JobRecord) -> dict[str, Any]:
    times = {"CreationTime": job.created, "TrainingEndTime": job.ended, "LastModifiedTime": job.changed}
    return {
        "TrainingJobName": job.name,
        "TrainingJobArn": job.arn,
        **{name: time.isoformat() for name, time in times.items() if time},
        "TrainingJobStatus": job.status,
        "SecondaryStatus": job.secondary_status,
        "Homeport": {
            "Instances": [{"InstanceType": kind, "InstanceCount": count} for kind, count in job.instances],
            "RunDirectory": str(job.directory),
            "GPUs": list(job.gpus),
            "ExitCode": job.exit_code,
        },
    }


def _both(status: str, secondary_status: str) -> str:
    return status if status == secondary_status else f"{status}, {secondary_status}"


def _row(name: str, what: str) -> str:
    return f"  {name:<19}  {what}"


def _seconds(job: JobRecord, now: datetime) -> float:
    return max(0.0, ((job.ended or now) - job.created).total_seconds())


def _local(time: datetime) -> str:
    return f"{time.astimezone():%Y-%m-%d %H:%M:%S}"
