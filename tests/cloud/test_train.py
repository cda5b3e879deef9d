"""homeport-cloud train: sent once, followed to its end, fetched; told by the same exit codes as a run here."""

import json
from pathlib import Path
from typing import Any

import pytest

from cloud.__main__ import main
from tests.cloud.conftest import Cloud, HostLog, StandInAccount
from tests.cloud.sagemaker_front import Fault, Front, Job, completes
from training_job.model import TrainingJob

SCRIPT_MODE = 'entry_point = "train.py"\nsource_dir = "src"\n'
SPOT = "use_spot_instances = true\nmax_run = 60\nmax_wait = 120\n"


def created(front: Front) -> int:
    return front.asked.count("CreateTrainingJob")


def test_a_job_is_sent_followed_and_fetched(
    train: Cloud, account: StandInAccount, front: Front, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(job: Job) -> None:
        HostLog(account, job.name).says("line 0", "line 1", "line 2")
        account.client("s3").put_object(Bucket="homeport-bucket", Key="jobs/job-1/output/model.tar.gz", Body=b"weights")
        job.answer["FinalMetricDataList"] = [{"MetricName": "loss", "Value": 0.25, "Timestamp": 1.0}]
        completes(job)

    front.run = run

    assert train() == 0

    out = capsys.readouterr().out
    assert "algo-1 │ line 0\nalgo-1 │ line 1\nalgo-1 │ line 2\n" in out
    assert "Completed in 1 min 0 s\n  billed 60 s an instance\n  loss 0.25\n  model  runs/job-1/output/" in out
    run_folder = folder / "runs/job-1"
    assert (run_folder / "logs/algo-1.log").read_text() == "line 0\nline 1\nline 2\n"
    assert (run_folder / "output/model.tar.gz").read_bytes() == b"weights"
    assert json.loads((run_folder / "describe.json").read_text())["TrainingJobStatus"] == "Completed"
    assert json.loads((run_folder / "request.json").read_text()) == front.jobs["job-1"].request


def test_the_request_is_the_job_in_the_account(train: Cloud, account: StandInAccount, front: Front) -> None:
    train(
        f"{SPOT}hyperparameters = {{ epochs = 3 }}\ntags = {{ team = 'vision' }}\n"
        "inputs.train = 'fsx://training-data/cifar10'\n"
    )

    sent = front.jobs["job-1"].request
    assert sent["RoleArn"] == account.outputs["RoleArn"]
    assert sent["AlgorithmSpecification"]["TrainingImage"] == account.image
    assert sent["HyperParameters"] == {"epochs": "3"}
    assert sent["InputDataConfig"][0]["DataSource"]["FileSystemDataSource"] == {
        "FileSystemId": account.file_system,
        "FileSystemAccessMode": "ro",
        "FileSystemType": "FSxLustre",
        "DirectoryPath": "/fsx/cifar10",
    }
    assert sent["VpcConfig"] == {"SecurityGroupIds": [account.security_group], "Subnets": [account.subnet]}
    assert sent["StoppingCondition"] == {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 120}
    assert sent["Tags"] == [{"Key": "team", "Value": "vision"}, {"Key": "homeport", "Value": "homeport"}]
    assert TrainingJob.model_validate_json(json.dumps(sent)).enable_managed_spot_training


def test_script_modes_source_is_sent_once_and_is_a_channel(
    train: Cloud, account: StandInAccount, front: Front, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "src").mkdir()
    (folder / "src/train.py").write_text("print('hello')\n")

    train(SCRIPT_MODE)
    front.jobs.clear()
    (folder / "src/train.py").touch()
    main(["train", "job.toml", "--name", "job-2"])

    out = capsys.readouterr().out
    channel = front.jobs["job-2"].request["InputDataConfig"][0]
    prefix = channel["DataSource"]["S3DataSource"]["S3Uri"]
    keys = [each["Key"] for each in account.client("s3").list_objects_v2(Bucket="homeport-bucket")["Contents"]]
    assert channel["ChannelName"] == "code"
    assert [f"s3://homeport-bucket/{key}" for key in keys] == [f"{prefix}sourcedir.tar.gz"]
    assert f"{prefix} (sent)" in out
    assert f"{prefix} (was there)" in out


@pytest.mark.parametrize(
    ("status", "secondary", "code"),
    [
        ("Completed", "Completed", 0),
        ("Failed", "Failed", 1),
        ("Stopped", "Stopped", 4),
        ("Stopped", "MaxRuntimeExceeded", 5),
        ("Stopped", "MaxWaitTimeExceeded", 5),
    ],
)
def test_the_exit_code_is_that_of_a_run_here(
    train: Cloud, front: Front, status: str, secondary: str, code: int
) -> None:
    front.run = lambda job: job.ends(status, secondary)

    assert train() == code


def test_why_it_failed_is_said(train: Cloud, front: Front, capsys: pytest.CaptureFixture[str]) -> None:
    front.run = lambda job: job.ends("Failed", FailureReason="AlgorithmError: boom\nbang, exit code: 3")

    train()

    assert "Failed\n  AlgorithmError: boom\n  bang, exit code: 3\n" in capsys.readouterr().out


def test_no_wait_returns_at_once_and_says_how_to_go_on(
    train: Cloud, front: Front, capsys: pytest.CaptureFixture[str]
) -> None:
    front.run = lambda job: job.enter("Starting")

    assert train("", "--no-wait") == 0

    assert "homeport-cloud logs job-1 --follow" in capsys.readouterr().out
    assert "GetLogEvents" not in front.asked


def test_json_is_the_description_alone(train: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("", "--json") == 0

    captured = capsys.readouterr()
    assert json.loads(captured.out)["TrainingJobName"] == "job-1"
    assert "Training" in captured.err


@pytest.mark.parametrize("lost", ["drop", "drop answer", "500", "ThrottlingException"])
def test_a_lost_answer_creates_no_second_job(train: Cloud, front: Front, lost: str) -> None:
    front.faults = [Fault("CreateTrainingJob", lost)]

    assert train() == 0

    assert list(front.jobs) == ["job-1"]
    assert created(front) == 2


def test_a_name_that_another_takes_meanwhile_is_told(
    train: Cloud, front: Front, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    front.faults = [Fault("CreateTrainingJob", "ResourceInUse")]
    front.jobs["job-1"] = Job({}, {"TrainingJobStatus": "InProgress"})
    # Free when it is looked at.
    front.faults.append(Fault("DescribeTrainingJob", "ValidationException"))

    assert train() == 3

    assert "job-1" in capsys.readouterr().err
    assert not (folder / "runs/job-1").exists()


def test_a_quota_that_is_used_up_is_told(train: Cloud, front: Front, capsys: pytest.CaptureFixture[str]) -> None:
    front.faults = [Fault("CreateTrainingJob", "ResourceLimitExceeded")]

    assert train() == 3

    assert "Ask for more in Service Quotas" in capsys.readouterr().err


def test_a_job_that_was_sent_and_not_seen_to_its_end_is_followed_and_not_sent_again(
    train: Cloud, front: Front, capsys: pytest.CaptureFixture[str]
) -> None:
    train("", "--no-wait")

    assert train() == 0

    assert "job-1 was sent already" in capsys.readouterr().out
    assert created(front) == 1


def test_an_unrehearsed_image_is_said_and_refused_where_one_is_required(
    train: Cloud, front: Front, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("", "--require-rehearsed") == 2
    assert created(front) == 0
    assert "no run here has completed with this image" in capsys.readouterr().err

    assert train() == 0
    assert "no run here has completed with this image" in capsys.readouterr().out


def test_an_image_that_completed_here_is_rehearsed(
    train: Cloud, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = folder / "runs/here-1"
    run.mkdir(parents=True)
    (run / "plan.json").write_text(json.dumps({"image_id": f"sha256:{'c' * 64}"}))
    (run / "describe.json").write_text(json.dumps({"TrainingJobStatus": "Completed"}))

    assert train("", "--require-rehearsed") == 0

    assert "rehearsed    here-1 completed here with this image" in capsys.readouterr().out


def test_a_run_here_of_the_same_name_is_left_alone(
    train: Cloud, front: Front, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "runs/job-1").mkdir(parents=True)
    (folder / "runs/job-1/plan.json").write_text("{}")

    assert train() == 2

    assert "is the folder of a run on this machine" in capsys.readouterr().err
    assert created(front) == 0


def test_secrets_are_not_kept(train: Cloud, front: Front, folder: Path) -> None:
    train('environment = { API_TOKEN = "hush" }\n')

    assert front.jobs["job-1"].request["Environment"] == {"API_TOKEN": "hush"}
    kept: list[Any] = [path.read_text() for path in (folder / "runs/job-1").glob("*.json")]
    assert kept
    assert not any("hush" in text for text in kept)
