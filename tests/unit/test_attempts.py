"""A job that is started more than once, or stopped before or after its hosts run."""

import json
import tarfile
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from time import monotonic
from typing import Any

import pytest

from local_mode import attempt, runner
from local_mode.attempt import Events
from local_mode.course import Course
from local_mode.limits import Limits
from local_mode.records import RunRecord
from local_mode.runner import RunResult, run_plan
from local_mode.supervision import StopAsked
from tests.fakes import FakeEngine, FakeHost, Notes, Script, a_job, a_plan
from training_job.errors import EngineFailed, ImageCannotTrain
from training_job.metrics import Metrics
from training_job.model import TrainingJob

Run = Callable[..., RunResult]
AT_ONCE = Limits(max_run=60, interruptions=(0.001,))
UNTIL_SIGTERM = Script(ends_on=("SIGTERM",))
GONE = EngineFailed("the engine no longer answers")
ONCE_MORE = Limits(max_run=60, retries=1)
STOP = StopAsked("stop requested")


@pytest.fixture
def events() -> Events:
    return SimpleQueue()


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def run(tmp_path: Path, notes: Notes, events: Events) -> Run:
    def run(engine: FakeEngine, limits: Limits, job: TrainingJob | None = None) -> RunResult:
        return run_plan(replace(a_plan(tmp_path, job), limits=limits), engine, notes, events)

    return run


def scripts(*attempts: Script | dict[str, Script]) -> FakeEngine:
    """An engine whose hosts do in each attempt what is said for it."""
    started: dict[str, int] = {}

    def script(host: Any) -> Script:
        number = started[host.host] = started.get(host.host, -1) + 1
        chosen = attempts[number]
        return chosen if isinstance(chosen, Script) else chosen[host.host]

    return FakeEngine(script)


def described(tmp_path: Path) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads((tmp_path / "runs/job-1/describe.json").read_text())
    return answer


def statuses(tmp_path: Path) -> list[str]:
    return [step["Status"] for step in described(tmp_path)["SecondaryStatusTransitions"]]


def test_an_interrupted_job_starts_anew_with_other_containers(tmp_path: Path, run: Run) -> None:
    engine = scripts(UNTIL_SIGTERM, Script())

    result = run(engine, AT_ONCE)

    assert engine.events == [
        "+network", "+algo-1", "put algo-1", "start algo-1", "SIGTERM algo-1", "-algo-1", "-network", "remove job-1",
        "+network", "+algo-1", "put algo-1", "start algo-1", "-algo-1", "-network", "remove job-1",
    ]  # fmt: skip
    assert statuses(tmp_path) == [
        "Starting", "Training", "Interrupted", "Starting", "Training", "Uploading", "Completed",
    ]  # fmt: skip
    assert (result.outcome.status, result.outcome.exit_code) == ("Completed", 0)


def test_what_an_interrupted_attempt_left_is_gone(run: Run) -> None:
    first = replace(UNTIL_SIGTERM, files={"/opt/ml/model/old": b"1", "/opt/ml/output/failure": b"interrupted"})

    result = run(scripts(first, Script(files={"/opt/ml/model/new": b"2"})), AT_ONCE)

    assert result.artifacts
    with tarfile.open(result.artifacts.model) as archive:
        assert archive.getnames() == ["new"]
    assert result.artifacts.failures == {}


def test_the_logs_of_all_attempts_are_one_with_a_mark_between_them(tmp_path: Path, run: Run) -> None:
    first = replace(UNTIL_SIGTERM, lines=[b"one"])

    run(scripts(first, Script([b"two\n"])), AT_ONCE)

    log = (tmp_path / "runs/job-1/logs/algo-1.log").read_text()
    assert log == "one\n--- homeport: the job starts anew ---\ntwo\n"


def test_every_interruption_comes_once_and_in_its_order(run: Run, notes: Notes) -> None:
    engine = scripts(UNTIL_SIGTERM, UNTIL_SIGTERM, Script())

    result = run(engine, replace(AT_ONCE, interruptions=(0.001, 0.002, 60.0)))

    assert notes.statuses.count("Interrupted") == len(result.interruptions) == 2
    assert result.interruptions[1].trained >= 0.002


def test_a_job_that_fails_is_not_started_anew(run: Run, notes: Notes) -> None:
    result = run(scripts(Script(code=3)), Limits(max_run=60, interruptions=(60.0,), retries=5))

    assert notes.statuses == ["Starting", "Training", "Uploading", "Failed"]
    assert result.outcome.failure_reason == "AlgorithmError: , exit code: 3"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "all of it is lost, since the job has no CheckpointConfig"),
        ({"CheckpointConfig": {"S3Uri": "s3://my-bucket/ck"}}, "no checkpoint had reached s3://my-bucket/ck yet"),
    ],
)
def test_what_no_checkpoint_holds_is_told_to_be_lost(
    tmp_path: Path, run: Run, notes: Notes, changes: dict[str, Any], told: str
) -> None:
    (tmp_path / "data/s3/my-bucket").mkdir(parents=True)
    first = replace(UNTIL_SIGTERM, files={"/opt/ml/checkpoints/epoch": b"1"})

    result = run(scripts(first, Script()), AT_ONCE, a_job(**changes))

    assert [text for text in notes.said if told in text]
    assert [interruption.seconds_lost for interruption in result.interruptions] == [result.interruptions[0].trained]


