"""What a run leaves, and how a later run knows whether its harness still lives."""

import json
import shutil
import subprocess
import sys
from collections import namedtuple
from contextlib import suppress
from pathlib import Path

import pytest

from local_mode import records
from local_mode.harness import this_process
from local_mode.job_record import JobRecord
from local_mode.job_store import JobStore
from local_mode.plan import RunPlan
from local_mode.records import run_record
from tests.fakes import NOW, WORKSTATION, a_job, a_plan
from training_job.errors import DiskFull, JobRefused, MachineCannot
from training_job.lifecycle import Outcome, Transition, describe
from training_job.metrics import MetricPoint
from training_job.secret_names import masked

Usage = namedtuple("Usage", "total used free")


def refused(plan: RunPlan) -> None:
    """Begin to keep a run that may not begin."""
    with run_record(plan):
        pass


def test_a_run_leaves_its_request_its_plan_its_logs_and_its_metrics(tmp_path: Path) -> None:
    plan = a_plan(tmp_path, a_job(hosts=2))

    with run_record(plan) as record:
        record.open(host.host for host in plan.hosts)
        record.keep(plan)
        record.wrote("algo-1", b"one\n")
        record.wrote("algo-2", b"\xff\r\n")
        record.wrote("algo-1", b"no end")
        record.measured([MetricPoint("loss", 0.5, NOW, "algo-1")])
        record.describe({"TrainingJobStatus": "Completed"})

    folder = tmp_path / "runs/job-1"
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == [
        "describe.json",
        "logs/algo-1.log",
        "logs/algo-2.log",
        "metrics.jsonl",
        "plan.json",
        "request.json",
    ]
    assert json.loads((folder / "request.json").read_text()) == plan.job.request()
    assert json.loads((folder / "plan.json").read_text())["job"] == plan.job.request()
    assert (folder / "logs/algo-1.log").read_bytes() == b"one\nno end"
    assert (folder / "logs/algo-2.log").read_bytes() == b"\xff\r\n"
    assert json.loads((folder / "metrics.jsonl").read_text()) == {
        "MetricName": "loss",
        "Value": 0.5,
        "Timestamp": "2026-11-21T10:15:30+00:00",
        "Host": "algo-1",
    }
    assert json.loads((folder / "describe.json").read_text()) == {"TrainingJobStatus": "Completed"}


def test_a_line_can_be_read_as_soon_as_it_is_kept(tmp_path: Path) -> None:
    plan = a_plan(tmp_path)

    with run_record(plan) as record:
        record.open(host.host for host in plan.hosts)
        record.keep(plan)
        record.wrote("algo-1", b"first\n")

        assert (record.directory / "logs/algo-1.log").read_bytes() == b"first\n"


def test_a_value_can_be_read_as_soon_as_it_is_kept(tmp_path: Path) -> None:
    plan = a_plan(tmp_path)

    with run_record(plan) as record:
        record.open(host.host for host in plan.hosts)
        record.keep(plan)
        record.measured([MetricPoint("loss", value, NOW, "algo-1") for value in (2.0, 1.0)])

        kept = (record.directory / "metrics.jsonl").read_text().splitlines()

    assert [json.loads(line)["Value"] for line in kept] == [2.0, 1.0]


def test_a_job_that_never_began_leaves_nothing(tmp_path: Path) -> None:
    plan = a_plan(tmp_path)

    with suppress(RuntimeError), run_record(plan):
        raise RuntimeError

    assert list(tmp_path.iterdir()) == []


def test_a_job_that_never_began_leaves_the_runs_of_others(tmp_path: Path) -> None:
    (tmp_path / "runs/other").mkdir(parents=True)

    with suppress(RuntimeError), run_record(a_plan(tmp_path)):
        raise RuntimeError

    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["other"]


def test_a_job_that_began_keeps_its_folder_however_it_ends(tmp_path: Path) -> None:
    plan = a_plan(tmp_path)

    with suppress(RuntimeError), run_record(plan) as record:
        record.open(host.host for host in plan.hosts)
        record.keep(plan)
        raise RuntimeError

    assert (tmp_path / "runs/job-1/request.json").is_file()


def test_a_name_is_taken_once(tmp_path: Path) -> None:
    plan = a_plan(tmp_path)
    (tmp_path / "runs/job-1").mkdir(parents=True)

    with pytest.raises(JobRefused, match=r"TrainingJobName: is taken: .*runs/job-1 exists. Give another with --name"):
        refused(plan)

    assert (tmp_path / "runs/job-1").is_dir()


