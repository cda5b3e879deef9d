"""An AWS account on loopback: moto behind the front, with what a stack would have made. Nothing else can be reached."""

import json
import os
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from cloud.__main__ import main
from cloud.aws import ONLY_LOOPBACK
from cloud.log_streams import GROUP
from tests.cloud.empty_account import _taught_moto, empty_account  # noqa: F401 - fixtures
from tests.cloud.sagemaker_front import ACCOUNT, Front, served

REGION = "us-west-2"
KEYS = "[default]\naws_access_key_id = {}\naws_secret_access_key = homeport-secret\n"
BUCKET = "homeport-bucket"
REPOSITORY = "homeport/tensorflow"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
JOB = """
name = "x"
image = "{image}"
instance_type = "ml.m5.xlarge"
"""


@pytest.fixture(autouse=True)
def _only_loopback(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keys that nobody knows, and a guard that lets no request leave this machine. Port 1 answers nobody."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "HOMEPORT_"))]:
        if name != "HOMEPORT_STATE":
            monkeypatch.delenv(name)
    keys = tmp_path_factory.mktemp("aws") / "credentials"
    keys.write_text(KEYS.format("AKIATEST"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(keys))
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv(ONLY_LOOPBACK, "1")


@pytest.fixture(scope="session")
def _server() -> Iterator[tuple[Front, str]]:
    front = Front()
    with served(front) as url:
        yield front, url


@pytest.fixture
def front(_server: tuple[Front, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Front]:
    """The front, before an account that has had no job yet."""
    front, url = _server
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    yield front
    front.reset()


class _Session:
    """Clients of the stand-in, for as long as the tests last."""

    def __init__(self, url: str) -> None:
        self._session = boto3.Session("AKIAOWNER", "homeport-secret", region_name=REGION)
        self._url = url
        self._clients: dict[str, Any] = {}

    def client(self, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = self._session.client(service, endpoint_url=self._url)
        return self._clients[service]


@dataclass(frozen=True)
class StandInAccount:
    """What is in the account, and who asks for it."""

    session: "_Session"
    image: str
    subnet: str
    security_group: str
    file_system: str
    outputs: dict[str, str]

    def client(self, service: str) -> Any:
        return self.session.client(service)


@pytest.fixture
def account(_account: StandInAccount) -> Iterator[StandInAccount]:
    """The account of all tests, without anything that a test's jobs have left."""
    yield _account
    logs, s3 = _account.client("logs"), _account.client("s3")
    with suppress(logs.exceptions.ResourceNotFoundException):
        logs.delete_log_group(logGroupName=GROUP)
    for found in s3.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        s3.delete_object(Bucket=BUCKET, Key=found["Key"])


@pytest.fixture(scope="module")
def _account(_server: tuple[Front, str]) -> StandInAccount:
    """An account in which a job can run: role, bucket, network, file system, image, and the stack that tells of it."""
    front, url = _server
    # moto has one account in a process, which the tests of another module may have emptied or filled.
    with urllib.request.urlopen(urllib.request.Request(f"{url}/moto-api/reset", method="POST")):
        session = _Session(url)
    role = session.client("iam").create_role(RoleName="Trainer", AssumeRolePolicyDocument=json.dumps(TRUST))
    place = {"LocationConstraint": REGION}
    session.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration=place)
    subnet, group = _network(session.client("ec2"))
    system = session.client("fsx").create_file_system(
        FileSystemType="LUSTRE", StorageCapacity=1200, SubnetIds=[subnet], SecurityGroupIds=[group]
    )["FileSystem"]["FileSystemId"]
    front.mount_names[system] = "fsx"
    outputs = {
        "RoleArn": role["Role"]["Arn"],
        "BucketName": BUCKET,
        "SubnetIds": subnet,
        "SecurityGroupIds": group,
        "FsxName": "training-data",
        "FsxFileSystemId": system,
        "FsxMountName": "fsx",
    }
    made = StandInAccount(session, _image(session.client("ecr")), subnet, group, system, outputs)
    a_stack(made)
    return made


def a_stack(account: StandInAccount, name: str = "homeport", *, without: str = "") -> None:
    """A stack that puts out what the account has."""
    outputs = {key: {"Value": value} for key, value in account.outputs.items() if key != without}
    template = {"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}, "Outputs": outputs}
    account.client("cloudformation").create_stack(StackName=name, TemplateBody=json.dumps(template))


def _network(ec2: Any) -> tuple[str, str]:
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24", AvailabilityZone=f"{REGION}a")["Subnet"]["SubnetId"]
    group = ec2.create_security_group(GroupName="hosts", Description="hosts", VpcId=vpc)["GroupId"]
    to_itself = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[to_itself])
    return subnet, group


def _image(ecr: Any) -> str:
    ecr.create_repository(repositoryName=REPOSITORY)
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {"digest": f"sha256:{'c' * 64}"},
        "layers": [],
    }
    put = ecr.put_image(repositoryName=REPOSITORY, imageManifest=json.dumps(manifest), imageTag="1")["image"]
    return f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{REPOSITORY}@{put['imageId']['imageDigest']}"


Cloud = Callable[..., int]


class HostLog:
    """What a host says, in CloudWatch: a stream of its own, made with its first lines."""

    def __init__(self, account: StandInAccount, job: str, host: str = "algo-1", start: int = 1_700_000_000) -> None:
        self._logs = account.client("logs")
        self._stream = {"logGroupName": GROUP, "logStreamName": f"{job}/{host}-{start}"}
        self._made = False

    def says(self, *lines: str, at: float | None = None) -> None:
        """`at` is in seconds since the epoch."""
        if not self._made:
            with suppress(self._logs.exceptions.ResourceAlreadyExistsException):
                self._logs.create_log_group(logGroupName=GROUP)
            self._logs.create_log_stream(**self._stream)
            self._made = True
        now = int((at or time.time()) * 1000)
        events = [{"timestamp": now, "message": line} for line in lines]
        for start in range(0, len(events), 10_000):
            self._logs.put_log_events(**self._stream, logEvents=events[start : start + 10_000])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that commands run in."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "homeport.toml").write_text(f'[cloud]\nregion = "{REGION}"\n')
    return tmp_path


@pytest.fixture
def train(folder: Path, front: Front, account: StandInAccount, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """`train(addition, *flags)`: send the smallest job, with something added to its file."""
    assert not front.jobs
    monkeypatch.setattr("cloud.follow.INTERVAL_SECONDS", 0.02)
    monkeypatch.setattr("cloud.follow.SETTLE_SECONDS", 0.05)
    monkeypatch.setattr("cloud.follow.LATE_SECONDS", 0.3)

    def train(addition: str = "", *flags: str) -> int:
        (folder / "job.toml").write_text(JOB.format(image=account.image) + addition)
        return main(["train", "job.toml", "--name", "job-1", *flags])

    return train
