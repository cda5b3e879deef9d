"""How a job ends, why, and what DescribeTrainingJob answers."""

from datetime import timedelta
from pathlib import Path

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
    harness_fault,
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
            "AlgorithmError: OutOfMemory: the container was killed for want of memory., exit code: 137",
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
    transitions = [Transition("Training", NOW), Transition("Stopping", NOW)]

    answer = describe(a_job().request(), arn="arn:1", transitions=transitions, model_artifacts="file:///m")

    assert (answer["TrainingJobStatus"], answer["SecondaryStatus"]) == ("Stopping", "Stopping")


def test_an_answer_can_be_told_on(tmp_path: Path) -> None:
    started = [Transition("Starting", NOW)]
    went_on = [*started, Transition("Training", NOW + timedelta(seconds=1))]
    told = {"arn": "arn:1", "model_artifacts": (tmp_path / "m").as_uri()}
    answer = describe(a_job().request(), transitions=started, **told)

    again = describe(answer, transitions=[*transitions_of(answer), went_on[-1]], **told)

    assert again == describe(a_job().request(), transitions=went_on, **told)


def test_what_the_harness_could_not_do_is_the_services_fault() -> None:
    outcome = harness_fault("x" * 2000)

    assert (outcome.status, outcome.exit_code, len(outcome.failure_reason or "")) == ("Failed", 1, 1024)
    assert outcome.failure_reason.startswith("InternalServerError: x")
