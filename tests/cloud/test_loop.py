"""The loop, closed: an empty account, a stack, the image that ran here, the job that ran here, and the same losses."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest

from cloud.__main__ import main
from cloud.account import Account
from cloud.aws import Aws
from cloud.engine_images import EngineImages
from cloud.images import destination_of
from cloud.log_streams import GROUP
from cloud.registry import Ecr as Registry
from container_engine.connection import connect
from tests.cloud.conftest import REGION
from tests.cloud.ecr_stand_in import Ecr, ecr_stand_in
from tests.cloud.empty_account import EmptyAccount
from tests.cloud.local_sagemaker import LocalSageMaker
from tests.cloud.sagemaker_front import ACCOUNT, Front, served
from tests.registry import registry_program

ROOT = Path(__file__).parents[2]
IMAGE = "homeport/tensorflow:cpu"
JOB = f"""
extends = "{ROOT}/entrypoints/cifar10/keras.toml"
image = "{IMAGE}"
instance_type = "ml.m5.xlarge"

[hyperparameters]
epochs = 2
"""


@dataclass(frozen=True)
class Loop:
    """Both sides."""

    folder: Path
    ecr: Ecr
    front: Front
    url: str

    def outputs(self) -> dict[str, str]:
        """What the stack puts out."""
        client = boto3.Session().client("cloudformation", region_name=REGION, endpoint_url=self.url)
        stack = client.describe_stacks(StackName="homeport")["Stacks"][0]
        return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}

    def sagemaker(self, outputs: dict[str, str]) -> LocalSageMaker:
        """The service, as the account has it, with the file system's content."""
        return LocalSageMaker(
            folder=self.folder / "sagemaker",
            bucket=outputs["BucketName"],
            endpoint=self.url,
            file_system=outputs["FsxFileSystemId"],
            mount_name=outputs["FsxMountName"],
            content=ROOT / "data/fsx",
            pull=self._pull,
            say=self._say,
        )

    def _pull(self, image: str) -> None:
        aws = Aws(REGION)
        account = Account(ACCOUNT, REGION, "", "", registry=self.ecr.address)
        sign_in = Registry.at(aws, destination_of(account)).sign_in()
        EngineImages.connect().pull(image, sign_in, lambda _: None)

    def _say(self, job: str, host: str, lines: list[str]) -> None:
        logs = boto3.Session().client("logs", region_name=REGION, endpoint_url=self.url)
        stream = {"logGroupName": GROUP, "logStreamName": f"{job}/{host}-1700000000"}
        if not logs.describe_log_groups(logGroupNamePrefix=GROUP)["logGroups"]:
            logs.create_log_group(logGroupName=GROUP)
        if not logs.describe_log_streams(logGroupName=GROUP, logStreamNamePrefix=stream["logStreamName"])["logStreams"]:
            logs.create_log_stream(**stream)
        # CloudWatch takes no empty message.
        events = [{"timestamp": int(time.time() * 1000), "message": line or " "} for line in lines]
        logs.put_log_events(**stream, logEvents=events)


@pytest.fixture
def loop(empty_account: EmptyAccount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loop]:
    program = registry_program()
    assert program, "docker-registry cannot be had: apt-get download docker-registry"
    front = Front(empty_account)
    (tmp_path / "registry").mkdir()
    monkeypatch.setattr("cloud.follow.INTERVAL_SECONDS", 0.2)
    monkeypatch.setattr("cloud.follow.SETTLE_SECONDS", 1)
    monkeypatch.setattr("cloud.stack_commands.time.sleep", lambda _: None)
    with ecr_stand_in(program, tmp_path / "registry") as ecr, served(ecr.front(front)) as url:
        ecr.endpoint = url
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        monkeypatch.chdir(tmp_path)
        (tmp_path / "homeport.toml").write_text(
            f'[local.file_systems.training-data]\nmount_name = "fsx"\npath = "{ROOT}/data/fsx"\n'
            f'[cloud]\nregion = "{REGION}"\nregistry = "{ecr.address}"\n'
        )
        (tmp_path / "job.toml").write_text(JOB)
        yield Loop(tmp_path, ecr, front, url)
        front.reset()
        forget_images(ecr.address)


def forget_images(registry: str) -> None:
    """The names that pulls from a registry gave; the image has another."""
    api = connect().api
    for image in api.images():
        for name in [*(image["RepoTags"] or []), *(image["RepoDigests"] or [])]:
            if name.startswith(registry):
                api.remove_image(name, noprune=True)


def losses(folder: Path) -> list[tuple[str, float]]:
    """The curves of a run, in their order."""
    points = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(point["MetricName"], point["Value"]) for point in points if point["MetricName"] != "images_per_second"]


def test_what_ran_here_runs_there_from_an_empty_account(loop: Loop, capsys: pytest.CaptureFixture[str]) -> None:
    runs = loop.folder / "runs"
    assert main(["stack", "up", "--yes"]) == 0
    service = loop.sagemaker(loop.outputs())
    loop.front.run = service.run

    here = [sys.executable, "-m", "local_mode", "train", "job.toml", "--name", "here"]
    subprocess.run(here, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, timeout=300)
    assert main(["push", "job.toml"]) == 0
    pushed = capsys.readouterr().out.splitlines()[-1]
    assert main(["train", "job.toml", "--name", "there", "--require-rehearsed"]) == 0

    (request,) = [job.request for job in loop.front.jobs.values()]
    assert request["AlgorithmSpecification"]["TrainingImage"] == pushed
    assert pushed.startswith(f"{loop.ecr.address}/homeport/tensorflow@sha256:")
    said = capsys.readouterr().out
    assert "rehearsed    here completed here with this image" in said
    curves = losses(runs / "here")
    assert [name for name, _ in curves].count("train:loss") == 2
    assert losses(service.folder / "runs/there") == curves
    log = (runs / "there/logs/algo-1.log").read_text()
    assert log.count("train_loss:") == 2
    assert (runs / "there/output/model.tar.gz").read_bytes()[:2] == b"\x1f\x8b"

    assert main(["compare", "here", "there"]) == 0
    compared = capsys.readouterr().out
    assert "metric train:loss" not in compared
    assert "image id" not in compared

    assert main(["stack", "down", "--yes"]) == 0
