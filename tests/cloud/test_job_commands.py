"""homeport-cloud describe, logs, stop, list, compare: about jobs that the account has."""

import json
from pathlib import Path

import pytest

from cloud.__main__ import main
from tests.cloud.conftest import Cloud, HostLog, StandInAccount
from tests.cloud.sagemaker_front import Front, Job, completes


@pytest.fixture
def runs_on(train: Cloud, front: Front, monkeypatch: pytest.MonkeyPatch) -> Job:
    """A job that runs until it is stopped."""
    monkeypatch.setattr("cloud.job_commands.INTERVAL_SECONDS", 0.02)

    def run(job: Job) -> None:
        job.enter("Training", "Training in progress")
        if job.stopped.wait(60):
            job.ends("Stopped")

    front.run = run
    train("hyperparameters = { epochs = 3 }\n", "--no-wait")
    return front.jobs["job-1"]


def test_a_job_is_described(runs_on: Job, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()

    assert main(["describe", "job-1"]) == 0

    out = capsys.readouterr().out
    assert out.startswith("job-1 · InProgress, Training · ml.m5.xlarge × 1 · 123456789012.dkr.ecr.")
    assert "Training: Training in progress\n" in out
    assert "epochs = 3" in out
    assert f"{folder}/runs/job-1" in out
    assert runs_on.answer["TrainingJobArn"] in out


def test_json_is_the_services_answer(runs_on: Job, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()

    main(["describe", "job-1", "--json"])

    assert json.loads(capsys.readouterr().out)["HyperParameters"] == runs_on.request["HyperParameters"]


@pytest.mark.parametrize("command", ["describe", "logs", "stop"])
@pytest.mark.usefixtures("runs_on")
def test_a_job_that_is_not_there_is_told_with_the_nearest_name(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "job-2"]) == 2

    err = capsys.readouterr().err
    assert "no training job of the account in us-west-2 has that name; did you mean 'job-1'?" in err


def test_a_job_is_stopped_and_waited_for(runs_on: Job, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stop", "job-1", "--wait"]) == 0

    assert runs_on.stopped.is_set()
    assert capsys.readouterr().out.endswith("job-1: Stopped\n")


def test_a_job_that_has_ended_is_not_stopped(train: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    train()

    assert main(["stop", "job-1"]) == 2

    assert "the request was rejected because the training job is in status Completed" in capsys.readouterr().err


def test_jobs_are_listed_newest_first(train: Cloud, front: Front, capsys: pytest.CaptureFixture[str]) -> None:
    train()
    for number in range(2, 130):
        front.jobs[f"job-{number}"] = Job({}, front.jobs["job-1"].answer | {"TrainingJobName": f"job-{number}"})
    capsys.readouterr()

    assert main(["list", "--limit", "0", "--status", "Completed"]) == 0

    rows = capsys.readouterr().out.splitlines()
    assert rows[0].split() == ["NAME", "STATUS", "CREATED", "DURATION"]
    assert [row.split()[0] for row in rows[1:]] == [f"job-{number}" for number in range(129, 0, -1)]


@pytest.mark.usefixtures("front", "folder")
def test_no_jobs_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0

    assert capsys.readouterr().err == "no jobs in us-west-2\n"


def test_the_logs_of_one_host_are_printed_and_nothing_is_kept(
    train: Cloud, front: Front, account: StandInAccount, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(job: Job) -> None:
        for host in ("algo-1", "algo-2"):
            HostLog(account, job.name, host).says(f"hello from {host}")

    front.run = run
    train("instance_count = 2\n", "--no-wait")
    for thread in front.running:
        thread.join(60)
    capsys.readouterr()

    assert main(["logs", "job-1", "--host", "algo-2"]) == 0

    assert capsys.readouterr().out == "algo-2 │ hello from algo-2\n"
    assert not (folder / "runs/job-1/logs").exists()


@pytest.mark.usefixtures("runs_on")
def test_a_job_that_said_nothing_yet_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["logs", "job-1"]) == 0

    assert "job-1 is Training: its hosts said nothing yet" in capsys.readouterr().err


def test_a_run_here_and_one_there_are_compared(
    train: Cloud, front: Front, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(job: Job) -> None:
        job.answer["FinalMetricDataList"] = [{"MetricName": "loss", "Value": 0.25, "Timestamp": 1.0}]
        completes(job)

    front.run = run
    train("hyperparameters = { epochs = 3, lr = 0.1 }\nenvironment = { SEED = '1' }\n")
    here = folder / "runs/here-1"
    here.mkdir()
    answer = json.loads((folder / "runs/job-1/describe.json").read_text())
    answer |= {
        "HyperParameters": {"epochs": "2", "lr": "0.1"},
        "FinalMetricDataList": [{"MetricName": "loss", "Value": 0.5}],
        "TrainingTimeInSeconds": 120,
    }
    (here / "describe.json").write_text(json.dumps(answer))
    (here / "plan.json").write_text(json.dumps({"image_id": f"sha256:{'d' * 64}"}))
    capsys.readouterr()

    assert main(["compare", "here-1", "job-1"]) == 0

    out = capsys.readouterr().out
    assert out.startswith("here-1 here, job-1 in the cloud: 4 of ")
    assert f"image id               sha256:{'d' * 64} here, sha256:{'c' * 64} there\n" in out
    assert "hyperparameter epochs  2 here, 3 there\n" in out
    assert "metric loss            0.5 here, 0.25 there (-50.0%)\n" in out
    assert "TrainingTimeInSeconds  120 here, 60 there (-50.0%)\n" in out


def test_what_is_no_run_here_cannot_be_compared(train: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    train()

    assert main(["compare", "job-1", "job-1"]) == 2

    assert "is the folder of no run on this machine" in capsys.readouterr().err
