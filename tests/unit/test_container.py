"""The files under /opt/ml/input/config byte for byte, the environment, and how a container is started."""

import json

import pytest

from tests.fakes import REGION, ROLE, a_job, an_fsx_channel, an_s3_channel
from training_job.container import HostContents, host_contents
from training_job.model import TrainingJob

# The two strings observed in a real job of 2022 (CONTRACT 1.2), whose sizes a directory listing of it confirms.
OBSERVED_INPUTS = (
    b'{"training":{"TrainingInputMode":"File","S3DistributionType":"FullyReplicated","RecordWrapperType":"None"}}'
)
OBSERVED_RESOURCES = (
    b'{"current_host":"algo-1","current_instance_type":"ml.g4dn.12xlarge","current_group_name":"homogeneousCluster",'
    b'"hosts":["algo-1"],"instance_groups":[{"instance_group_name":"homogeneousCluster",'
    b'"instance_type":"ml.g4dn.12xlarge","hosts":["algo-1"]}],"network_interface_name":"eth0"}'
)


def only_host(job: TrainingJob) -> HostContents:
    (host,) = host_contents(job, region=REGION)
    return host


def test_the_files_of_the_observed_job_are_the_observed_bytes() -> None:
    host = only_host(a_job(instance_type="ml.g4dn.12xlarge", InputDataConfig=[an_s3_channel("training")]))

    assert host.files["inputdataconfig.json"] == OBSERVED_INPUTS
    assert len(OBSERVED_INPUTS) == 107
    # `topology` is appended since 2025.
    assert host.files["resourceconfig.json"] == OBSERVED_RESOURCES[:-1] + b',"topology":null}'
    assert len(OBSERVED_RESOURCES) == 280


def test_a_job_without_inputs_and_hyperparameters_finds_empty_objects() -> None:
    host = only_host(a_job())

    assert host.files["inputdataconfig.json"] == b"{}"
    assert host.files["hyperparameters.json"] == b"{}"


@pytest.mark.effect("HyperParameters")
def test_hyperparameters_are_flat_text() -> None:
    host = only_host(a_job(HyperParameters={"sagemaker_program": '"train.py"', "epochs": "5", "opt": '"é"'}))

    assert host.files["hyperparameters.json"] == (
        b'{"epochs":"5","opt":"\\"\\u00e9\\"","sagemaker_program":"\\"train.py\\""}'
    )


@pytest.mark.effect("InputDataConfig.ContentType")
def test_content_type_stands_first_and_only_where_it_is_given() -> None:
    channel = an_s3_channel("a", ContentType="text/csv", RecordWrapperType="RecordIO", InputMode="Pipe")
    host = only_host(a_job(InputDataConfig=[channel, an_fsx_channel("b")]))

    assert host.files["inputdataconfig.json"] == (
        b'{"a":{"ContentType":"text/csv","TrainingInputMode":"Pipe","S3DistributionType":"FullyReplicated",'
        b'"RecordWrapperType":"RecordIO"},'
        b'"b":{"TrainingInputMode":"File","S3DistributionType":"FullyReplicated","RecordWrapperType":"None"}}'
    )


def test_a_sharded_channel_says_so() -> None:
    source = {"S3DataType": "S3Prefix", "S3Uri": "s3://b/p", "S3DataDistributionType": "ShardedByS3Key"}
    host = only_host(a_job(InputDataConfig=[{"ChannelName": "a", "DataSource": {"S3DataSource": source}}]))

    assert json.loads(host.files["inputdataconfig.json"])["a"]["S3DistributionType"] == "ShardedByS3Key"


@pytest.mark.effect("AlgorithmSpecification.TrainingInputMode")
def test_the_jobs_input_mode_holds_for_channels_without_one_of_their_own() -> None:
    specification = {"TrainingImage": "i", "TrainingInputMode": "FastFile"}
    channels = [an_s3_channel("a"), an_s3_channel("b", InputMode="File")]
    host = only_host(a_job(AlgorithmSpecification=specification, InputDataConfig=channels))

    modes = [channel["TrainingInputMode"] for channel in json.loads(host.files["inputdataconfig.json"]).values()]
    assert modes == ["FastFile", "File"]


def test_twelve_hosts_are_sorted_as_text() -> None:
    hosts = host_contents(a_job(hosts=12), region=REGION)

    assert [host.host for host in hosts] == [f"algo-{number}" for number in range(1, 13)]
    configs = [json.loads(host.files["resourceconfig.json"]) for host in hosts]
    assert [config["current_host"] for config in configs] == [host.host for host in hosts]
    everyone = ["algo-1", "algo-10", "algo-11", "algo-12", "algo-2", "algo-3"]
    assert all(config["hosts"][:6] == everyone for config in configs)
    assert all(config["instance_groups"][0]["hosts"] == config["hosts"] for config in configs)


