"""The request of a good job passes botocore's own validation, once an account has given its role and output path."""

import os
from pathlib import Path
from typing import Any

import pytest
from botocore.model import ServiceModel
from botocore.validate import ParamValidator

from local_mode.place import read_place
from local_mode.plan import Options, plan_run
from tests.fakes import LAPTOP, NOW, REGION, ROLE, a_place
from training_job.job_file import read_job
from training_job.model import TrainingJob

ROOT = Path(__file__).parents[2]
JOB_FILES = sorted(set((ROOT / "entrypoints").glob("*/*.toml")) - set((ROOT / "entrypoints").glob("*/compare.toml")))
MINIMAL = 'name = "x"\nimage = "i"\ninstance_type = "ml.p3.16xlarge"\n'
EVERYTHING = """
name = "all"
image = "mine"
entry_point = "train.py"
role = "arn:aws:iam::123456789012:role/SageMakerRole"
container_arguments = ["--fast"]
instance_type = "ml.g5.xlarge"
instance_count = 2
volume_size = 100
max_run = 3600
max_wait = 7200
use_spot_instances = true
output_path = "s3://my-bucket/out"
subnets = ["subnet-1"]
security_group_ids = ["sg-1"]
checkpoint_s3_uri = "s3://my-bucket/checkpoints"
enable_network_isolation = true
encrypt_inter_container_traffic = true
max_retry_attempts = 3
environment = { SEED = "1" }
tags = { team = "vision" }
metric_definitions = [{ name = "loss", regex = 'loss: ([0-9.]+)' }]
[distribution.mpi]
enabled = true
[hyperparameters]
epochs = 3
[inputs]
train = { uri = "fsx://training-data/train", access = "rw" }
home = "efs://home/me"
more = { uri = "s3://my-bucket/more", distribution = "FullyReplicated", shuffle_seed = 1 }
[request]
DebugHookConfig.S3OutputPath = "s3://my-bucket/debug"
ExperimentConfig.ExperimentName = "e"
"""


def faults_of(job: TrainingJob, service: ServiceModel) -> str:
    account: dict[str, Any] = {"RoleArn": ROLE, "OutputDataConfig": {"S3OutputPath": "s3://my-bucket/output"}}
    request = account | job.request()
    report: str = ParamValidator().validate(request, service.shape_for("CreateTrainingJobRequest")).generate_report()
    return report


@pytest.mark.parametrize("text", [MINIMAL, EVERYTHING, f'{MINIMAL}inputs.train = "s3://my-bucket/train"'])
def test_a_job_file_is_a_request_the_service_takes(text: str, tmp_path: Path, service: ServiceModel) -> None:
    path = tmp_path / "job.toml"
    path.write_text(text)
    job = read_job(path, now=NOW, region=REGION)

    plan = plan_run(job, LAPTOP, a_place(tmp_path), Options())

    assert faults_of(plan.job, service) == ""


@pytest.mark.parametrize("path", JOB_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_job_of_this_repository_is_a_request_the_service_takes(path: Path, service: ServiceModel) -> None:
    job = read_job(path, now=NOW, region=REGION)

    plan = plan_run(job, LAPTOP, read_place(ROOT, {}), Options())

    # A directory of this machine is what a place makes something else of: here a mount, in the cloud an upload.
    channels = [channel for channel in plan.job.channels if not channel.data_source.file_data_source]
    assert faults_of(plan.job.model_copy(update={"input_data_config": tuple(channels)}), service) == ""


def test_this_repository_has_jobs() -> None:
    assert JOB_FILES
    assert all(os.access(path, os.R_OK) for path in JOB_FILES)
