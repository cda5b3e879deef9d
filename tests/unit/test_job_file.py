"""A good job file is the request that the SageMaker SDK's Estimator would send."""

import json
from pathlib import Path
from textwrap import dedent

import pytest

from tests.fakes import NOW, REGION
from tests.unit.conftest import ReadJob
from training_job.job_file import Changes, dated_name, read_job

MINIMAL = """
name = "cifar10"
image = "homeport/tensorflow"
instance_type = "ml.p3.16xlarge"
"""


def test_three_lines_are_a_job(read: ReadJob) -> None:
    assert read(MINIMAL).request() == {
        "TrainingJobName": "cifar10-20261121-101530",
        "AlgorithmSpecification": {"TrainingImage": "homeport/tensorflow", "TrainingInputMode": "File"},
        "ResourceConfig": {"InstanceType": "ml.p3.16xlarge", "InstanceCount": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 86400},
    }


def test_every_word_of_the_estimator_has_its_place_in_the_request(read: ReadJob) -> None:
    job = read(
        """
        name = "all"
        image_uri = "123456789012.dkr.ecr.us-west-2.amazonaws.com/mine:1"
        input_mode = "FastFile"
        container_entry_point = ["python", "-m", "train"]
        container_arguments = ["--fast"]
        role = "arn:aws:iam::123456789012:role/SageMakerRole"
        instance_type = "ml.g5.xlarge"
        instance_count = 2
        volume_size = 100
        volume_kms_key = "key-1"
        keep_alive_period_in_seconds = 600
        max_run = 3600
        max_wait = 7200
        use_spot_instances = true
        output_path = "s3://my-bucket/out"
        output_kms_key = "key-2"
        subnets = ["subnet-1"]
        security_group_ids = ["sg-1"]
        checkpoint_s3_uri = "s3://my-bucket/checkpoints"
        checkpoint_local_path = "/opt/ml/checkpoints"
        enable_network_isolation = true
        encrypt_inter_container_traffic = true
        max_retry_attempts = 3
        environment = { SEED = "1" }
        tags = { team = "vision" }
        metric_definitions = [{ name = "loss", regex = 'loss: ([0-9.]+)' }]
        """
    )

    assert job.request() == {
        "TrainingJobName": "all-20261121-101530",
        "AlgorithmSpecification": {
            "TrainingImage": "123456789012.dkr.ecr.us-west-2.amazonaws.com/mine:1",
            "TrainingInputMode": "FastFile",
            "MetricDefinitions": [{"Name": "loss", "Regex": "loss: ([0-9.]+)"}],
            "ContainerEntrypoint": ["python", "-m", "train"],
            "ContainerArguments": ["--fast"],
        },
        "RoleArn": "arn:aws:iam::123456789012:role/SageMakerRole",
        "OutputDataConfig": {"S3OutputPath": "s3://my-bucket/out", "KmsKeyId": "key-2"},
        "ResourceConfig": {
            "InstanceType": "ml.g5.xlarge",
            "InstanceCount": 2,
            "VolumeSizeInGB": 100,
            "VolumeKmsKeyId": "key-1",
            "KeepAlivePeriodInSeconds": 600,
        },
        "VpcConfig": {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]},
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 7200},
        "Tags": [{"Key": "team", "Value": "vision"}],
        "EnableNetworkIsolation": True,
        "EnableInterContainerTrafficEncryption": True,
        "EnableManagedSpotTraining": True,
        "CheckpointConfig": {"S3Uri": "s3://my-bucket/checkpoints", "LocalPath": "/opt/ml/checkpoints"},
        "Environment": {"SEED": "1"},
        "RetryStrategy": {"MaximumRetryAttempts": 3},
    }


