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

Cause = Literal["exited", "stop requested", "interrupted", "ran past its time"]

STOP_GRACE_SECONDS = 120
"""Between SIGTERM and SIGKILL on StopTrainingJob and MaxRuntimeInSeconds (developer guide, API StopTrainingJob)."""

PEER_GRACE_SECONDS = 2
"""Between SIGTERM and SIGKILL of the other hosts when one has failed. The service's own grace is not documented."""

_REASON_LIMIT = 1024
_MESSAGES = {
    "Starting": "Preparing the instances for training",
    "Downloading": "Downloading input data",
    "Training": "Training image download completed. Training in progress.",
    "Uploading": "Uploading generated training model",
    "Stopping": "Stopping the training job",
    "Completed": "Training job completed",
    "Failed": "Training job failed",
    "Stopped": "Training job stopped",
    "MaxRuntimeExceeded": "Training job runtime exceeded MaxRuntimeInSeconds provided",
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
        case "stop requested":
            return Outcome("Stopped", "Stopped", STOPPED)
        case "interrupted":
            return Outcome("Stopped", "Stopped", Interrupted.exit_code)
    failed = first_failure(exits)
    if failed is None:
        return Outcome("Completed", "Completed", COMPLETED)
    reason = failure_reason(failed, failure_files.get(failed.host, ""))
    return Outcome("Failed", "Failed", FAILED, reason, failed.host)


def first_failure(exits: Iterable[Exit]) -> Exit | None:
    """The host that failed first; the others were only ended because of it."""
    return min((end for end in exits if end.code != 0), key=lambda end: end.order, default=None)


def failure_reason(end: Exit, failure_file: str) -> str:
    """At most 1,024 characters; the file is cut, never the exit code."""
    suffix = f", exit code: {end.code}"
    text = failure_file
    if end.out_of_memory:
        text = f"OutOfMemory: the container was killed for want of memory. {text}".rstrip()
    prefix = "AlgorithmError: "
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
    trained = [step.start for step in transitions if step.status == "Training"]
    answer = job.request() | {
        "TrainingJobArn": arn,
        "ModelArtifacts": {"S3ModelArtifacts": model_artifacts},
        "TrainingJobStatus": outcome.status,
        "SecondaryStatus": outcome.secondary_status,
        "CreationTime": transitions[0].start.isoformat(),
        "LastModifiedTime": end.isoformat(),
        "TrainingEndTime": end.isoformat(),
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
    if trained:
        seconds = max(1, round((end - trained[0]).total_seconds()))
        answer |= {
            "TrainingStartTime": trained[0].isoformat(),
            "TrainingTimeInSeconds": seconds,
            "BillableTimeInSeconds": seconds,
        }
    return answer
