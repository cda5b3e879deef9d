"""A job and an account as the CreateTrainingJob request: what is filled in, what is as it was, what is refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cloud.account import Account, FileSystem
from cloud.request import checked, create_training_job_request
from local_mode.plan import Options, plan_run
from tests.fakes import LAPTOP, ROLE, a_job, a_place, an_fsx_channel, an_s3_channel
from training_job.errors import JobRefused
from training_job.model import TrainingJob
from training_job.s3_uri import S3Uri

IMAGE = f"123456789012.dkr.ecr.us-west-2.amazonaws.com/homeport/tensorflow@sha256:{'a' * 64}"
ACCOUNT = Account(
    account_id="123456789012",
    region="us-west-2",
    role_arn=ROLE,
    bucket="my-bucket",
    subnets=("subnet-1",),
    security_groups=("sg-1",),
    file_systems={
        "training-data": FileSystem("fs-0123456789abcdef0", "FSxLustre", "abcdef01"),
        "home": FileSystem("fs-01234567", "EFS"),
    },
)
MINIMAL = 'name = "x"\nimage = "i"\ninstance_type = "ml.p3.16xlarge"\n'
Read = Callable[..., TrainingJob]


def request(job: TrainingJob, account: Account = ACCOUNT, **changes: Any) -> dict[str, Any]:
    return create_training_job_request(job, account, **{"stack": "mine", "image": IMAGE} | changes)


def refused(job: TrainingJob, account: Account = ACCOUNT) -> str:
    with pytest.raises(JobRefused) as error:
        request(job, account)
    return "\n".join(str(fault) for fault in error.value.faults)


def test_what_the_job_leaves_out_the_account_gives() -> None:
    found = request(a_job())

    assert found["RoleArn"] == ROLE
    assert found["AlgorithmSpecification"]["TrainingImage"] == IMAGE
    assert found["OutputDataConfig"] == {"S3OutputPath": "s3://my-bucket/jobs"}
    assert found["VpcConfig"] == {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]}
    assert found["ResourceConfig"]["VolumeSizeInGB"] == 30
    assert found["Tags"] == [{"Key": "homeport", "Value": "mine"}]


def test_what_the_job_says_stays() -> None:
    said = {
        "RoleArn": "arn:aws:iam::123456789012:role/Mine",
        "OutputDataConfig": {"S3OutputPath": "s3://mine/out", "KmsKeyId": "key"},
        "VpcConfig": {"SecurityGroupIds": ["sg-9"], "Subnets": ["subnet-9"]},
        "Tags": [{"Key": "team", "Value": "vision"}],
        "CheckpointConfig": {"S3Uri": "s3://mine/checkpoints", "LocalPath": "/opt/ml/checkpoints"},
        "ResourceConfig": {
            "InstanceType": "ml.m5.xlarge",
            "InstanceCount": 1,
            "VolumeSizeInGB": 50,
            "VolumeKmsKeyId": "key",
            "KeepAlivePeriodInSeconds": 600,
        },
        "EnableNetworkIsolation": True,
        "Environment": {"A": "1"},
    }

    found = request(a_job(**said))

    assert {name: found[name] for name in said if name != "Tags"} == {k: v for k, v in said.items() if k != "Tags"}
    assert found["Tags"] == [{"Key": "team", "Value": "vision"}, {"Key": "homeport", "Value": "mine"}]


@pytest.mark.parametrize(
    ("uri", "source"),
    [
        ("fsx://training-data/cifar10/train", ("fs-0123456789abcdef0", "ro", "FSxLustre", "/abcdef01/cifar10/train")),
        ("fsx://training-data", ("fs-0123456789abcdef0", "ro", "FSxLustre", "/abcdef01")),
        ("fsx://fs-0123456789abcdef0/a", ("fs-0123456789abcdef0", "ro", "FSxLustre", "/abcdef01/a")),
        ("efs://home/me", ("fs-01234567", "ro", "EFS", "/me")),
    ],
)
def test_a_file_system_by_name_has_its_id_and_its_path_from_the_mount_name_on(
    read: Read, uri: str, source: tuple[str, ...]
) -> None:
    found = request(read(f"{MINIMAL}inputs.train = '{uri}'"))

    names = ("FileSystemId", "FileSystemAccessMode", "FileSystemType", "DirectoryPath")
    data = found["InputDataConfig"][0]["DataSource"]
    assert data == {"FileSystemDataSource": dict(zip(names, source, strict=True))}


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        (
            "'fsx://training-dat/x'",
            "fsx://training-dat: the account has none of that name; did you mean 'training-data'?",
        ),
        ("'efs://training-data/x'", "training-data is FSxLustre in the account: fsx://training-data"),
        ("{ uri = 'fsx://training-data/x', input_mode = 'FastFile' }", "input mode FastFile: file systems are read in"),
        ("'file://.'", "is on this machine alone. Send it: homeport-cloud data push /"),
    ],
)
def test_an_input_that_cannot_be_sent_is_refused_with_what_to_do(read: Read, inputs: str, told: str) -> None:
    assert f"channel train: {told}" in refused(read(f"{MINIMAL}inputs.train = {inputs}")) or told in refused(
        read(f"{MINIMAL}inputs.train = {inputs}")
    )


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"Tags": [{"Key": "homeport", "Value": "x"}]},
            "Tags: 'homeport' is the tag that this project's clean-up goes",
        ),
        ({"Tags": [{"Key": "aws:x", "Value": "x"}]}, "Tags: 'aws:x': keys that begin with aws: are AWS's own"),
        ({"Tags": [{"Key": str(n), "Value": "x"} for n in range(50)]}, "Tags: has 50 entries; 49 are allowed beside"),
        ({"StoppingCondition": {"MaxWaitTimeInSeconds": 90000}}, "MaxWaitTimeInSeconds: is only supported when Enable"),
        (
            {"InputDataConfig": [an_fsx_channel(path="/fsx/a")]},
            "must begin with the file system's mount name: /abcdef01/fsx/a",
        ),
    ],
)
def test_what_the_service_would_refuse_is_refused(changes: dict[str, Any], told: str) -> None:
    assert told in refused(a_job(**changes))


def test_a_warm_pool_of_spot_instances_is_refused() -> None:
    resources = {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "KeepAlivePeriodInSeconds": 60}

    told = refused(a_job(ResourceConfig=resources, EnableManagedSpotTraining=True))

    assert "KeepAlivePeriodInSeconds: a warm pool keeps no spot instances" in told


def test_a_file_system_without_a_network_is_refused() -> None:
    told = refused(a_job(InputDataConfig=[an_fsx_channel(path="/abcdef01/a")]), replace(ACCOUNT, subnets=()))

    assert "VpcConfig: is needed to reach the file system of channel train" in told


def test_all_faults_are_told_together(read: Read) -> None:
    job = read(f"{MINIMAL}inputs.a = 'file://.'\ninputs.b = 'fsx://no/b'\ntags = {{ homeport = 'x' }}")

    assert len(refused(job).splitlines()) == 3


def test_a_spot_job_waits_at_least_as_long_as_it_runs() -> None:
    found = request(a_job(EnableManagedSpotTraining=True, StoppingCondition={"MaxRuntimeInSeconds": 60}))

    assert found["StoppingCondition"] == {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 60}


def test_a_described_jobs_answers_are_not_asked_for() -> None:
    resources = {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "SelectedInstanceType": "ml.m5.xlarge"}

    assert "SelectedInstanceType" not in request(a_job(ResourceConfig=resources))["ResourceConfig"]


@pytest.mark.parametrize(
    "addition",
    [
        "",
        'entry_point = "train.py"\n[distribution.mpi]\nenabled = true\n[hyperparameters]\nepochs = 3\nname = "é"\n',
        'entry_point = "train.py"\nsource_dir = "src"\n[hyperparameters]\nlr = 0.1\n',
        'entry_point = "train.py"\n[distribution.smdistributed.dataparallel]\nenabled = true\n',
    ],
)
def test_the_hyperparameters_are_those_that_a_run_here_writes(read: Read, tmp_path: Path, addition: str) -> None:
    (tmp_path / "src").mkdir()
    job = read(MINIMAL + addition)

    here = plan_run(job, LAPTOP, a_place(tmp_path), Options())

    there = request(job, source=S3Uri("my-bucket", "source/1/"))
    written = here.hosts[0].to_json()["files"]["/opt/ml/input/config/hyperparameters.json"]
    assert there.get("HyperParameters", {}) == written


def test_the_same_job_and_account_make_the_same_request(read: Read) -> None:
    job = read(f"{MINIMAL}inputs.train = 'fsx://training-data/a'")

    assert request(job) == request(job)
    assert checked(request(job)).request() == request(job)


def test_an_s3_channel_goes_as_it_is() -> None:
    channel = an_s3_channel(ShuffleConfig={"Seed": 1}, CompressionType="Gzip")

    assert request(a_job(InputDataConfig=[channel]))["InputDataConfig"] == [channel]
