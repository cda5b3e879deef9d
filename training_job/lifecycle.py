"""The life of a training job: statuses, messages, how it ends and why, and DescribeTrainingJob's answer. Pure.

Statuses and messages: API SecondaryStatusTransition, with the wordings observed in real jobs. FailureReason has the
form the AWS Braket SDK's integration test asserts: `AlgorithmError: <failure file>, exit code: <N>`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from training_job.errors import COMPLETED, FAILED, OVERRAN, STOPPED, Interrupted
from training_job.metrics import MetricPoint
from training_job.model import TrainingJob

Cause = Literal["exited", "stop requested", "interrupted", "ran past its time", "waited too long", "spot interruption"]
"""What ends the hosts. `interrupted` is Ctrl-C here; only a spot interruption starts them anew."""

STOP_GRACE_SECONDS = 120
"""Between SIGTERM and SIGKILL on StopTrainingJob and MaxRuntimeInSeconds (developer guide, API StopTrainingJob)."""

PEER_GRACE_SECONDS = 2
"""Between SIGTERM and SIGKILL of the other hosts when one has failed. The service's own grace is not documented."""

SPOT_GRACE_SECONDS = 5
"""Between SIGTERM and SIGKILL at a spot interruption. UNVERIFIED: that SIGTERM comes at all, which EC2's notice of two
minutes makes possible; a job that relies on it may lose more in the cloud than here."""

SPOT_SHARE = 0.3
"""What a spot job's second is billed as. The service's figure follows the market: published jobs were billed for 22 %
to 46 % of their time."""

_REASON_LIMIT = 1024
_OUT_OF_MEMORY = (
    "Please use an instance type with more memory, or reduce the size of job data processed on an instance."
)
_KILLED = 137
_ON_INSTANCES = ("Downloading", "Training")
_OFF_INSTANCES = ("Starting", "Interrupted")
_MESSAGES = {
    "Starting": "Preparing the instances for training",
    "Downloading": "Downloading input data",
    "Training": "Training image download completed. Training in progress.",
    "Uploading": "Uploading generated training model",
    "Interrupted": "The job stopped because the managed spot training instances were interrupted",
    "Stopping": "Stopping the training job",
    "Completed": "Training job completed",
    "Failed": "Training job failed",
    "Stopped": "Training job stopped",
    "MaxRuntimeExceeded": "Training job runtime exceeded MaxRuntimeInSeconds provided",
    "MaxWaitTimeExceeded": "The job stopped because it exceeded the maximum allowed wait time",
}


@dataclass(frozen=True)
class Exit:
    """How a host's container ended. `order` is its place among the ends of all hosts."""

    host: str
    code: int
    order: int
    out_of_memory: bool = False


@dataclass(frozen=True)
class Transition:
    """A secondary status and when it began."""

    status: str
    start: datetime

    @property
    def message(self) -> str:
        """SageMaker's words for it."""
        return _MESSAGES[self.status]


@dataclass(frozen=True)
class Outcome:
    """How the job ended, in SageMaker's words, and the exit code for the shell."""

    status: Literal["Completed", "Failed", "Stopped"]
    secondary_status: str
    exit_code: int
    failure_reason: str | None = None
    failed_host: str | None = None


def conclude(exits: Iterable[Exit], cause: Cause, failure_files: Mapping[str, str]) -> Outcome:
    """The end of a job whose hosts have all ended. A job that was stopped is Stopped whatever its exit codes."""
    match cause:
        case "ran past its time":
            return Outcome("Stopped", "MaxRuntimeExceeded", OVERRAN)
        case "waited too long":
            return Outcome("Stopped", "MaxWaitTimeExceeded", OVERRAN)
        case "stop requested":
            return Outcome("Stopped", "Stopped", STOPPED)
        case "interrupted":
            return Outcome("Stopped", "Stopped", Interrupted.exit_code)
    failed = first_failure(exits)
    if failed is None:
        return Outcome("Completed", "Completed", COMPLETED)
    reason = failure_reason(failed, failure_files.get(failed.host, ""))
    return Outcome("Failed", "Failed", FAILED, reason, failed.host)


