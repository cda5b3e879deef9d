"""A plan, as text: everything that running a job here takes, decided."""

import json
from pathlib import Path
from textwrap import dedent

import pytest

from local_mode.console import plan_text
from local_mode.limits import Limits
from local_mode.machine import Machine
from local_mode.resources import Resources
from tests.fakes import LAPTOP, WORKSTATION, a_job, a_plan, an_fsx_channel
from training_job.errors import JobRefused, StrictRefused

HOMEPORT = {"TrainingImage": "homeport/tensorflow", "TrainingInputMode": "File"}


def test_a_plan_is_this_text(tmp_path: Path) -> None:
    job = a_job(
        hosts=2,
        instance_type="ml.p3.16xlarge",
        AlgorithmSpecification=HOMEPORT,
        InputDataConfig=[an_fsx_channel()],
        HyperParameters={"epochs": "3"},
        Tags=[{"Key": "team", "Value": "vision"}],
        EnableNetworkIsolation=True,
    )

    text = plan_text(a_plan(tmp_path, job), LAPTOP)

    resources = (
        '{"current_host":"algo-1","current_instance_type":"ml.p3.16xlarge","current_group_name":"homogeneousCluster",'
        '"hosts":["algo-1","algo-2"],"instance_groups":[{"instance_group_name":"homogeneousCluster",'
        '"instance_type":"ml.p3.16xlarge","hosts":["algo-1","algo-2"]}],"network_interface_name":"eth0",'
        '"topology":null}'
    )
    host = dedent(f"""\
        algo-1 · ip-10-0-1-10.us-west-2.compute.internal · train
          /opt/ml/input/data/train  {tmp_path}/data/by-id/train as fsx:/fsx/train, read-only
          /opt/ml/input/config/hyperparameters.json  {{"epochs":"3"}}
          /opt/ml/input/config/inputdataconfig.json  {{"train":{{"TrainingInputMode":"File","S3DistributionType":\
"FullyReplicated","RecordWrapperType":"None"}}}}
          /opt/ml/input/config/resourceconfig.json  {resources}
          NVIDIA_VISIBLE_DEVICES=void
          TRAINING_JOB_NAME=job-1
          TRAINING_JOB_ARN=arn:aws:sagemaker:us-west-2:000000000000:training-job/job-1
          AWS_REGION=us-west-2
          AWS_EXECUTION_ENV=AWS_ECS_EC2
          SAGEMAKER_METRICS_DIRECTORY=/opt/ml/output/metrics/sagemaker
          SAGEMAKER_MANAGED_WARMPOOL_CACHE_DIRECTORY=/opt/ml/sagemaker/warmpoolcache
          DMLC_INTERFACE=eth0
        """)
    second = host.replace("algo-1 ·", "algo-2 ·").replace("1-10.us", "1-11.us")
    second = second.replace('"current_host":"algo-1"', '"current_host":"algo-2"')
    head, _, ledger = text.partition("What becomes of each field here:\n")
    assert head == (
        "job-1 · homeport/tensorflow:cpu · network homeport-job-1, isolated\n"
        f"{host}{second}"
        "GPUs 4 virtual: no GPU here, 4 CPU ranks a host; as many ranks as you like with --virtual-gpus N\n"
    )
    assert [line.split()[:2] for line in ledger.splitlines()] == [
        ["honoured", "TrainingJobName"],
        ["honoured", "HyperParameters"],
        ["honoured", "AlgorithmSpecification.TrainingImage"],
        ["honoured", "AlgorithmSpecification.TrainingInputMode"],
        ["honoured", "InputDataConfig.ChannelName"],
        ["honoured", "InputDataConfig.DataSource.FileSystemDataSource.FileSystemAccessMode"],
        ["honoured", "InputDataConfig.DataSource.FileSystemDataSource.FileSystemType"],
        ["honoured", "InputDataConfig.DataSource.FileSystemDataSource.DirectoryPath"],
        ["honoured", "ResourceConfig.InstanceCount"],
        ["emulated", "InputDataConfig.DataSource.FileSystemDataSource.FileSystemId"],
        ["emulated", "ResourceConfig.InstanceType"],
        ["emulated", "EnableNetworkIsolation"],
        ["recorded", "Tags"],
    ]


def test_the_same_job_gives_the_same_plan(tmp_path: Path) -> None:
    job = a_job(hosts=3, InputDataConfig=[an_fsx_channel()])

    assert a_plan(tmp_path, job) == a_plan(tmp_path, job)


