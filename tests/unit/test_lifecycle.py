"""How a job ends, why, and what DescribeTrainingJob answers."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import NOW, a_job
from training_job.lifecycle import (
    Cause,
    Exit,
    Outcome,
    Transition,
    conclude,
    describe,
    failure_reason,
    internal_server_error,
    transitions_of,
)
from training_job.metrics import MetricPoint

WELL = Exit("algo-1", 0, order=0)
CRASHED = Exit("algo-2", 1, order=1)
ENDED_BY_US = Exit("algo-3", 137, order=2)


@pytest.mark.parametrize(
    ("exits", "cause", "outcome"),
    [
        ([WELL], "exited", Outcome("Completed", "Completed", 0)),
        ([WELL], "stop requested", Outcome("Stopped", "Stopped", 4)),
        ([WELL], "interrupted", Outcome("Stopped", "Stopped", 130)),
        ([WELL], "ran past its time", Outcome("Stopped", "MaxRuntimeExceeded", 5)),
        ([WELL], "waited too long", Outcome("Stopped", "MaxWaitTimeExceeded", 5)),
        ([ENDED_BY_US], "stop requested", Outcome("Stopped", "Stopped", 4)),
        ([ENDED_BY_US], "ran past its time", Outcome("Stopped", "MaxRuntimeExceeded", 5)),
        (
            [ENDED_BY_US, WELL, CRASHED],
            "exited",
            Outcome("Failed", "Failed", 1, "AlgorithmError: boom, exit code: 1", "algo-2"),
        ),
    ],
)
def test_a_job_ends_as_its_cause_and_its_first_failure_say(exits: list[Exit], cause: Cause, outcome: Outcome) -> None:
    assert conclude(exits, cause, {"algo-2": "boom", "algo-3": "ended"}) == outcome


@pytest.mark.parametrize(
    ("end", "file", "reason"),
    [
        (Exit("algo-1", 1, 0), "", "AlgorithmError: , exit code: 1"),
        (Exit("algo-1", 139, 0), "", "AlgorithmError: , exit code: 139"),
        (Exit("algo-1", 1, 0), "a\nb", "AlgorithmError: a\nb, exit code: 1"),
        (
            Exit("algo-1", 137, 0, out_of_memory=True),
            "",
            "ClientError: Please use an instance type with more memory, or reduce the size of job data processed on "
            "an instance., exit code: 137",
        ),
        (
            Exit("algo-1", 1, 0, out_of_memory=True),
            "rank 1 is gone",
            "AlgorithmError: OutOfMemory: a process was killed for want of memory. rank 1 is gone, exit code: 1",
        ),
    ],
)
def test_the_reason_is_the_failure_file_and_the_exit_code(end: Exit, file: str, reason: str) -> None:
    assert failure_reason(end, file) == reason


@pytest.mark.parametrize("length", [1024 - len("AlgorithmError: , exit code: 255") + more for more in (0, 1, 5000)])
def test_a_long_reason_is_cut_and_keeps_its_exit_code(length: int) -> None:
    reason = failure_reason(Exit("algo-1", 255, 0), "x" * length)

    assert len(reason) == 1024
    assert reason.endswith("x, exit code: 255")


def test_a_description_is_the_request_and_how_it_went() -> None:
    seconds = [NOW + timedelta(seconds=second) for second in (0, 2, 10, 12)]
    transitions = [
        Transition("Starting", seconds[0]),
        Transition("Training", seconds[1]),
        Transition("Uploading", seconds[2]),
        Transition("Completed", seconds[3]),
    ]

    answer = describe(
        a_job(Tags=[{"Key": "a", "Value": "b"}]).request(),
        arn="arn:1",
        transitions=transitions,
        outcome=Outcome("Completed", "Completed", 0),
        end=seconds[3],
        metrics=[MetricPoint("loss", 0.5, seconds[1], "algo-1")],
        model_artifacts="file:///model.tar.gz",
    )

    assert answer == {
        "TrainingJobName": "job-1",
        "AlgorithmSpecification": {"TrainingImage": "my/image", "TrainingInputMode": "File"},
        "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1},
        "StoppingCondition": {},
        "TrainingJobArn": "arn:1",
        "ModelArtifacts": {"S3ModelArtifacts": "file:///model.tar.gz"},
        "TrainingJobStatus": "Completed",
        "SecondaryStatus": "Completed",
        "CreationTime": "2026-11-21T10:15:30+00:00",
        "TrainingStartTime": "2026-11-21T10:15:32+00:00",
        "TrainingEndTime": "2026-11-21T10:15:42+00:00",
        "LastModifiedTime": "2026-11-21T10:15:42+00:00",
        "TrainingTimeInSeconds": 10,
        "BillableTimeInSeconds": 10,
        "SecondaryStatusTransitions": [
            {
                "Status": "Starting",
                "StartTime": "2026-11-21T10:15:30+00:00",
                "EndTime": "2026-11-21T10:15:32+00:00",
                "StatusMessage": "Preparing the instances for training",
            },
            {
                "Status": "Training",
                "StartTime": "2026-11-21T10:15:32+00:00",
                "EndTime": "2026-11-21T10:15:40+00:00",
                "StatusMessage": "Training image download completed. Training in progress.",
            },
            {
                "Status": "Uploading",
                "StartTime": "2026-11-21T10:15:40+00:00",
                "EndTime": "2026-11-21T10:15:42+00:00",
                "StatusMessage": "Uploading generated training model",
            },
            {
                "Status": "Completed",
                "StartTime": "2026-11-21T10:15:42+00:00",
                "EndTime": "2026-11-21T10:15:42+00:00",
                "StatusMessage": "Training job completed",
            },
        ],
        "FinalMetricDataList": [
            {"MetricName": "loss", "Value": 0.5, "Timestamp": "2026-11-21T10:15:32+00:00"},
        ],
    }


def test_a_job_that_failed_says_why_and_one_that_never_trained_bills_nothing() -> None:
    answer = describe(
        a_job().request(),
        arn="arn:1",
        transitions=[Transition("Starting", NOW), Transition("Failed", NOW)],
        outcome=Outcome("Failed", "Failed", 1, "AlgorithmError: , exit code: 1", "algo-1"),
        end=NOW,
        metrics=[],
        model_artifacts="file:///model.tar.gz",
    )

    assert answer["FailureReason"] == "AlgorithmError: , exit code: 1"
    assert "TrainingStartTime" not in answer
    assert "BillableTimeInSeconds" not in answer


def transitions(*steps: tuple[str, int]) -> list[Transition]:
    return [Transition(status, NOW + timedelta(seconds=second)) for status, second in steps]


SPOT = transitions(
    ("Starting", 0), ("Downloading", 10), ("Training", 20), ("Interrupted", 60), ("Starting", 65), ("Downloading", 100),
    ("Training", 110), ("Uploading", 150), ("Completed", 160),
)  # fmt: skip


@pytest.mark.parametrize(("spot", "billed"), [(False, 110), (True, 33)])
def test_instances_are_billed_while_the_job_has_them_and_spot_instances_are_cheaper(spot: bool, billed: int) -> None:
    answer = answered(SPOT, Outcome("Completed", "Completed", 0), EnableManagedSpotTraining=spot)

    assert answer["TrainingStartTime"] == (NOW + timedelta(seconds=10)).isoformat()
    assert (answer["TrainingTimeInSeconds"], answer["BillableTimeInSeconds"]) == (110, billed)
    assert [step["Status"] for step in answer["SecondaryStatusTransitions"]] == [step.status for step in SPOT]


def test_a_job_that_failed_is_billed_until_it_was_detected() -> None:
    steps = transitions(("Starting", 0), ("Training", 10), ("Uploading", 40), ("Failed", 55))

    answer = answered(steps, Outcome("Failed", "Failed", 1, "AlgorithmError: , exit code: 1", "algo-1"))

    assert answer["TrainingEndTime"] == (NOW + timedelta(seconds=40)).isoformat()
    assert answer["BillableTimeInSeconds"] == 30


def test_a_job_that_waited_for_instances_only_has_trained_nothing() -> None:
    steps = transitions(("Starting", 0), ("Stopping", 60), ("MaxWaitTimeExceeded", 60))

    answer = answered(steps, Outcome("Stopped", "MaxWaitTimeExceeded", 5))

    assert "TrainingTimeInSeconds" not in answer


def test_a_fault_of_the_machine_is_an_internal_server_error_of_at_most_1024_characters() -> None:
    outcome = internal_server_error("x" * 2000, 3)

    assert (outcome.status, outcome.exit_code) == ("Failed", 3)
    assert outcome.failure_reason
    assert outcome.failure_reason.startswith("InternalServerError: x")
    assert len(outcome.failure_reason) == 1024


@pytest.mark.parametrize("file", ["\x00\x01\x1b[31m\ufffd" * 1000, "x" * (2 << 20)])
def test_a_failure_file_of_any_content_keeps_the_exit_code(file: str) -> None:
    reason = failure_reason(Exit("algo-1", 42, 0), file)

    assert len(reason) == 1024
    assert reason.endswith(", exit code: 42")


def answered(steps: list[Transition], outcome: Outcome, **changes: Any) -> dict[str, Any]:
    return describe(
        a_job(**changes).request(),
        arn="arn:1",
        transitions=steps,
        outcome=outcome,
        end=steps[-1].start,
        metrics=[],
        model_artifacts="file:///model.tar.gz",
    )


def test_a_job_that_goes_on_has_no_end_yet() -> None:
    later = NOW + timedelta(seconds=2)

    answer = describe(
        a_job().request(),
        arn="arn:1",
        transitions=[Transition("Starting", NOW), Transition("Training", later)],
        model_artifacts="file:///model.tar.gz",
    )

    assert (answer["TrainingJobStatus"], answer["SecondaryStatus"]) == ("InProgress", "Training")
    assert (answer["CreationTime"], answer["TrainingStartTime"], answer["LastModifiedTime"]) == (
        NOW.isoformat(),
        later.isoformat(),
        later.isoformat(),
    )
    assert ["EndTime" in step for step in answer["SecondaryStatusTransitions"]] == [True, False]
    assert not answer.keys() & {"TrainingEndTime", "TrainingTimeInSeconds", "BillableTimeInSeconds", "FailureReason"}


def test_a_job_that_is_being_stopped_says_so() -> None:
    stopping = [Transition("Training", NOW), Transition("Stopping", NOW)]

    answer = describe(a_job().request(), arn="arn:1", transitions=stopping, model_artifacts="file:///m")

    assert (answer["TrainingJobStatus"], answer["SecondaryStatus"]) == ("Stopping", "Stopping")


def test_an_answer_can_be_told_on(tmp_path: Path) -> None:
    started = [Transition("Starting", NOW)]
    went_on = [*started, Transition("Training", NOW + timedelta(seconds=1))]
    told = {"arn": "arn:1", "model_artifacts": (tmp_path / "m").as_uri()}
    answer = describe(a_job().request(), transitions=started, **told)

    again = describe(answer, transitions=[*transitions_of(answer), went_on[-1]], **told)

    assert again == describe(a_job().request(), transitions=went_on, **told)