def internal_server_error(why: str, exit_code: int) -> Outcome:
    """The end of a job that this machine failed, not its algorithm."""
    return Outcome("Failed", "Failed", exit_code, f"InternalServerError: {why}"[:_REASON_LIMIT])


def first_failure(exits: Iterable[Exit]) -> Exit | None:
    """The host that failed first; the others were only ended because of it."""
    return min((end for end in exits if end.code != 0), key=lambda end: end.order, default=None)


def failure_reason(end: Exit, failure_file: str) -> str:
    """At most 1,024 characters; the file is cut, never the exit code.

    A container that was killed for want of memory is told in the service's words (as published; their suffix is
    UNVERIFIED), a part of one in the toolkit's.
    """
    prefix, text, suffix = "AlgorithmError: ", failure_file, f", exit code: {end.code}"
    if end.out_of_memory and end.code == _KILLED:
        prefix, text = "ClientError: ", _OUT_OF_MEMORY
    elif end.out_of_memory:
        text = f"OutOfMemory: a process was killed for want of memory. {text}".rstrip()
    return f"{prefix}{text[: _REASON_LIMIT - len(prefix) - len(suffix)]}{suffix}"


def describe(
    job: TrainingJob,
    *,
    arn: str,
    transitions: Sequence[Transition],
    outcome: Outcome,
    end: datetime,
    metrics: Iterable[MetricPoint],
    model_artifacts: str,
) -> dict[str, Any]:
    """DescribeTrainingJob's answer for a job that has ended, times in ISO 8601."""
    answer = job.request() | {
        "TrainingJobArn": arn,
        "ModelArtifacts": {"S3ModelArtifacts": model_artifacts},
        "TrainingJobStatus": outcome.status,
        "SecondaryStatus": outcome.secondary_status,
        "CreationTime": transitions[0].start.isoformat(),
        "LastModifiedTime": end.isoformat(),
        "SecondaryStatusTransitions": [
            {
                "Status": step.status,
                "StartTime": step.start.isoformat(),
                "EndTime": later.isoformat(),
                "StatusMessage": step.message,
            }
            for step, later in zip(transitions, [*(step.start for step in transitions[1:]), end], strict=True)
        ],
        "FinalMetricDataList": [
            {"MetricName": point.name, "Value": point.value, "Timestamp": point.timestamp.isoformat()}
            for point in metrics
        ],
    }
    for asked_only in ("Tags", "SessionChainingConfig"):
        answer.pop(asked_only, None)
    if outcome.failure_reason is not None:
        answer["FailureReason"] = outcome.failure_reason
    return answer | _times(
        transitions, _training_end(transitions, outcome, end), bool(job.enable_managed_spot_training)
    )


def _times(transitions: Sequence[Transition], ended: datetime, spot: bool) -> dict[str, Any]:
    """When and how long the job trained, and what that is billed as."""
    found: dict[str, Any] = {"TrainingEndTime": ended.isoformat()}
    if held := _held(transitions, ended):
        seconds = sum((until - since).total_seconds() for since, until in held)
        found |= {
            "TrainingStartTime": held[0][0].isoformat(),
            "TrainingTimeInSeconds": max(1, round(seconds)),
            "BillableTimeInSeconds": max(1, round(seconds * (SPOT_SHARE if spot else 1))),
        }
    return found


def _training_end(transitions: Sequence[Transition], outcome: Outcome, end: datetime) -> datetime:
    """After the upload; of a failed job, when it was detected that it had failed (API DescribeTrainingJob)."""
    uploading = [step.start for step in transitions if step.status == "Uploading"]
    return uploading[-1] if outcome.status == "Failed" and uploading else end


def _held(transitions: Sequence[Transition], ended: datetime) -> list[tuple[datetime, datetime]]:
    """From when to when the job had instances: from the download of its data on (API TrainingStartTime). That the time
    between a spot interruption and the restart counts as neither trained nor billed is UNVERIFIED."""
    held: list[tuple[datetime, datetime]] = []
    since: datetime | None = None
    for step in transitions:
        if since is None and step.status in _ON_INSTANCES:
            since = step.start
        elif since is not None and step.status in _OFF_INSTANCES:
            held.append((since, step.start))
            since = None
    return [*held, (since, ended)] if since is not None else held