def test_a_plan_is_plain_json(tmp_path: Path) -> None:
    plan = a_plan(tmp_path, a_job(HyperParameters={"a": "é"}))

    written = json.loads(json.dumps(plan.to_json()))

    assert written["job"] == plan.job.request()
    assert written["hosts"][0]["files"]["/opt/ml/input/config/hyperparameters.json"] == {"a": "é"}
    assert written["run_directory"] == str(tmp_path / "runs/job-1")


@pytest.mark.parametrize(
    ("image", "machine", "chosen"),
    [
        ("homeport/tensorflow", LAPTOP, "homeport/tensorflow:cpu"),
        ("homeport/tensorflow", WORKSTATION, "homeport/tensorflow:gpu"),
        ("homeport/tensorflow:mine", WORKSTATION, "homeport/tensorflow:mine"),
        ("homeport/tensorflow@sha256:0", WORKSTATION, "homeport/tensorflow@sha256:0"),
        ("mine", WORKSTATION, "mine"),
        ("localhost:5000/mine", LAPTOP, "localhost:5000/mine"),
    ],
)
def test_an_image_of_ours_is_for_gpus_where_there_are_some(
    tmp_path: Path, image: str, machine: Machine, chosen: str
) -> None:
    specification = {"TrainingImage": image, "TrainingInputMode": "File"}
    job = a_job(instance_type="ml.p3.2xlarge", AlgorithmSpecification=specification)

    assert a_plan(tmp_path, job, machine).image == chosen


def test_a_cpu_job_on_a_gpu_machine_sees_no_gpu(tmp_path: Path) -> None:
    plan = a_plan(tmp_path, a_job(AlgorithmSpecification=HOMEPORT), WORKSTATION)

    assert plan.image == "homeport/tensorflow:cpu"
    assert plan.hosts[0].environment["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert plan.hosts[0].programs == {}


def test_gpus_are_given_by_id_and_limits_raised(tmp_path: Path) -> None:
    plan = a_plan(tmp_path, a_job(hosts=2, instance_type="ml.p3.8xlarge"), WORKSTATION)

    assert [host.environment["NVIDIA_VISIBLE_DEVICES"] for host in plan.hosts] == ["0,1,2,3", "4,5,6,7"]
    assert [host.gpus.ids for host in plan.hosts] == [("0", "1", "2", "3"), ("4", "5", "6", "7")]
    assert plan.raised_limits


def test_a_rootless_engine_raises_no_limits(tmp_path: Path) -> None:
    machine = Machine(cores=8, memory=1 << 30, gpus=("0",), rootless=True)

    assert not a_plan(tmp_path, a_job(instance_type="ml.p3.2xlarge"), machine).raised_limits


def test_virtual_gpus_are_a_program_in_the_container(tmp_path: Path) -> None:
    plan = a_plan(tmp_path, a_job(instance_type="ml.p3.16xlarge"), virtual_gpus=6)

    assert b"-lt 6 ]" in plan.hosts[0].programs["/usr/bin/nvidia-smi"]
    (entry,) = [entry for entry in plan.ledger if entry.field == "ResourceConfig.InstanceType"]
    assert "6 virtual: no GPU here, 6 CPU ranks a host" in entry.how


def test_live_code_is_mounted_over_the_code_of_the_image(tmp_path: Path) -> None:
    plan = a_plan(tmp_path, live_code=True)

    (mount,) = plan.hosts[0].mounts
    assert (mount.source, mount.target, mount.read_only) == (str(tmp_path / "entrypoints"), "/opt/ml/code", True)


@pytest.mark.parametrize(("instance_type", "gibibytes"), [("ml.t3.medium", 2), ("ml.p3.16xlarge", 4)])
def test_shared_memory_is_half_of_the_types_as_far_as_it_is_here(
    tmp_path: Path, instance_type: str, gibibytes: int
) -> None:
    (host,) = a_plan(tmp_path, a_job(instance_type=instance_type)).hosts

    assert host.resources.shared_memory == gibibytes << 30


@pytest.mark.parametrize(
    ("instance_type", "found", "note"),
    [
        ("ml.t3.medium", Resources(2, 4 << 30, held=True), "held to 2 vCPUs and 4.0 GiB"),
        (
            "ml.m5.12xlarge",
            Resources(4, 8 << 30, held=True),
            "held to 4 vCPUs and 8.0 GiB, all this machine has: the type has 48 vCPUs, 192 GiB",
        ),
    ],
)
def test_a_host_may_be_held_to_what_its_type_has(
    tmp_path: Path, instance_type: str, found: Resources, note: str
) -> None:
    plan = a_plan(tmp_path, a_job(instance_type=instance_type), limit_resources=True)

    assert plan.hosts[0].resources == found
    assert next(entry for entry in plan.ledger if entry.field == "ResourceConfig.InstanceType").how.endswith(note)


def test_hosts_of_a_big_job_have_names_of_their_own(tmp_path: Path) -> None:
    plan = a_plan(tmp_path, a_job(hosts=420))

    names = [host.hostname for host in plan.hosts]
    assert len(set(names)) == 420
    assert names[0] == "ip-10-0-1-10.us-west-2.compute.internal"
    assert max(int(name.split(".")[0].split("-")[4]) for name in names) <= 254


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (
            {"AlgorithmSpecification": {"AlgorithmName": "bert", "TrainingInputMode": "File"}},
            "AlgorithmSpecification.AlgorithmName: needs the AWS Marketplace; give a TrainingImage",
        ),
        (
            {"ResourceConfig": {"InstancePreferences": [{"InstanceType": "ml.m5.large"}]}},
            "ResourceConfig.InstancePreferences: name one InstanceType to run here",
        ),
        (
            {
                "ServerlessJobConfig": {
                    "BaseModelArn": "arn:aws:sagemaker:us-west-2:123456789012:hub-content/h/Model/m/1.0.0",
                    "JobType": "FineTuning",
                }
            },
            "ServerlessJobConfig: has no container that could run here",
        ),
        (
            {
                "AlgorithmSpecification": HOMEPORT
                | {"MetricDefinitions": [{"Name": "a", "Regex": "("}, {"Name": "b", "Regex": "b"}]}
            },
            "metric a: '(' is no regular expression",
        ),
        (
            {"StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 60}},
            "StoppingCondition.MaxWaitTimeInSeconds: is only supported when EnableManagedSpotTraining is set to true",
        ),
    ],
)
def test_what_no_plan_can_give_is_refused(tmp_path: Path, changes: dict[str, object], why: str) -> None:
    with pytest.raises(JobRefused) as refused:
        a_plan(tmp_path, a_job(**changes))

    assert str(refused.value.faults[0]).startswith(why)
    assert refused.value.exit_code == 2


