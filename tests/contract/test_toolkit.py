"""SageMaker's own toolkit reads the files we write: its Environment, in the version that the images carry."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from local_mode.gpus import STUB_PATH
from local_mode.plan import HostPlan
from tests.fakes import NOW, REGION, a_job, a_plan, an_fsx_channel, an_s3_channel
from training_job.job_file import read_job
from training_job.model import TrainingJob

# What the toolkit makes of a host, as JSON. It finds the tree by SAGEMAKER_BASE_DIR.
_READ = """
import json, os
from sagemaker_training.environment import Environment
env = Environment()
print(json.dumps({
    "hosts": env.hosts, "current_host": env.current_host, "master": env.master_hostname, "is_master": env.is_master,
    "hyperparameters": env.hyperparameters, "channels": env.channel_input_dirs, "group": env.current_instance_group,
    "group_hosts": env.current_instance_group_hosts, "distribution_hosts": env.distribution_hosts,
    "distribution_groups": env.distribution_instance_groups, "is_hetero": env.is_hetero, "gpus": env.num_gpus,
    "framework": env.additional_framework_parameters, "input_data_config": env.input_data_config,
    "instance_type": env.current_instance_type, "interface": env.network_interface_name, "job": env.job_name,
    "log_level": env.log_level, "arguments": env.to_cmd_args(), "variables": env.to_env_vars(),
    "region": os.environ["SAGEMAKER_REGION"],
}))
"""

Read = Callable[[TrainingJob], list[dict[str, Any]]]


@pytest.fixture
def read(tmp_path: Path, toolkit: Path) -> Read:
    """What the toolkit sees on every host of a job."""

    def seen(host: HostPlan) -> dict[str, Any]:
        root = tmp_path / host.host
        for path, content in {**host.files, **host.programs}.items():
            file = root / path.removeprefix("/opt/ml").lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
            file.chmod(0o755)
        path = f"{root}{Path(STUB_PATH).parent}:{os.environ['PATH']}"
        environment = host.environment | {"SAGEMAKER_BASE_DIR": str(root), "PYTHONPATH": str(toolkit), "PATH": path}
        done = subprocess.run(
            [sys.executable, "-c", _READ], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    return lambda job: [seen(host) for host in a_plan(tmp_path, job).hosts]


@pytest.fixture
def job_file(tmp_path: Path) -> Callable[[str], TrainingJob]:
    """A job from the text of its file."""

    def job(text: str) -> TrainingJob:
        path = tmp_path / "job.toml"
        path.write_text(text)
        return read_job(path, now=NOW, region=REGION)

    return job


@pytest.mark.effect(
    "HyperParameters", "InputDataConfig.ChannelName", "InputDataConfig.ContentType", "ResourceConfig.InstanceType"
)
def test_one_host_is_read_as_it_was_meant(read: Read, tmp_path: Path, job_file: Callable[[str], TrainingJob]) -> None:
    (seen,) = read(
        job_file(
            """
            name = "cifar10"
            image = "homeport/tensorflow"
            entry_point = "cifar10/train.py"
            instance_type = "ml.p3.8xlarge"
            container_log_level = 10
            [distribution.mpi]
            enabled = true
            [hyperparameters]
            epochs = 3
            batch-size = 32
            learning_rate = 0.1
            optimizer = "adam"
            augment = false
            layers = [1, 2]
            n = 5
            [inputs]
            train = "fsx://training-data/train"
            validation = { uri = "s3://my-bucket/validation", content_type = "text/csv" }
            """
        )
    )

    assert seen["hosts"] == ["algo-1"]
    assert (seen["current_host"], seen["master"], seen["is_master"]) == ("algo-1", "algo-1", True)
    assert seen["hyperparameters"] == {
        "epochs": 3,
        "batch-size": 32,
        "learning_rate": 0.1,
        "optimizer": "adam",
        "augment": False,
        "layers": [1, 2],
        "n": 5,
    }
    assert seen["channels"] == {
        "train": f"{tmp_path}/algo-1/input/data/train",
        "validation": f"{tmp_path}/algo-1/input/data/validation",
    }
    assert seen["input_data_config"]["validation"] == {
        "ContentType": "text/csv",
        "TrainingInputMode": "File",
        "S3DistributionType": "FullyReplicated",
        "RecordWrapperType": "None",
    }
    assert seen["gpus"] == 4
    assert (seen["instance_type"], seen["interface"], seen["region"]) == ("ml.p3.8xlarge", "eth0", REGION)
    assert (seen["job"], seen["log_level"]) == ("cifar10-20261121-101530", 10)
    assert seen["framework"] == {
        "sagemaker_mpi_enabled": True,
        "sagemaker_mpi_custom_mpi_options": "",
    }
    assert seen["arguments"] == [
        "--augment", "False", "--batch-size", "32", "--epochs", "3", "--layers", "[1, 2]",
        "--learning_rate", "0.1", "-n", "5", "--optimizer", "adam",
    ]  # fmt: skip
    told = seen["variables"]
    assert {name: told[name] for name in ("SM_USER_ENTRY_POINT", "SM_MODULE_NAME", "SM_NUM_GPUS", "SM_LOG_LEVEL")} == {
        "SM_USER_ENTRY_POINT": "cifar10/train.py",
        "SM_MODULE_NAME": "cifar10/train",
        "SM_NUM_GPUS": "4",
        "SM_LOG_LEVEL": "10",
    }
    assert told["SM_HOSTS"] == '["algo-1"]'
    assert told["SM_CHANNELS"] == '["train","validation"]'
    assert told["SM_CHANNEL_TRAIN"] == f"{tmp_path}/algo-1/input/data/train"
    assert (told["SM_HP_EPOCHS"], told["SM_HP_BATCH-SIZE"], told["SM_HP_OPTIMIZER"]) == ("3", "32", "adam")
    assert told["SM_CURRENT_INSTANCE_TYPE"] == "ml.p3.8xlarge"
    assert told["SM_CURRENT_INSTANCE_GROUP"] == "homogeneousCluster"
    assert told["SM_MODEL_DIR"] == f"{tmp_path}/algo-1/model"
    assert "SM_TOPOLOGY" not in told


@pytest.mark.parametrize(
    ("distribution", "flag"),
    [
        ("mpi", "sagemaker_mpi_enabled"),
        ("smdistributed.dataparallel", "sagemaker_distributed_dataparallel_enabled"),
    ],
)
def test_three_hosts_agree_who_leads(
    read: Read, job_file: Callable[[str], TrainingJob], distribution: str, flag: str
) -> None:
    hosts = read(
        job_file(
            f"""
            name = "x"
            image = "i"
            entry_point = "train.py"
            instance_type = "ml.p3.16xlarge"
            instance_count = 3
            [distribution.{distribution}]
            enabled = true
            """
        )
    )

    everyone = ["algo-1", "algo-2", "algo-3"]
    assert [seen["current_host"] for seen in hosts] == everyone
    assert [seen["is_master"] for seen in hosts] == [True, False, False]
    for seen in hosts:
        assert seen["hosts"] == seen["distribution_hosts"] == seen["group_hosts"] == everyone
        assert seen["master"] == "algo-1"
        assert seen["distribution_groups"] == ["homogeneousCluster"]
        assert seen["framework"][flag] is True
        assert not seen["is_hetero"]
    if flag != "sagemaker_mpi_enabled":
        assert hosts[0]["framework"]["sagemaker_instance_type"] == "ml.p3.16xlarge"


@pytest.mark.effect("ResourceConfig.InstanceGroups")
def test_groups_of_a_heterogeneous_cluster_are_told_apart(read: Read, job_file: Callable[[str], TrainingJob]) -> None:
    hosts = read(
        job_file(
            """
            name = "x"
            image = "i"
            entry_point = "train.py"
            instance_groups = [
                { instance_group_name = "cpu", instance_type = "ml.c5.xlarge", instance_count = 1 },
                { instance_group_name = "gpu", instance_type = "ml.p3.16xlarge", instance_count = 2 },
            ]
            [distribution]
            mpi.enabled = true
            instance_groups = ["gpu"]
            """
        )
    )

    assert [(seen["group"], seen["instance_type"], seen["gpus"]) for seen in hosts] == [
        ("cpu", "ml.c5.xlarge", 0),
        ("gpu", "ml.p3.16xlarge", 4),
        ("gpu", "ml.p3.16xlarge", 4),
    ]
    for seen in hosts:
        assert seen["is_hetero"]
        assert (seen["distribution_groups"], seen["distribution_hosts"]) == (["gpu"], ["algo-2", "algo-3"])
        assert seen["master"] == "algo-2"
    assert json.loads(hosts[0]["variables"]["SM_INSTANCE_GROUPS_DICT"])["gpu"]["hosts"] == ["algo-2", "algo-3"]


def test_a_generic_estimators_hyperparameters_are_read_too(read: Read) -> None:
    job = a_job(
        HyperParameters={"epochs": "3", "optimizer": "adam", "augment": "True"},
        InputDataConfig=[an_s3_channel("a"), an_fsx_channel("b")],
    )

    (seen,) = read(job)

    assert seen["hyperparameters"] == {"epochs": 3, "optimizer": "adam", "augment": "True"}
    assert sorted(seen["channels"]) == ["a", "b"]


def test_a_job_without_anything_is_read(read: Read) -> None:
    (seen,) = read(a_job())

    assert (seen["hyperparameters"], seen["channels"], seen["arguments"], seen["gpus"]) == ({}, {}, [], 0)


def test_source_that_is_sent_is_looked_for_where_it_is_put(
    read: Read, job_file: Callable[[str], TrainingJob], tmp_path: Path
) -> None:
    (tmp_path / "src").mkdir()
    text = 'name = "x"\nimage = "i"\ninstance_type = "ml.m5.large"\nentry_point = "train.py"\nsource_dir = "src"'

    (seen,) = read(job_file(text))

    assert seen["variables"]["SM_MODULE_DIR"] == "/opt/ml/input/data/code/sourcedir.tar.gz"
    assert list(seen["channels"]) == ["code"]
