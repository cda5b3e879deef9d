"""A plan is carried out on an engine without containers: what is asked of it, in which order, and what is left."""

import json
import socket
import tarfile
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from local_mode.attempt import Events
from local_mode.engine import Image
from local_mode.job_store import JobStore
from local_mode.limits import Limits
from local_mode.runner import RunResult, run_plan
from local_mode.supervision import StopAsked
from tests.fakes import FakeEngine, Notes, Script, a_job, a_place, a_plan, an_fsx_channel
from training_job.errors import ImageCannotTrain, ImageNotFound, Interrupted, JobRefused, MachineCannot
from training_job.metrics import MetricPoint, Metrics
from training_job.model import TrainingJob

Run = Callable[..., RunResult]
LOSS = {
    "TrainingImage": "i",
    "TrainingInputMode": "File",
    "MetricDefinitions": [{"Name": "loss", "Regex": r"loss: (\S+)"}, {"Name": "never", "Regex": "(x)"}],
}


@pytest.fixture
def events() -> Events:
    return SimpleQueue()


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def run(tmp_path: Path, notes: Notes, events: Events) -> Run:
    def run(engine: FakeEngine, job: TrainingJob | None = None, **options: Any) -> RunResult:
        return run_plan(a_plan(tmp_path, job, **options), engine, notes, events)

    return run


def folder(tmp_path: Path) -> Path:
    return tmp_path / "runs/job-1"


def test_a_job_of_one_host_goes_its_way(run: Run, notes: Notes) -> None:
    engine = FakeEngine()

    result = run(engine)

    assert engine.events == [
        "+network", "+algo-1", "put algo-1", "start algo-1", "-algo-1", "-network", "remove job-1",
    ]  # fmt: skip
    assert engine.left == []
    assert notes.begun
    assert notes.statuses == ["Starting", "Training", "Uploading", "Completed"]
    assert (result.outcome.status, result.outcome.exit_code) == ("Completed", 0)


def test_the_plan_that_is_kept_says_which_image_its_name_meant(run: Run, tmp_path: Path) -> None:
    run(FakeEngine())

    assert json.loads((folder(tmp_path) / "plan.json").read_text())["image_id"] == f"sha256:{'0' * 64}"


def test_every_host_is_filled_before_it_is_started(run: Run) -> None:
    engine = FakeEngine()

    run(engine, a_job(hosts=8))

    for number in range(1, 9):
        put, start = engine.events.index(f"put algo-{number}"), engine.events.index(f"start algo-{number}")
        assert engine.events.index("+network") < put < start


def test_a_host_that_cannot_be_made_undoes_all_that_was(run: Run, tmp_path: Path) -> None:
    engine = FakeEngine({"algo-2": Script(refuses_to_be_made=MachineCannot("no room for algo-2"))})

    with pytest.raises(MachineCannot, match="no room for algo-2"):
        run(engine, a_job(hosts=2))

    assert engine.events[:3] == ["+network", "+algo-1", "put algo-1"]
    assert engine.events[-3:] == ["-algo-1", "-network", "remove job-1"]
    assert "start algo-2" not in engine.events
    assert engine.left == []
    assert list(tmp_path.iterdir()) == []


def test_a_host_that_refuses_to_start_undoes_all_that_was(run: Run, tmp_path: Path) -> None:
    engine = FakeEngine({"algo-2": Script(refuses_to_start=ImageCannotTrain("i", "no train"))})

    with pytest.raises(ImageCannotTrain, match="the container cannot start: no train"):
        run(engine, a_job(hosts=2))

    assert "start algo-1" in engine.events
    assert sorted(engine.events[-4:-2]) == ["-algo-1", "-algo-2"]
    assert engine.events[-2:] == ["-network", "remove job-1"]
    assert engine.left == []
    assert list(tmp_path.iterdir()) == []