def test_a_heterogeneous_cluster_is_its_instance_groups(read: ReadJob) -> None:
    job = read(
        """
        name = "two-kinds"
        image = "mine"
        instance_groups = [
            { instance_group_name = "cpu", instance_type = "ml.c5.18xlarge", instance_count = 2 },
            { instance_group_name = "gpu", instance_type = "ml.p3.16xlarge", instance_count = 1 },
        ]
        """
    )

    assert job.request()["ResourceConfig"] == {
        "InstanceGroups": [
            {"InstanceType": "ml.c5.18xlarge", "InstanceCount": 2, "InstanceGroupName": "cpu"},
            {"InstanceType": "ml.p3.16xlarge", "InstanceCount": 1, "InstanceGroupName": "gpu"},
        ]
    }


@pytest.mark.parametrize(
    ("uri", "source"),
    [
        (
            "fsx://training-data/cifar10/train/",
            {
                "NamedFileSystem": {
                    "Name": "training-data",
                    "FileSystemType": "FSxLustre",
                    "FileSystemAccessMode": "ro",
                    "Path": "cifar10/train",
                }
            },
        ),
        (
            "efs://home",
            {
                "NamedFileSystem": {
                    "Name": "home",
                    "FileSystemType": "EFS",
                    "FileSystemAccessMode": "ro",
                    "Path": "",
                }
            },
        ),
        (
            "s3://my-bucket/train",
            {
                "S3DataSource": {
                    "S3DataType": "S3Prefix",
                    "S3Uri": "s3://my-bucket/train",
                    "S3DataDistributionType": "FullyReplicated",
                }
            },
        ),
        ("file:///data/100%20 sure", {"FileDataSource": {"FileUri": "file:///data/100%2520%20sure"}}),
    ],
)
def test_a_channel_is_a_uri(read: ReadJob, uri: str, source: dict[str, object]) -> None:
    job = read(f'{MINIMAL}\n[inputs]\ntrain = "{uri}"')

    assert job.request()["InputDataConfig"] == [{"ChannelName": "train", "DataSource": source}]


def test_a_channel_of_this_machine_starts_from_the_job_files_folder(read: ReadJob, tmp_path: Path) -> None:
    job = read(f'{MINIMAL}\n[inputs]\ntrain = "file://data/../data/train"')

    assert job.channels[0].data_source.file_data_source.file_uri == (tmp_path / "data/train").as_uri()


def test_a_table_gives_a_channel_its_options(read: ReadJob) -> None:
    job = read(
        f"""{MINIMAL}
        [inputs.train]
        uri = "s3://my-bucket/train"
        s3_data_type = "AugmentedManifestFile"
        distribution = "ShardedByS3Key"
        attribute_names = ["image-ref", "class"]
        instance_groups = ["gpu"]
        content_type = "application/x-recordio"
        compression = "Gzip"
        record_wrapping = "RecordIO"
        input_mode = "Pipe"
        shuffle_seed = 7
        """
    )

    assert job.request()["InputDataConfig"] == [
        {
            "ChannelName": "train",
            "DataSource": {
                "S3DataSource": {
                    "S3DataType": "AugmentedManifestFile",
                    "S3Uri": "s3://my-bucket/train",
                    "S3DataDistributionType": "ShardedByS3Key",
                    "AttributeNames": ["image-ref", "class"],
                    "InstanceGroupNames": ["gpu"],
                }
            },
            "ContentType": "application/x-recordio",
            "CompressionType": "Gzip",
            "RecordWrapperType": "RecordIO",
            "InputMode": "Pipe",
            "ShuffleConfig": {"Seed": 7},
        }
    ]


def test_inputs_as_one_uri_are_the_channel_training(read: ReadJob) -> None:
    job = read(f'inputs = "s3://my-bucket/all"\n{MINIMAL}')

    assert [channel.channel_name for channel in job.channels] == ["training"]


def test_the_hyperparameters_of_an_image_of_ones_own_are_plain_text(read: ReadJob) -> None:
    job = read(
        f'{MINIMAL}\n[hyperparameters]\nepochs = 3\nlr = 0.1\noptimizer = "adam"\naugment = true\nlayers = [1, 2]'
    )

    assert job.hyper_parameters == {
        "epochs": "3",
        "lr": "0.1",
        "optimizer": "adam",
        "augment": "True",
        "layers": "[1, 2]",
    }


