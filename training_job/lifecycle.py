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
    ended = _training_end(transitions, outcome, end)
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
    return answer | _times(transitions, ended, spot=bool(request.get("EnableManagedSpotTraining")))


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


def _training_end(transitions: Sequence[Transition], outcome: Outcome | None, end: datetime | None) -> datetime | None:
    """After the upload; of a failed job, when it was detected that it had failed (API DescribeTrainingJob)."""
    uploading = [step.start for step in transitions if step.status == "Uploading"]
    return uploading[-1] if outcome and outcome.status == "Failed" and uploading else end


def _times(transitions: Sequence[Transition], ended: datetime | None, *, spot: bool) -> dict[str, Any]:
    """When it trained; what that would be billed as, once it has ended."""
    held = _held(transitions, ended or transitions[-1].start)
    found: dict[str, Any] = {"TrainingStartTime": held[0][0].isoformat()} if held else {}
    if ended:
        found["TrainingEndTime"] = ended.isoformat()
    if held and ended:
        seconds = sum((until - since).total_seconds() for since, until in held)
        found["TrainingTimeInSeconds"] = max(1, round(seconds))
        found["BillableTimeInSeconds"] = max(1, round(seconds * (SPOT_SHARE if spot else 1)))
    return found


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