def test_the_first_failing_host_ends_the_others_and_is_named(run: Run, notes: Notes) -> None:
    engine = FakeEngine(
        {
            "algo-1": Script(ends_on=("SIGTERM",)),
            "algo-2": Script(code=3, files={"/opt/ml/output/failure": b"boom"}),
            "algo-3": Script(ends_on=("SIGTERM",)),
        }
    )

    result = run(engine, a_job(hosts=3))

    assert result.outcome.failed_host == "algo-2"
    assert result.outcome.failure_reason == "AlgorithmError: boom, exit code: 3"
    assert result.outcome.exit_code == 1
    assert [(signal.name, signal.hosts) for signal in notes.signals] == [("SIGTERM", ("algo-1", "algo-3"))]
    assert notes.statuses == ["Starting", "Training", "Uploading", "Failed"]
    assert engine.left == []


def test_a_host_that_ignores_sigterm_is_killed_when_another_has_failed(
    run: Run, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("local_mode.supervision.PEER_GRACE_SECONDS", 0)
    engine = FakeEngine({"algo-1": Script(ends_on=("SIGKILL",)), "algo-2": Script(code=1)})

    result = run(engine, a_job(hosts=2))

    assert [signal.name for signal in notes.signals] == ["SIGTERM", "SIGKILL"]
    assert result.outcome.failed_host == "algo-2"


def test_a_host_that_ends_well_stops_nobody(run: Run, notes: Notes) -> None:
    first_has_ended = threading.Event()
    engine = FakeEngine(
        {
            "algo-1": Script(tells=first_has_ended),
            "algo-2": Script([b"late\n"], waits_for=first_has_ended),
        }
    )

    result = run(engine, a_job(hosts=2))

    assert notes.lines == [("algo-2", b"late\n")]
    assert notes.signals == []
    assert result.outcome.status == "Completed"


@pytest.mark.parametrize(("cause", "exit_code"), [("interrupted", 130), ("stop requested", 4)])
def test_a_stop_ends_every_host_and_keeps_what_they_left(
    run: Run, notes: Notes, events: Events, cause: Any, exit_code: int
) -> None:
    script = Script([b"one\n"], ends_on=("SIGTERM",), files={"/opt/ml/model/weights": b"half"})
    engine = FakeEngine({"algo-1": script, "algo-2": script})
    notes._on_line = lambda host, _: events.put(StopAsked(cause)) if host == "algo-1" else None

    result = run(engine, a_job(hosts=2))

    assert (result.outcome.status, result.outcome.exit_code) == ("Stopped", exit_code)
    assert notes.statuses == ["Starting", "Training", "Stopping", "Stopped"]
    assert sorted(event for event in engine.events if event.startswith("SIG")) == ["SIGTERM algo-1", "SIGTERM algo-2"]
    assert engine.left == []
    with tarfile.open(result.artifacts.model) as archive:
        assert archive.getnames() == ["weights"]


def test_a_second_ctrl_c_kills(run: Run, notes: Notes, events: Events) -> None:
    engine = FakeEngine({"algo-1": Script([b"one\n"], ends_on=("SIGKILL",))})
    notes._on_line = lambda *_: [events.put(StopAsked("interrupted")) for _ in range(2)] and None

    result = run(engine)

    assert [signal.name for signal in notes.signals] == ["SIGTERM", "SIGKILL"]
    assert result.outcome.exit_code == 130


def test_a_job_that_runs_past_its_time_is_stopped(tmp_path: Path, notes: Notes, events: Events) -> None:
    engine = FakeEngine({"algo-1": Script(ends_on=("SIGTERM",))})
    plan = replace(a_plan(tmp_path), limits=Limits(max_run=0))

    result = run_plan(plan, engine, notes, events)

    assert result.outcome.secondary_status == "MaxRuntimeExceeded"
    assert result.outcome.exit_code == 5
    assert [signal.name for signal in notes.signals] == ["SIGTERM"]
    assert notes.statuses == ["Starting", "Training", "Stopping", "MaxRuntimeExceeded"]


def test_a_stop_before_the_start_starts_nothing(tmp_path: Path, run: Run, events: Events) -> None:
    events.put(StopAsked("interrupted"))
    engine = FakeEngine()

    with pytest.raises(Interrupted):
        run(engine, a_job(hosts=2))

    assert not [event for event in engine.events if event.startswith("start")]
    assert engine.left == []
    assert list(tmp_path.iterdir()) == []


def test_a_stop_breaks_off_the_pull_of_an_image(tmp_path: Path, notes: Notes, events: Events) -> None:
    over = threading.Event()

    class Pulling(FakeEngine):
        def image(self, reference: str) -> Image:
            events.put(StopAsked("interrupted"))
            over.wait(60)
            return super().image(reference)

    engine = Pulling()

    with pytest.raises(Interrupted):
        run_plan(a_plan(tmp_path), engine, notes, events)
    over.set()

    assert (engine.events, notes.begun) == ([], False)
    assert not (tmp_path / "runs").exists()


def test_every_line_of_every_host_arrives_whole_and_in_order(tmp_path: Path, run: Run, notes: Notes) -> None:
    said = {
        f"algo-{number}": [b"%d: line %d\n" % (number, line) for line in range(5000)] + [b"no end"]
        for number in (1, 2, 3)
    }
    engine = FakeEngine({host: Script(lines) for host, lines in said.items()})

    run(engine, a_job(hosts=3))

    assert {host: [line for of, line in notes.lines if of == host] for host in said} == said
    assert {host: (folder(tmp_path) / f"logs/{host}.log").read_bytes() for host in said} == {
        host: b"".join(lines) for host, lines in said.items()
    }


def test_metrics_are_read_from_every_host(tmp_path: Path, run: Run) -> None:
    engine = FakeEngine({"algo-1": Script([b"loss: 2\n", b"loss: nan\n"]), "algo-2": Script([b"\xff loss: 1\n"])})

    result = run(engine, a_job(hosts=2, AlgorithmSpecification=LOSS))

    kept = [json.loads(line) for line in (folder(tmp_path) / "metrics.jsonl").read_text().splitlines()]
    assert sorted((point["Host"], point["Value"]) for point in kept) == [("algo-1", 2.0), ("algo-2", 1.0)]
    assert result.metrics.silent == ("never",)
    (final,) = result.description["FinalMetricDataList"]
    assert (final["MetricName"], final["Value"]) == ("loss", kept[-1]["Value"])


def test_patterns_that_take_long_hold_up_no_stop(
    run: Run, notes: Notes, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopping = threading.Event()
    held_up: list[bool] = []

    def takes_long(*_: object) -> list[MetricPoint]:
        events.put(StopAsked("stop requested"))
        held_up.append(not stopping.wait(5))
        return []

    notes.on_status = lambda status: stopping.set() if status == "Stopping" else None
    monkeypatch.setattr(Metrics, "read", takes_long)

    run(FakeEngine({"algo-1": Script([b"loss: 1\n"], ends_on=("SIGTERM",))}))

    assert held_up == [False]


def test_models_of_all_hosts_are_merged_and_collisions_told(tmp_path: Path, run: Run) -> None:
    engine = FakeEngine(
        {
            "algo-1": Script(files={"/opt/ml/model/weights": b"1", "/opt/ml/output/data/a": b"1"}),
            "algo-2": Script(files={"/opt/ml/model/weights": b"2", "/opt/ml/model/other": b"2"}),
        }
    )

    result = run(engine, a_job(hosts=2))

    with tarfile.open(folder(tmp_path) / "output/model.tar.gz") as archive:
        assert sorted(archive.getnames()) == ["other", "weights"]
        assert archive.extractfile("weights").read() == b"1"
    assert [(collision.path, collision.hosts) for collision in result.artifacts.collisions] == [
        ("weights", ("algo-1", "algo-2"))
    ]
    assert (result.artifacts.model_files, result.artifacts.output_files) == (2, 1)


def test_how_it_went_is_described(tmp_path: Path, run: Run) -> None:
    run(FakeEngine(), a_job(Tags=[{"Key": "a", "Value": "b"}]))

    answer = json.loads((folder(tmp_path) / "describe.json").read_text())
    assert answer["TrainingJobStatus"] == answer["SecondaryStatus"] == "Completed"
    assert [step["Status"] for step in answer["SecondaryStatusTransitions"]] == [
        "Starting", "Training", "Uploading", "Completed",
    ]  # fmt: skip
    assert answer["ModelArtifacts"]["S3ModelArtifacts"] == (folder(tmp_path) / "output/model.tar.gz").as_uri()


def test_hosts_find_their_own_files(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeEngine()
    seen: dict[str, dict[str, Any]] = {}
    monkeypatch.setattr(
        "tests.fakes.FakeHost.start",
        lambda host: (
            seen.update({host.name: json.loads(host.files["/opt/ml/input/config/resourceconfig.json"])}),
            host._end(0),
        ),
    )

    run(engine, a_job(hosts=2))

    assert {host: config["current_host"] for host, config in seen.items()} == {"algo-1": "algo-1", "algo-2": "algo-2"}


def test_the_store_hears_each_status_as_it_comes(tmp_path: Path, run: Run, notes: Notes) -> None:
    store = JobStore(a_place(tmp_path).state)
    heard: list[str] = []
    status = notes.status
    notes.status = lambda said: (heard.append(store.find("job-1").secondary_status), status(said))

    run(FakeEngine())

    assert notes.statuses == ["Starting", "Training", "Uploading", "Completed"]
    assert heard == notes.statuses
    assert store.find("job-1").answer == json.loads((folder(tmp_path) / "describe.json").read_text())


def test_a_job_is_kept_once_its_hosts_run(tmp_path: Path, run: Run, notes: Notes) -> None:
    run(FakeEngine())

    assert notes.kept_at == folder(tmp_path)


def test_a_job_whose_hosts_do_not_run_is_in_no_store(tmp_path: Path, run: Run, notes: Notes) -> None:
    engine = FakeEngine({"algo-1": Script(refuses_to_start=ImageCannotTrain("i", "no train"))})

    with pytest.raises(ImageCannotTrain):
        run(engine)

    assert notes.kept_at is None
    assert JobStore(a_place(tmp_path).state).names() == []


def test_a_missing_image_is_told_before_anything_is_made(tmp_path: Path, run: Run) -> None:
    engine = FakeEngine()
    engine.missing_images.add("my/image")

    with pytest.raises(ImageNotFound):
        run(engine)

    assert engine.events == []
    assert list(tmp_path.iterdir()) == []


def test_a_missing_directory_is_told_before_the_engine_is_asked(run: Run) -> None:
    engine = FakeEngine()

    with pytest.raises(JobRefused, match="there is no such directory"):
        run(engine, a_job(InputDataConfig=[an_fsx_channel()]))

    assert engine.events == []


def test_an_engine_that_goes_away_is_told_and_everything_undone(run: Run) -> None:
    engine = FakeEngine(
        {
            "algo-1": Script([b"one\n"], loses_its_log=MachineCannot("the engine no longer answers")),
            "algo-2": Script(ends_on=("SIGTERM",)),
        }
    )

    with pytest.raises(MachineCannot, match="no longer answers"):
        run(engine, a_job(hosts=2))

    assert engine.left == []


def test_what_killed_runs_left_is_removed_first(run: Run, notes: Notes, tmp_path: Path) -> None:
    gone = f"{socket.gethostname()}:{tmp_path}/gone/.lock"
    engine = FakeEngine(owned={"killed": gone, "elsewhere": "another-computer:/x/.lock"})

    run(engine)

    assert engine.events[0] == "remove killed"
    assert notes.swept_jobs == ["killed"]
    assert engine.left == ["elsewhere"]


def test_a_job_that_ran_keeps_its_name(run: Run) -> None:
    run(FakeEngine())
    again = FakeEngine()

    with pytest.raises(JobRefused, match="is taken"):
        run(again)

    assert again.events == []


def test_a_container_that_wanted_memory_says_so(run: Run) -> None:
    result = run(FakeEngine({"algo-1": Script(code=137, out_of_memory=True)}))

    assert result.outcome.failure_reason.startswith("ClientError: Please use an instance type with more memory")
