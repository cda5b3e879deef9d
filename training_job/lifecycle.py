"""The life of a training job: statuses, messages, how it ends and why, and DescribeTrainingJob's answer. Pure.

Statuses and messages: API SecondaryStatusTransition, with the wordings observed in real jobs. FailureReason has the
form the AWS Braket SDK's integration test asserts: `AlgorithmError: <failure file>, exit code: <N>`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from training_job.errors import COMPLETED, FAILED, OVERRAN, STOPPED, Interrupted

if TYPE_CHECKING:
    from training_job.metrics import MetricPoint

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


def harness_fault(why: str) -> Outcome:
    """The end of a job that its harness could not bring to an end: the service's own failures have this prefix."""
    return Outcome("Failed", "Failed", FAILED, f"InternalServerError: {why}"[:_REASON_LIMIT])


def describe(
    request: Mapping[str, Any],
    *,
    arn: str,
    transitions: Sequence[Transition],
    model_artifacts: str,
    outcome: Outcome | None = None,
    end: datetime | None = None,
    metrics: Iterable[MetricPoint] = (),
) -> dict[str, Any]:
    """DescribeTrainingJob's answer, times in ISO 8601, for a job that has ended with `outcome` at `end`, or goes on.

    `request` may also be an earlier answer for the same job. While a job goes on, its current transition has no end.
    """
    now = transitions[-1]
    answer = dict(request) | {
        "TrainingJobArn": arn,
        "ModelArtifacts": {"S3ModelArtifacts": model_artifacts},
        "TrainingJobStatus": outcome.status if outcome else status_in(now.status),
        "SecondaryStatus": outcome.secondary_status if outcome else now.status,
        "CreationTime": transitions[0].start.isoformat(),
        "LastModifiedTime": (end or now.start).isoformat(),
        "SecondaryStatusTransitions": _told(transitions, end),
        "FinalMetricDataList": [
            {"MetricName": point.name, "Value": point.value, "Timestamp": point.timestamp.isoformat()}
            for point in metrics
        ],
    }
    for asked_only in ("Tags", "SessionChainingConfig"):
        answer.pop(asked_only, None)
    if outcome and outcome.failure_reason is not None:
        answer["FailureReason"] = outcome.failure_reason
    return answer | _times(transitions, end)


def status_in(secondary_status: str) -> str:
    """The status of a job that goes on: InProgress, or Stopping."""
    return "Stopping" if secondary_status == "Stopping" else "InProgress"


def transitions_of(answer: Mapping[str, Any]) -> list[Transition]:
    """The transitions that an answer tells."""
    return [
        Transition(step["Status"], datetime.fromisoformat(step["StartTime"]))
        for step in answer["SecondaryStatusTransitions"]
    ]


def _told(transitions: Sequence[Transition], end: datetime | None) -> list[dict[str, str]]:
    told = []
    ends = [*(step.start for step in transitions[1:]), end]
    for step, later in zip(transitions, ends, strict=True):
        until = {"EndTime": later.isoformat()} if later else {}
        told.append(
            {"Status": step.status, "StartTime": step.start.isoformat(), **until, "StatusMessage": step.message}
        )
    return told


def _times(transitions: Sequence[Transition], end: datetime | None) -> dict[str, Any]:
    """When it trained; what that would be billed as, once it has ended."""
    trained = next((step.start for step in transitions if step.status == "Training"), None)
    found: dict[str, Any] = {"TrainingStartTime": trained.isoformat()} if trained else {}
    if end:
        found["TrainingEndTime"] = end.isoformat()
    if trained and end:
        seconds = max(1, round((end - trained).total_seconds()))
        found |= {"TrainingTimeInSeconds": seconds, "BillableTimeInSeconds": seconds}
    return found