def test_hosts_differ_in_nothing_but_themselves() -> None:
    first, second = host_contents(a_job(hosts=2), region=REGION)

    assert second.files["resourceconfig.json"] == first.files["resourceconfig.json"].replace(
        b'"current_host":"algo-1"', b'"current_host":"algo-2"'
    )
    assert second.environment == first.environment


@pytest.mark.effect("ResourceConfig.InstanceGroups")
def test_instance_groups_number_their_hosts_on_and_get_their_own_channels() -> None:
    groups = [
        {"InstanceGroupName": "cpu", "InstanceType": "ml.c5.xlarge", "InstanceCount": 2},
        {"InstanceGroupName": "gpu", "InstanceType": "ml.p3.2xlarge", "InstanceCount": 1},
    ]
    only_gpu = an_s3_channel("b")
    only_gpu["DataSource"]["S3DataSource"]["InstanceGroupNames"] = ["gpu"]
    job = a_job(ResourceConfig={"InstanceGroups": groups}, InputDataConfig=[an_s3_channel("a"), only_gpu])

    hosts = host_contents(job, region=REGION)

    assert [(host.host, host.group, host.instance_type) for host in hosts] == [
        ("algo-1", "cpu", "ml.c5.xlarge"),
        ("algo-2", "cpu", "ml.c5.xlarge"),
        ("algo-3", "gpu", "ml.p3.2xlarge"),
    ]
    assert json.loads(hosts[2].files["resourceconfig.json"]) == {
        "current_host": "algo-3",
        "current_instance_type": "ml.p3.2xlarge",
        "current_group_name": "gpu",
        "hosts": ["algo-1", "algo-2", "algo-3"],
        "instance_groups": [
            {"instance_group_name": "cpu", "instance_type": "ml.c5.xlarge", "hosts": ["algo-1", "algo-2"]},
            {"instance_group_name": "gpu", "instance_type": "ml.p3.2xlarge", "hosts": ["algo-3"]},
        ],
        "network_interface_name": "eth0",
        "topology": None,
    }
    assert [list(json.loads(host.files["inputdataconfig.json"])) for host in hosts] == [["a"], ["a"], ["a", "b"]]


@pytest.mark.effect("TrainingJobName", "Environment")
def test_the_environment_is_the_platforms_and_the_jobs() -> None:
    host = only_host(a_job(RoleArn=ROLE, Environment={"SEED": "1", "AWS_REGION": "mars"}))

    assert dict(host.environment) == {
        "TRAINING_JOB_NAME": "job-1",
        "TRAINING_JOB_ARN": "arn:aws:sagemaker:us-west-2:123456789012:training-job/job-1",
        "AWS_REGION": "mars",
        "AWS_EXECUTION_ENV": "AWS_ECS_EC2",
        "SAGEMAKER_METRICS_DIRECTORY": "/opt/ml/output/metrics/sagemaker",
        "SAGEMAKER_MANAGED_WARMPOOL_CACHE_DIRECTORY": "/opt/ml/sagemaker/warmpoolcache",
        "DMLC_INTERFACE": "eth0",
        "SEED": "1",
    }


def test_a_job_without_a_role_has_twelve_zeros_for_an_account() -> None:
    arn = only_host(a_job()).environment["TRAINING_JOB_ARN"]

    assert arn == "arn:aws:sagemaker:us-west-2:000000000000:training-job/job-1"


def test_the_platform_sets_nothing_that_the_toolkit_derives() -> None:
    names = set(only_host(a_job()).environment)

    assert not {name for name in names if name.startswith("SM_")}
    assert not names & {"CURRENT_HOST", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID"}


@pytest.mark.parametrize(
    ("given", "entrypoint", "command"),
    [
        ({}, None, ("train",)),
        ({"ContainerEntrypoint": ["python", "go.py"]}, ("python", "go.py"), ()),
        ({"ContainerArguments": ["--fast"]}, None, ("--fast",)),
        ({"ContainerEntrypoint": ["python"], "ContainerArguments": ["go.py"]}, ("python",), ("go.py",)),
    ],
)
def test_train_is_given_only_where_the_job_says_nothing_else(
    given: dict[str, list[str]], entrypoint: tuple[str, ...] | None, command: tuple[str, ...]
) -> None:
    host = only_host(a_job(AlgorithmSpecification={"TrainingImage": "i", "TrainingInputMode": "File"} | given))

    assert (host.entrypoint, host.command) == (entrypoint, command)