def test_runs_that_cannot_be_made_are_told(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()

    with pytest.raises(MachineCannot, match=r"cannot be made: Not a directory. Write elsewhere with --runs"):
        refused(a_plan(tmp_path))


def test_a_full_disk_is_told_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records.shutil, "disk_usage", lambda _: Usage(100, 99, 1_000_000))

    with pytest.raises(DiskFull, match=r"runs/job-1: no room. 67\.1 MB are needed there and 1\.0 MB are free"):
        refused(a_plan(tmp_path))

    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
def test_a_disk_that_fills_under_a_log_is_told(tmp_path: Path) -> None:
    plan = a_plan(tmp_path)

    with run_record(plan) as record, Path("/dev/full").open("wb", buffering=0) as full:
        record.open(host.host for host in plan.hosts)
        record.keep(plan)
        record._logs["algo-1"] = full

        with pytest.raises(DiskFull):
            record.wrote("algo-1", b"line\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
def test_a_disk_that_fills_under_the_metrics_is_told(tmp_path: Path) -> None:
    plan = a_plan(tmp_path)

    with run_record(plan) as record, Path("/dev/full").open("wb", buffering=0) as full:
        record.open(host.host for host in plan.hosts)
        record.keep(plan)
        record._metrics = full

        with pytest.raises(DiskFull):
            record.measured([MetricPoint("loss", 0.5, NOW, "algo-1")])


@pytest.mark.parametrize(
    ("value", "hidden"),
    [
        ({"WANDB_API_KEY": "abc"}, {"WANDB_API_KEY": "********"}),
        ({"Environment": {"HF_TOKEN": "abc"}}, {"Environment": {"HF_TOKEN": "********"}}),
        ({"db_password": "abc", "secret": ["a", "b"]}, {"db_password": "********", "secret": ["********"] * 2}),
        ({"KmsKeyId": "key-1", "epochs": "3"}, {"KmsKeyId": "key-1", "epochs": "3"}),
        ({"Tags": [{"Key": "team", "Value": "vision"}]}, {"Tags": [{"Key": "team", "Value": "vision"}]}),
        ({"seed_key": 5, "token": None}, {"seed_key": 5, "token": None}),
    ],
)
def test_what_a_name_calls_secret_is_masked(value: object, hidden: object) -> None:
    assert masked(value) == hidden


def test_no_secret_is_written_into_a_runs_folder(tmp_path: Path) -> None:
    plan = a_plan(tmp_path, a_job(HyperParameters={"api_key": "s3cr3t"}, Environment={"HF_TOKEN": "s3cr3t"}))

    with run_record(plan) as record:
        record.open(host.host for host in plan.hosts)
        record.keep(plan)
        record.describe(plan.job.request())

    written = [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    assert [path.name for path in written if b"s3cr3t" in path.read_bytes()] == []


def test_a_folder_that_vanished_under_a_run_is_no_second_error(tmp_path: Path) -> None:
    with run_record(a_plan(tmp_path)) as record:
        shutil.rmtree(record.directory)

    assert not record.directory.exists()


def kill_in_a_run(root: Path, then: str) -> None:
    """A harness that opens the record of job-1 below `root`, does `then`, and is killed."""
    script = (
        "import os, signal\nfrom pathlib import Path\nfrom tests.fakes import a_plan\n"
        "from local_mode.part_files import written\nfrom local_mode.records import run_record\n"
        f"plan = a_plan(Path({str(root)!r}))\nwith run_record(plan) as record:\n    {then}\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2], check=False)
    assert killed.returncode == -9


def test_a_run_that_was_killed_before_its_row_was_written_leaves_its_name_free(tmp_path: Path) -> None:
    kill_in_a_run(tmp_path, "record._store.forget('job-1')")

    with run_record(a_plan(tmp_path)) as record:
        assert [path.name for path in record.directory.iterdir()] == [".lock"]


def test_a_killed_run_keeps_its_record_and_loses_what_was_half_written(tmp_path: Path) -> None:
    kill_in_a_run(
        tmp_path, "record.keep(plan); part = written(plan.run_directory / 'output' / 'model.tar.gz'); part.__enter__()"
    )
    left = tmp_path / "runs" / "job-1"
    assert [path.name for path in (left / "output").iterdir()] != []

    with run_record(a_plan(tmp_path, a_job(TrainingJobName="job-2"))):
        found = sorted(str(path.relative_to(left)) for path in left.rglob("*"))

    assert found == ["output", "plan.json", "request.json"]


def found(plan: RunPlan) -> JobRecord:
    """The job in the store."""
    job = JobStore(plan.place.state).find(plan.name)
    assert job
    return job


def test_a_job_is_in_the_store_from_its_first_moment(tmp_path: Path) -> None:
    plan = a_plan(tmp_path, a_job(hosts=2, instance_type="ml.p3.2xlarge"), WORKSTATION)

    with run_record(plan) as record:
        job = found(plan)

    assert (job.status, job.secondary_status, job.running) == ("InProgress", "Starting", True)
    assert (job.instances, job.gpus) == ((("ml.p3.2xlarge", 2),), ("0", "1"))
    assert (job.directory, job.owner, job.process) == (record.directory, record.owner, this_process())


def test_the_store_hears_where_a_job_is_and_how_it_ends(tmp_path: Path) -> None:
    plan = a_plan(tmp_path)
    transitions = [Transition("Starting", NOW), Transition("Training", NOW)]
    told = {"arn": plan.arn, "model_artifacts": "file:///model.tar.gz"}

    with run_record(plan) as record:
        assert record.entered(transitions) is None
        assert found(plan).transitions == transitions
        record.keep(plan)
        ended = [*transitions, Transition("Completed", NOW)]
        outcome = Outcome("Completed", "Completed", 0)
        assert record.ends(describe(plan.job.request(), transitions=ended, outcome=outcome, end=NOW, **told), 0) is None

    job = found(plan)
    assert (job.status, job.ended, job.exit_code) == ("Completed", NOW, 0)


def test_a_job_that_never_began_is_in_no_store(tmp_path: Path) -> None:
    plan = a_plan(tmp_path)

    with suppress(RuntimeError), run_record(plan):
        raise RuntimeError

    assert JobStore(plan.place.state).names() == []


def test_a_run_that_breaks_off_is_told_as_failed_in_its_folder_and_in_the_store(tmp_path: Path) -> None:
    plan = a_plan(tmp_path, a_job(instance_type="ml.p3.2xlarge"), WORKSTATION)

    with suppress(MachineCannot), run_record(plan) as record:
        record.keep(plan)
        raise MachineCannot("the engine no longer answers")

    job = found(plan)
    assert (job.status, job.exit_code) == ("Failed", 3)
    assert job.failure_reason == "InternalServerError: the engine no longer answers"
    assert json.loads((record.directory / "describe.json").read_text()) == job.answer
    assert JobStore(plan.place.state).held_gpus() == {}


def test_a_run_that_ctrl_c_breaks_off_is_told_as_stopped(tmp_path: Path) -> None:
    plan = a_plan(tmp_path)

    with suppress(KeyboardInterrupt), run_record(plan) as record:
        record.keep(plan)
        raise KeyboardInterrupt

    assert (found(plan).status, found(plan).exit_code) == ("Stopped", 130)


def test_an_end_is_kept_whatever_goes_wrong_afterwards(tmp_path: Path) -> None:
    plan = a_plan(tmp_path)

    with suppress(MachineCannot), run_record(plan) as record:
        record.keep(plan)
        outcome = Outcome("Completed", "Completed", 0)
        record.ends(record._answer([Transition("Completed", NOW)], outcome=outcome, end=NOW), 0)
        raise MachineCannot("the model could not be delivered")

    assert (found(plan).status, found(plan).exit_code) == ("Completed", 3)


def test_a_name_in_the_store_is_taken_though_its_folder_is_elsewhere(tmp_path: Path) -> None:
    with run_record(a_plan(tmp_path)) as record:
        record.keep(a_plan(tmp_path))
    (tmp_path / "runs").rename(tmp_path / "moved")

    with pytest.raises(JobRefused, match=r"is taken: names must be unique, .* already exists .*--name NAME"):
        refused(a_plan(tmp_path))

    assert not (tmp_path / "runs").exists()


def test_a_store_that_cannot_be_written_ends_no_job_that_runs(tmp_path: Path) -> None:
    plan = a_plan(tmp_path)

    with run_record(plan) as record:
        record.keep(plan)
        JobStore(plan.place.state).path.write_bytes(b"no store" * 1000)

        problem = record.entered([Transition("Starting", NOW), Transition("Training", NOW)])

    assert "the store of jobs cannot be used" in str(problem)


def test_no_secret_gets_into_the_store(tmp_path: Path) -> None:
    plan = a_plan(tmp_path, a_job(HyperParameters={"api_key": "s3cr3t"}, Environment={"HF_TOKEN": "s3cr3t"}))

    with run_record(plan) as record:
        record.keep(plan)
        record.entered([Transition("Training", NOW)])

    assert [path.name for path in plan.place.state.iterdir() if b"s3cr3t" in path.read_bytes()] == []
    assert found(plan).answer["HyperParameters"] == {"api_key": "********"}