def test_what_was_not_synced_before_an_interruption_is_lost(tmp_path: Path, run: Run) -> None:
    bucket = tmp_path / "data/s3/my-bucket"
    bucket.mkdir(parents=True)
    first = replace(UNTIL_SIGTERM, files={"/opt/ml/checkpoints/epoch": b"1"})

    run(scripts(first, Script()), AT_ONCE, a_job(CheckpointConfig={"S3Uri": "s3://my-bucket/ck"}))

    assert [path for path in bucket.rglob("*") if path.is_file()] == []


def test_a_restart_finds_what_the_job_has_kept_where_its_bucket_is_not_known(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[bytes | None] = []

    def start(host: FakeHost) -> None:
        found.append(host.files.get("/opt/ml/checkpoints/epoch"))
        if len(found) == 1:
            # The sync has come so far.
            (tmp_path / "runs/job-1/checkpoints/epoch").write_bytes(b"7")
        start_of(host)

    start_of = FakeHost.start
    monkeypatch.setattr(FakeHost, "start", start)

    run(scripts(UNTIL_SIGTERM, Script()), AT_ONCE, a_job(CheckpointConfig={"S3Uri": "s3://nowhere/ck"}))

    assert found == [None, b"7"]


def test_a_stop_while_the_hosts_are_taken_away_leaves_a_stopped_job(
    tmp_path: Path, run: Run, notes: Notes, events: Events
) -> None:
    notes.on_signal = lambda signal: events.put(STOP) if signal.name == "SIGTERM" else None

    result = run(scripts(Script(ends_on=("SIGKILL",), files={"/opt/ml/model/w": b"1"})), AT_ONCE)

    assert statuses(tmp_path) == ["Starting", "Training", "Interrupted", "Stopping", "Stopped"]
    assert (result.outcome.exit_code, result.artifacts) == (4, None)


@pytest.mark.parametrize(("max_wait", "ends"), [(0, ("MaxWaitTimeExceeded", 5)), (60, ("Stopped", 4))])
def test_a_job_that_is_ended_while_it_is_starting_has_left_nothing(
    tmp_path: Path, run: Run, notes: Notes, events: Events, *, max_wait: float, ends: tuple[str, int]
) -> None:
    notes.on_status = lambda _: events.put(STOP) if max_wait else None
    engine = FakeEngine()

    result = run(engine, Limits(max_run=60, max_wait=max_wait))

    assert engine.events == ["remove job-1"]
    assert statuses(tmp_path) == ["Starting", "Stopping", ends[0]]
    assert (result.outcome.exit_code, result.artifacts) == (ends[1], None)
    assert not {"TrainingStartTime", "BillableTimeInSeconds"} & described(tmp_path).keys()


def test_a_job_that_waits_and_runs_too_long_is_stopped_and_its_work_is_kept(
    tmp_path: Path, run: Run, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = [0.0]
    monkeypatch.setattr(attempt, "monotonic", lambda: monotonic() + passed[0])
    notes.on_status = lambda status: passed.__setitem__(0, 50.0 if status == "Training" else passed[0])
    script = replace(UNTIL_SIGTERM, files={"/opt/ml/model/w": b"1"})

    result = run(FakeEngine({"algo-1": script}), Limits(max_run=60, max_wait=40))

    assert statuses(tmp_path) == ["Starting", "Training", "Stopping", "MaxWaitTimeExceeded"]
    assert result.outcome.exit_code == 5
    assert result.artifacts
    assert result.artifacts.model_files == 1


@pytest.mark.parametrize(
    ("code", "ends"), [(0, (["Uploading", "Stopping", "Stopped"], 4)), (1, (["Uploading", "Failed"], 1))]
)
def test_a_stop_while_uploading_stops_what_has_not_failed_and_keeps_its_work(
    run: Run, notes: Notes, events: Events, code: int, ends: tuple[list[str], int]
) -> None:
    notes.on_status = lambda status: events.put(STOP) if status == "Uploading" else None

    result = run(FakeEngine({"algo-1": Script(code=code, files={"/opt/ml/model/w": b"1"})}), Limits(max_run=60))

    assert (notes.statuses[2:], result.outcome.exit_code) == ends
    assert result.artifacts
    assert result.artifacts.model_files == 1


def test_a_fault_of_the_engine_starts_the_job_anew(tmp_path: Path, run: Run) -> None:
    engine = scripts(Script(loses_its_log=GONE), Script())

    result = run(engine, ONCE_MORE)

    assert statuses(tmp_path) == ["Starting", "Training", "Starting", "Training", "Uploading", "Completed"]
    assert result.outcome.exit_code == 0
    assert engine.left == []


@pytest.mark.parametrize("compression", ["GZIP", "NONE"])
def test_a_fault_between_the_model_and_the_rest_leaves_nothing_in_the_way(
    run: Run, monkeypatch: pytest.MonkeyPatch, compression: str
) -> None:
    faults = [GONE]
    fetch = FakeHost.fetch

    def fetch_or_fail(host: FakeHost, path: str) -> Any:
        if path == "/opt/ml/output" and faults:
            raise faults.pop()
        return fetch(host, path)

    monkeypatch.setattr(FakeHost, "fetch", fetch_or_fail)
    first, second = (Script(files={f"/opt/ml/model/{name}": b"w"}) for name in ("first", "second"))
    output = {"S3OutputPath": "s3://nowhere", "CompressionType": compression}

    result = run(scripts(first, second), ONCE_MORE, a_job(OutputDataConfig=output))

    assert result.artifacts
    assert result.artifacts.model_files == 1
    if compression == "NONE":
        assert [path.name for path in result.artifacts.model.iterdir()] == ["second"]


def test_a_fault_that_stays_is_an_internal_server_error(tmp_path: Path, run: Run) -> None:
    engine = scripts(Script(loses_its_log=GONE), Script(loses_its_log=GONE))

    with pytest.raises(EngineFailed, match="no longer answers"):
        run(engine, ONCE_MORE)

    assert described(tmp_path)["TrainingJobStatus"] == "Failed"
    assert described(tmp_path)["FailureReason"] == "InternalServerError: the engine no longer answers"
    assert engine.left == []


def test_no_fault_is_tried_again_unless_the_job_says_so(tmp_path: Path, run: Run) -> None:
    with pytest.raises(EngineFailed):
        run(scripts(Script(loses_its_log=GONE)), Limits(max_run=60))

    assert statuses(tmp_path) == ["Starting", "Training", "Failed"]


def test_an_image_that_cannot_train_is_not_tried_again(tmp_path: Path, run: Run) -> None:
    with pytest.raises(ImageCannotTrain):
        run(scripts(Script(refuses_to_start=ImageCannotTrain("i", "no train"))), ONCE_MORE)

    assert list(tmp_path.iterdir()) == []


def test_an_engine_that_is_started_again_is_waited_for(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_ASKED_EVERY", 0)
    engine = scripts(Script(loses_its_log=GONE), Script())
    answers, silent = engine.owners, [False, True, True]

    def owners() -> dict[str, str]:
        if silent and silent.pop(0):
            raise GONE
        return answers()

    monkeypatch.setattr(engine, "owners", owners)

    assert run(engine, ONCE_MORE).outcome.status == "Completed"
    assert silent == []


def test_an_engine_that_does_not_come_back_is_given_up(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_ASKED_EVERY", 0)
    monkeypatch.setattr(runner, "_ENGINE_RETURNS_WITHIN", 0)
    engine = scripts(Script(loses_its_log=GONE))
    answers = iter([{}])

    def owners() -> dict[str, str]:
        for answer in answers:
            return answer
        raise GONE

    monkeypatch.setattr(engine, "owners", owners)

    with pytest.raises(EngineFailed):
        run(engine, ONCE_MORE)


def test_a_host_of_an_attempt_that_is_over_is_not_heard(run: Run, notes: Notes) -> None:
    again = threading.Event()
    engine = scripts(
        {"algo-1": Script(loses_its_log=GONE), "algo-2": Script([b"late\n"], waits_for=again)},
        {"algo-1": Script([b"one\n"], tells=again), "algo-2": Script([b"two\n"], waits_for=again)},
    )

    result = run(engine, ONCE_MORE, a_job(hosts=2))

    assert sorted(notes.lines) == [("algo-1", b"one\n"), ("algo-2", b"two\n")]
    assert result.outcome.status == "Completed"


def test_an_engine_that_goes_away_after_the_job_has_ended_fails_nothing(
    run: Run, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = FakeEngine()

    def remove(_: object) -> None:
        raise GONE

    monkeypatch.setattr(engine, "remove", remove)

    assert run(engine, ONCE_MORE).outcome.status == "Completed"
    assert [text for text in notes.said if "the next run will try again" in text]


def test_the_time_to_run_is_that_of_all_attempts_and_the_time_to_wait_that_of_the_job(tmp_path: Path) -> None:
    limits = Limits(max_run=60, max_wait=100, interruptions=(30.0, 20.0))
    plan = replace(a_plan(tmp_path), limits=limits)
    course = Course(plan, RunRecord(plan), Notes(), began=1000, metrics=Metrics(()), trained=25)

    assert course.deadlines(started=1040) == {
        "ran past its time": 1075,
        "waited too long": 1100,
        "spot interruption": 1070,
    }
