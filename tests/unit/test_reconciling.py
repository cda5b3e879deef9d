"""What becomes of jobs whose harness was killed."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from local_mode.job_record import JobRecord
from local_mode.job_store import JobStore
from local_mode.reconciling import reconcile, remove_owned
from local_mode.records import run_record
from tests.fakes import NOW, FakeEngine, a_plan
from tests.stored import COMPLETED, a_record, of_another_computer
from training_job.lifecycle import Outcome


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    return JobStore(tmp_path / "state")


def killed(store: JobStore, runs: Path, **what: object) -> JobRecord:
    """A job that the store calls running, its lock free."""
    job = a_record(runs, **what)
    job.directory.mkdir(parents=True)
    job.lock.touch()
    store.begin(job)
    return job


def nothing(_: object) -> None:
    pass


def test_a_job_whose_harness_was_killed_is_told_as_failed_with_what_was_last_known(
    store: JobStore, tmp_path: Path
) -> None:
    job = killed(store, tmp_path)

    assert [found.name for found in reconcile(store, nothing)] == ["job-1"]

    found = store.find("job-1")
    assert (found.status, found.secondary_status, found.exit_code) == ("Failed", "Failed", 1)
    assert found.failure_reason == (
        "InternalServerError: the process that ran this job was killed while it was Training; "
        "the last that is known of it is of 2026-11-21T10:15:31+00:00"
    )
    assert found.ended == NOW + timedelta(seconds=1)
    assert [step.status for step in found.transitions] == ["Starting", "Training", "Failed"]
    assert json.loads((job.directory / "describe.json").read_text()) == found.answer
    assert not job.lock.exists()


def test_the_last_line_of_a_log_is_the_last_that_is_known(store: JobStore, tmp_path: Path) -> None:
    job = killed(store, tmp_path)
    job.logs.mkdir()
    log = job.logs / "algo-1.log"
    log.write_text("line\n")
    last = NOW + timedelta(minutes=5)
    os.utime(log, (last.timestamp(), last.timestamp()))

    reconcile(store, nothing)

    assert store.find("job-1").ended == min(last, datetime.now(UTC))


def test_metrics_that_were_written_down_are_kept_and_half_a_line_is_not(store: JobStore, tmp_path: Path) -> None:
    job = killed(store, tmp_path)
    points = [
        {"MetricName": "loss", "Value": value, "Timestamp": NOW.isoformat(), "Host": "algo-1"} for value in (2.0, 1.0)
    ]
    (job.directory / "metrics.jsonl").write_text("".join(f"{json.dumps(point)}\n" for point in points) + '{"Metr')

    reconcile(store, nothing)

    assert store.find("job-1").answer["FinalMetricDataList"] == [
        {"MetricName": "loss", "Value": 1.0, "Timestamp": NOW.isoformat()}
    ]


def test_an_end_that_was_written_down_is_the_truth(store: JobStore, tmp_path: Path) -> None:
    job = killed(store, tmp_path)
    overran = Outcome("Stopped", "MaxRuntimeExceeded", 5)
    (job.directory / "describe.json").write_text(json.dumps(dict(a_record(tmp_path, outcome=overran).answer)))

    reconcile(store, nothing)

    found = store.find("job-1")
    assert (found.status, found.secondary_status, found.exit_code) == ("Stopped", "MaxRuntimeExceeded", 5)


@pytest.mark.parametrize("content", ["{", "[]", '{"TrainingJobName": "another", "TrainingEndTime": "x"}'])
def test_what_is_no_end_of_this_job_is_not_believed(store: JobStore, tmp_path: Path, content: str) -> None:
    job = killed(store, tmp_path)
    (job.directory / "describe.json").write_text(content)

    reconcile(store, nothing)

    assert store.find("job-1").status == "Failed"


def test_its_gpus_are_free_and_what_it_left_is_removed_first(store: JobStore, tmp_path: Path) -> None:
    job = killed(store, tmp_path, gpus=("0", "1"))
    held = []

    reconcile(store, lambda jobs: held.append((list(jobs), store.held_gpus())))

    assert held == [([job], {"0": "job-1", "1": "job-1"})]
    assert store.held_gpus() == {}


def test_a_folder_that_is_gone_is_no_hindrance_and_is_not_made_again(store: JobStore, tmp_path: Path) -> None:
    job = killed(store, tmp_path)
    job.lock.unlink()
    job.directory.rmdir()

    reconcile(store, nothing)

    assert store.find("job-1").status == "Failed"
    assert not job.directory.exists()


def test_a_job_whose_harness_lives_is_left_alone(tmp_path: Path) -> None:
    plan = a_plan(tmp_path)
    store = JobStore(plan.place.state)

    with run_record(plan):
        assert reconcile(store, nothing) == []
        assert store.find("job-1").running


@pytest.mark.parametrize("change", [of_another_computer, lambda job: replace(job, owner="")])
def test_a_job_of_another_computer_is_left_alone(
    store: JobStore, tmp_path: Path, change: Callable[[JobRecord], JobRecord]
) -> None:
    job = change(a_record(tmp_path))
    store.begin(job)

    assert reconcile(store, nothing) == []
    assert store.find("job-1") == job


def test_a_job_that_ended_between_the_two_looks_stays_as_it_ended(
    store: JobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = killed(store, tmp_path)
    ended = a_record(tmp_path, outcome=COMPLETED)

    def ends_now(_: str) -> bool:
        store.tell(ended)
        return True

    monkeypatch.setattr("local_mode.reconciling.is_dead", ends_now)

    assert reconcile(store, lambda _: pytest.fail("removed")) == []
    assert store.find("job-1") == ended
    assert not (job.directory / "describe.json").exists()


def test_a_job_that_another_command_told_about_meanwhile_is_told_once(store: JobStore, tmp_path: Path) -> None:
    killed(store, tmp_path)
    told: list[JobRecord] = []

    assert reconcile(store, lambda _: told.extend(reconcile(store, nothing))) == []
    assert [job.name for job in told] == ["job-1"]


def test_a_new_job_under_the_name_of_a_killed_one_is_left_alone(store: JobStore, tmp_path: Path) -> None:
    job = killed(store, tmp_path)

    def named_again(_: object) -> None:
        store.forget("job-1")
        store.begin(replace(a_record(tmp_path), process="1:2"))

    assert reconcile(store, named_again) == []
    assert store.find("job-1").running
    assert [path.name for path in job.directory.iterdir()] == [".lock"]


def test_only_what_the_killed_job_owned_is_removed(tmp_path: Path) -> None:
    mine, other = a_record(tmp_path, "mine"), a_record(tmp_path, "other")
    engine = FakeEngine(owned={"mine": mine.owner, "other": "elsewhere:/x/.lock"})

    assert remove_owned(engine, [mine, other]) == ["mine"]
    assert engine.left == ["other"]