def test_strict_refuses_what_would_change_the_job_in_the_cloud(tmp_path: Path) -> None:
    job = a_job(CheckpointConfig={"S3Uri": "s3://other/c"}, Tags=[{"Key": "a", "Value": "b"}])

    with pytest.raises(StrictRefused, match=r"CheckpointConfig: bucket other is mapped nowhere") as refused:
        a_plan(tmp_path, job, strict=True)

    assert refused.value.exit_code == 6
    assert "Tags" not in str(refused.value)


def test_strict_has_nothing_against_a_job_that_changes_nothing(tmp_path: Path) -> None:
    a_plan(tmp_path, a_job(Tags=[{"Key": "a", "Value": "b"}], EnableManagedSpotTraining=False), strict=True)


def test_a_job_that_asks_for_smddp_is_told_that_it_gets_an_emulation(tmp_path: Path) -> None:
    asked, not_asked = (
        a_job(HyperParameters={"sagemaker_distributed_dataparallel_enabled": enabled}) for enabled in ("true", "false")
    )

    with_smddp, without = (
        next(entry for entry in a_plan(tmp_path, job).ledger if entry.field == "HyperParameters")
        for job in (asked, not_asked)
    )

    assert with_smddp.kind == "emulated"
    assert "smdistributed.dataparallel is an emulation" in with_smddp.how
    assert (without.kind, without.how) == ("honoured", "hyperparameters.json")


def test_a_spot_job_is_strict_only_if_it_is_interrupted_here_too(tmp_path: Path) -> None:
    spot = a_job(EnableManagedSpotTraining=True)

    with pytest.raises(StrictRefused, match="EnableManagedSpotTraining: interrupted only by --interrupt-after"):
        a_plan(tmp_path, spot, strict=True)

    plan = a_plan(tmp_path, spot, strict=True, interrupt_after=(60.0, 30.0))
    (entry,) = [entry for entry in plan.ledger if entry.field == "EnableManagedSpotTraining"]
    assert entry.kind == "emulated"
    assert "after 60 s, then 30 s of training" in entry.how


def test_the_limits_of_a_job_are_in_its_plan(tmp_path: Path) -> None:
    stopping = {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 90}
    job = a_job(StoppingCondition=stopping, EnableManagedSpotTraining=True, RetryStrategy={"MaximumRetryAttempts": 3})

    assert a_plan(tmp_path, job, interrupt_after=(5.0,)).limits == Limits(60, 90, (5.0,), 3)
    assert a_plan(tmp_path).limits == Limits(86_400)