def test_the_hyperparameters_of_an_entry_point_are_json_and_tell_the_toolkit_its_program(read: ReadJob) -> None:
    job = read(
        f"""{MINIMAL}
        entry_point = "cifar10/train.py"
        container_log_level = 10
        [hyperparameters]
        epochs = 3
        optimizer = "adam"
        started = 2026-11-21
        """
    )

    assert job.hyper_parameters == {
        "epochs": "3",
        "optimizer": '"adam"',
        "started": '"2026-11-21"',
        "sagemaker_program": '"cifar10/train.py"',
        "sagemaker_container_log_level": "10",
        "sagemaker_job_name": '"cifar10-20261121-101530"',
        "sagemaker_region": '"us-west-2"',
    }


def test_a_source_directory_is_sent_through_the_channel_code(read: ReadJob, tmp_path: Path) -> None:
    job = read(f'{MINIMAL}\nentry_point = "train.py"\nsource_dir = "my src"')

    assert job.source_dir == tmp_path / "my src"
    assert job.hyper_parameters["sagemaker_submit_directory"] == '"/opt/ml/input/data/code/sourcedir.tar.gz"'
    assert job.request()["InputDataConfig"] == [
        {
            "ChannelName": "code",
            "DataSource": {"FileDataSource": {"FileUri": f"file://{tmp_path}/my%20src"}},
            "InputMode": "File",
        }
    ]


def test_request_is_merged_last_and_wins(read: ReadJob) -> None:
    job = read(
        f"""{MINIMAL}
        max_run = 60
        [hyperparameters]
        epochs = 3
        [request]
        EnableNetworkIsolation = true
        StoppingCondition.MaxRuntimeInSeconds = 30
        HyperParameters.layers = "2"
        ResourceConfig.VolumeSizeInGB = 5
        """
    )

    request = job.request()
    assert request["EnableNetworkIsolation"] is True
    assert request["StoppingCondition"] == {"MaxRuntimeInSeconds": 30}
    assert request["HyperParameters"] == {"epochs": "3", "layers": "2"}
    assert request["ResourceConfig"] == {
        "InstanceType": "ml.p3.16xlarge",
        "InstanceCount": 1,
        "VolumeSizeInGB": 5,
    }


def test_a_file_is_merged_over_the_one_it_extends(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/base.toml").write_text(
        f'{MINIMAL}\nsubnets = ["subnet-1", "subnet-2"]\n[hyperparameters]\nepochs = 3\nlr = 0.1'
    )
    job_file = tmp_path / "job.toml"
    job_file.write_text(
        'extends = "shared/base.toml"\nname = "over"\nsubnets = ["subnet-3"]\nsecurity_group_ids = ["sg-1"]\n'
        "[hyperparameters]\nepochs = 5"
    )

    job = read_job(job_file, now=NOW, region=REGION)

    assert job.training_job_name == "over-20261121-101530"
    assert job.hyper_parameters == {"epochs": "5", "lr": "0.1"}
    assert job.vpc_config.subnets == ("subnet-3",)


@pytest.mark.parametrize(
    ("setting", "epochs"),
    [
        ("hyperparameters.epochs=1", "1"),
        (" hyperparameters.epochs = 1.5", "1.5"),
        ("hyperparameters.epochs=many", "many"),
        ("hyperparameters.epochs=a=b", "a=b"),
        ('hyperparameters.epochs="1"', "1"),
        ("hyperparameters.epochs=", ""),
        ("hyperparameters.epochs=[1, 2]", "[1, 2]"),
        (f"hyperparameters.epochs={'9' * 5000}"[:2400], "9" * (2400 - len("hyperparameters.epochs="))),
    ],
)
def test_set_changes_a_key_to_a_toml_value_or_to_text(read: ReadJob, setting: str, epochs: str) -> None:
    job = read(f"{MINIMAL}\n[hyperparameters]\nepochs = 3\nlr = 0.1", settings=(setting,))

    assert job.hyper_parameters == {"epochs": epochs, "lr": "0.1"}


def test_set_makes_the_tables_it_needs_and_the_last_one_wins(read: ReadJob) -> None:
    job = read(MINIMAL, settings=("hyperparameters.epochs=1", "hyperparameters.epochs=2", "max_run=9"))

    assert job.hyper_parameters == {"epochs": "2"}
    assert job.stopping_condition.max_runtime_in_seconds == 9


def test_flags_win_over_the_file(read: ReadJob) -> None:
    job = read(MINIMAL, name="mine", instance_type="ml.g5.xlarge", instance_count=4)

    assert job.training_job_name == "mine"
    assert job.resource_config.instance_type == "ml.g5.xlarge"
    assert job.resource_config.instance_count == 4


def test_a_name_on_the_command_line_is_name_enough(read: ReadJob) -> None:
    job = read(MINIMAL.replace('name = "cifar10"', ""), name="mine")

    assert job.training_job_name == "mine"


def test_the_instance_type_of_the_command_line_reaches_the_toolkits(read: ReadJob) -> None:
    text = f'{MINIMAL}\nentry_point = "train.py"\n[distribution.smdistributed.dataparallel]\nenabled = true'

    job = read(text, instance_type="ml.p4d.24xlarge")

    assert job.hyper_parameters["sagemaker_instance_type"] == '"ml.p4d.24xlarge"'


def test_a_long_name_is_cut_so_that_the_date_fits() -> None:
    name = dated_name("a" * 100, NOW)

    assert name == f"{'a' * 47}-20261121-101530"
    assert len(name) == 63


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "job.toml"
    path.write_text(MINIMAL, encoding="utf-8-sig")

    assert read_job(path, now=NOW, region=REGION).training_job_name == "cifar10-20261121-101530"


def test_json_is_known_by_its_first_character_too(tmp_path: Path) -> None:
    path = tmp_path / "request"
    path.write_text(
        dedent("""
        {"TrainingJobName": "mine", "AlgorithmSpecification": {"TrainingImage": "i", "TrainingInputMode": "File"},
         "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1}}
        """)
    )

    assert read_job(path, now=NOW, region=REGION).training_job_name == "mine"


def test_the_command_line_changes_a_request_in_its_own_words(tmp_path: Path) -> None:
    path = tmp_path / "request.json"
    path.write_text(
        json.dumps(
            {
                "TrainingJobName": "there",
                "AlgorithmSpecification": {"TrainingImage": "i", "TrainingInputMode": "File"},
                "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1},
            }
        )
    )
    changes = Changes(
        settings=('HyperParameters.epochs="1"', "StoppingCondition.MaxRuntimeInSeconds=5"),
        name="here",
        instance_type="ml.g5.xlarge",
        instance_count=3,
    )

    job = read_job(path, now=NOW, region=REGION, changes=changes)

    assert job.request() == {
        "TrainingJobName": "here",
        "HyperParameters": {"epochs": "1"},
        "AlgorithmSpecification": {"TrainingImage": "i", "TrainingInputMode": "File"},
        "ResourceConfig": {"InstanceType": "ml.g5.xlarge", "InstanceCount": 3},
        "StoppingCondition": {"MaxRuntimeInSeconds": 5},
    }


def test_the_cifar10_job_of_this_repository_reads() -> None:
    path = Path(__file__).parents[2] / "entrypoints/cifar10/horovod.toml"

    job = read_job(path, now=NOW, region=REGION)

    assert job.hyper_parameters["sagemaker_mpi_enabled"] == "true"
    assert {channel.data_source.named_file_system.name for channel in job.channels} == {"training-data"}
