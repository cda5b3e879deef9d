"""Requests and descriptions of real jobs are read as they stand."""

import copy
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import NOW, REGION, a_request, an_fsx_channel, an_s3_channel
from tests.unit.conftest import ReadFaults, ReadJob
from training_job.errors import JobRefused
from training_job.job_file import read_job

# What sagemaker 2's TensorFlow estimator sends for fit({"train": …}) with SMDDP, its debugger and profiler defaults,
# spot and checkpoints.
TENSORFLOW_ESTIMATOR: dict[str, Any] = {
    "AlgorithmSpecification": {
        "TrainingInputMode": "File",
        "TrainingImage": "763104351884.dkr.ecr.us-west-2.amazonaws.com/tensorflow-training:2.11.0-gpu-py39",
        "EnableSageMakerMetricsTimeSeries": True,
        "MetricDefinitions": [{"Name": "loss", "Regex": "loss: ([0-9\\.]+)"}],
    },
    "OutputDataConfig": {"S3OutputPath": "s3://sagemaker-us-west-2-123456789012/"},
    "TrainingJobName": "tensorflow-training-2026-11-21-10-15-30-123",
    "StoppingCondition": {"MaxRuntimeInSeconds": 86400, "MaxWaitTimeInSeconds": 90000},
    "ResourceConfig": {"VolumeSizeInGB": 30, "InstanceCount": 2, "InstanceType": "ml.p3.16xlarge"},
    "RoleArn": "arn:aws:iam::123456789012:role/service-role/AmazonSageMaker-ExecutionRole-20260101T000000",
    "InputDataConfig": [
        {
            "DataSource": {
                "S3DataSource": {
                    "S3DataType": "S3Prefix",
                    "S3Uri": "s3://my-bucket/train",
                    "S3DataDistributionType": "FullyReplicated",
                }
            },
            "ChannelName": "train",
        },
        {
            "DataSource": {
                "FileSystemDataSource": {
                    "FileSystemId": "fs-0123456789abcdef0",
                    "FileSystemType": "FSxLustre",
                    "DirectoryPath": "/fsx/validation",
                    "FileSystemAccessMode": "ro",
                }
            },
            "ChannelName": "validation",
            "ContentType": "application/x-tfrecord",
        },
    ],
    "VpcConfig": {"Subnets": ["subnet-0123456789abcdef0"], "SecurityGroupIds": ["sg-0123456789abcdef0"]},
    "HyperParameters": {
        "epochs": "3",
        "model_dir": '"s3://sagemaker-us-west-2-123456789012/tensorflow-training/model"',
        "sagemaker_distributed_dataparallel_enabled": "true",
        "sagemaker_instance_type": '"ml.p3.16xlarge"',
        "sagemaker_distributed_dataparallel_custom_mpi_options": '""',
        "sagemaker_submit_directory": '"s3://sagemaker-us-west-2-123456789012/source/sourcedir.tar.gz"',
        "sagemaker_program": '"train.py"',
        "sagemaker_container_log_level": "20",
        "sagemaker_job_name": '"tensorflow-training-2026-11-21-10-15-30-123"',
        "sagemaker_region": '"us-west-2"',
    },
    "EnableManagedSpotTraining": True,
    "CheckpointConfig": {"S3Uri": "s3://my-bucket/checkpoints", "LocalPath": "/opt/ml/checkpoints"},
    "Environment": {"TF_CPP_MIN_LOG_LEVEL": "1"},
    "Tags": [{"Key": "team", "Value": "vision"}],
    "RetryStrategy": {"MaximumRetryAttempts": 2},
    "ExperimentConfig": {},
    "DebugHookConfig": {"S3OutputPath": "s3://sagemaker-us-west-2-123456789012/", "CollectionConfigurations": []},
    "ProfilerConfig": {
        "S3OutputPath": "s3://sagemaker-us-west-2-123456789012/",
        "ProfilingIntervalInMilliseconds": 500,
        "ProfilingParameters": {
            "DetailedProfilingConfig": '{"StartStep": 5, "NumSteps": 1}',
            "LocalPath": "/opt/ml/p/",
        },
        "DisableProfiler": False,
    },
    "ProfilerRuleConfigurations": [
        {
            "RuleConfigurationName": "ProfilerReport-1614000000",
            "RuleEvaluatorImage": "895741380848.dkr.ecr.us-west-2.amazonaws.com/sagemaker-debugger-rules:latest",
            "VolumeSizeInGB": 0,
            "RuleParameters": {"rule_to_invoke": "ProfilerReport"},
        }
    ],
}

# The members that `aws sagemaker describe-training-job` adds.
ANSWER_ONLY: dict[str, Any] = {
    "TrainingJobArn": "arn:aws:sagemaker:us-west-2:123456789012:training-job/tensorflow-training-2026-11-21",
    "ModelArtifacts": {"S3ModelArtifacts": "s3://sagemaker-us-west-2-123456789012/job/output/model.tar.gz"},
    "TrainingJobStatus": "Failed",
    "SecondaryStatus": "Failed",
    "FailureReason": "AlgorithmError: , exit code: 1",
    "CreationTime": "2026-11-21T10:15:30.123000+00:00",
    "TrainingStartTime": 1795256130.123,
    "TrainingEndTime": "2026-11-21T10:22:05.456000-08:00",
    "LastModifiedTime": 1795256525.456,
    "SecondaryStatusTransitions": [
        {
            "Status": "Starting",
            "StartTime": 1795256130.123,
            "EndTime": "2026-11-21T10:17:00+00:00",
            "StatusMessage": "Preparing the instances for training",
        }
    ],
    "FinalMetricDataList": [{"MetricName": "loss", "Value": 0.5, "Timestamp": 1795256500.0}],
    "TrainingTimeInSeconds": 395,
    "BillableTimeInSeconds": 120,
    "DebugRuleEvaluationStatuses": [],
    "ProfilerRuleEvaluationStatuses": [{"RuleConfigurationName": "ProfilerReport-1614000000"}],
    "ProfilingStatus": "Enabled",
    "WarmPoolStatus": {"Status": "Terminated", "ResourceRetainedBillableTimeInSeconds": 0},
    "TuningJobArn": "arn:aws:sagemaker:us-west-2:123456789012:hyper-parameter-tuning-job/t",
    "ResponseMetadata": {"RequestId": "1", "HTTPStatusCode": 200, "RetryAttempts": 0},
}


def test_a_request_of_the_sdk_is_the_job_it_stands_for(read: ReadJob) -> None:
    assert read(TENSORFLOW_ESTIMATOR).request() == TENSORFLOW_ESTIMATOR


def test_a_description_is_the_request_it_answers_to(read: ReadJob) -> None:
    request = {name: value for name, value in TENSORFLOW_ESTIMATOR.items() if name != "Tags"}

    assert read(request | ANSWER_ONLY).request() == request


def test_the_instances_the_service_chose_may_stand_in_a_description(read: ReadJob) -> None:
    resources = {
        "InstancePreferences": [{"InstanceType": "ml.p4d.24xlarge", "InstanceCount": 1}],
        "SelectedInstanceType": "ml.p4d.24xlarge",
        "SelectedInstanceCount": 1,
        "VolumeSizeInGB": 30,
    }

    job = read(a_request(ResourceConfig=resources) | ANSWER_ONLY)

    assert job.request()["ResourceConfig"] == resources


def test_null_is_nothing(read: ReadJob) -> None:
    channel = an_fsx_channel()
    channel["DataSource"]["S3DataSource"] = None
    channel["CompressionType"] = None

    job = read(a_request(InputDataConfig=[channel], RoleArn=None, StoppingCondition=None, Tags=None))

    assert job.request() == a_request(
        InputDataConfig=[an_fsx_channel()],
        StoppingCondition={},
    )


def test_instance_groups_of_a_description_may_come_with_a_count_of_none(read: ReadJob) -> None:
    groups = [{"InstanceType": "ml.m5.xlarge", "InstanceCount": 2, "InstanceGroupName": "all"}]

    job = read(a_request(ResourceConfig={"InstanceCount": 0, "InstanceGroups": groups, "VolumeSizeInGB": 30}))

    assert [group.instance_count for group in job.instance_groups] == [2]


def without(place: str) -> dict[str, Any]:
    return {name: value for name, value in a_request().items() if name != place}


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        ({}, ["TrainingJobName: is needed", "AlgorithmSpecification: is needed", "ResourceConfig: is needed"]),
        (without("TrainingJobName"), ["TrainingJobName: is needed"]),
        (a_request(TrainingJobName="my_job"), ["TrainingJobName: 'my_job' must match "]),
        (a_request(TrainingJobName="a\n"), ["TrainingJobName: 'a\\n' must match "]),
        (a_request(TrainingJobname="a"), ["TrainingJobname: is not known here; did you mean 'TrainingJobName'?"]),
        (
            without("TrainingJobName") | {"training_job_name": "a"},
            ["TrainingJobName: is needed", "training_job_"],
        ),
        (a_request(SourceDir="/etc"), ["SourceDir: is not known here"]),
        (
            a_request(ResourceConfig={"InstanceType": "ml.p3.15xlarge", "InstanceCount": 1}),
            ["ResourceConfig.InstanceType: 'ml.p3.15xlarge' is no training instance type; did you mean"],
        ),
        (
            a_request(ResourceConfig={"InstanceCount": 1}),
            ["ResourceConfig.InstanceType: is needed (or"],
        ),
        (
            a_request(ResourceConfig={"InstanceType": "ml.m5.large"}),
            ["ResourceConfig.InstanceCount: must be 1 or more"],
        ),
        (
            a_request(AlgorithmSpecification={"TrainingInputMode": "File"}),
            ["AlgorithmSpecification.TrainingImage: exactly one of TrainingImage and AlgorithmName must be given"],
        ),
        (
            a_request(AlgorithmSpecification={"TrainingImage": "i", "AlgorithmName": "a", "TrainingInputMode": "File"}),
            ["AlgorithmSpecification.TrainingImage: exactly one of TrainingImage and AlgorithmName must be given"],
        ),
        (a_request(InputDataConfig=[]), ["InputDataConfig: has 0 entries; at least 1 are needed"]),
        (
            a_request(InputDataConfig=[an_s3_channel(f"c{number}") for number in range(21)]),
            ["InputDataConfig: has 21 entries; 20 are allowed"],
        ),
        (
            a_request(InputDataConfig=[an_s3_channel(), an_s3_channel()]),
            ["InputDataConfig: names a channel twice: training"],
        ),
        (
            a_request(InputDataConfig=[{"ChannelName": "a", "DataSource": {}}]),
            ["InputDataConfig[0].DataSource: exactly one of S3DataSource, FileSystemDataSource and DatasetSource"],
        ),
        (
            a_request(InputDataConfig=[an_s3_channel(S3Uri="s3://b")]),
            ["InputDataConfig[0].S3Uri: is not known here"],
        ),
        (
            a_request(InputDataConfig=[an_fsx_channel(FileSystemType="FSxLuster")]),
            ["InputDataConfig[0].DataSource.FileSystemDataSource.FileSystemType: 'FSxLuster' is none of EFS, "],
        ),
        (
            a_request(InputDataConfig=[an_fsx_channel(FileSystemAccessMod="ro")]),
            [
                "InputDataConfig[0].DataSource.FileSystemDataSource.FileSystemAccessMod: is not known here; "
                "did you mean 'FileSystemAccessMode'?"
            ],
        ),
        (a_request(HyperParameters={"epochs": 3}), ["HyperParameters.epochs: must be text, not 3"]),
        (
            a_request(HyperParameters={"long": "a" * 2501}),
            ["HyperParameters.long: has 2,501 characters; 2,500 are allowed"],
        ),
        (
            a_request(HyperParameters={str(number): "" for number in range(101)}),
            ["HyperParameters: has 101 entries; 100 are allowed"],
        ),
        (a_request(HyperParameters={"a" * 257: ""}), [f"HyperParameters.{'a' * 257}: has 257 characters; 256 are"]),
        (a_request(EnableNetworkIsolation="yes"), ["EnableNetworkIsolation: must be true or false, not 'yes'"]),
        (
            a_request(StoppingCondition={"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 30}),
            ["StoppingCondition.MaxWaitTimeInSeconds: 30 seconds must be at least MaxRuntimeInSeconds (60)"],
        ),
        (a_request(RoleArn="me"), ["RoleArn: has 2 characters; at least 20 are needed"]),
        (
            a_request(ResourceConfig={"InstanceGroups": [{"InstanceGroupName": "a"}]}),
            [
                "ResourceConfig.InstanceGroups[0].InstanceType: is needed",
                "ResourceConfig.InstanceGroups[0].InstanceCount: is needed",
            ],
        ),
        (
            a_request(
                ResourceConfig={
                    "InstanceGroups": [
                        {"InstanceGroupName": "a", "InstanceType": "ml.m5.large", "InstanceCount": count}
                        for count in (1, 2)
                    ]
                }
            ),
            ["ResourceConfig.InstanceGroups: each group needs a name of its own"],
        ),
    ],
)
def test_a_wrong_request_is_told_in_its_own_words(
    faults: ReadFaults, request_: dict[str, Any], told: list[str]
) -> None:
    found = faults(request_)

    assert len(found) == len(told)
    assert all(fault.startswith(beginning) for fault, beginning in zip(found, told, strict=True)), found


def test_half_a_character_is_refused(faults: ReadFaults) -> None:
    (fault,) = faults(a_request(HyperParameters={"a": "\ud800"}))

    assert "Invalid JSON" in fault


def test_a_request_on_the_command_line_is_told_by_its_flag(faults: ReadFaults) -> None:
    assert faults(a_request(), instance_count=0, settings=("Tagss=[]",)) == [
        "--instance-count: must be 1 or more",
        "--set Tagss: is not known here; did you mean 'Tags'?",
    ]


JUNK: list[Any] = [None, True, -1, 0, 10**30, 1.5, "", "x", "\u00e9\u0000", [], [None], [[]], {}, {"x": 1}, [{}], [1]]


def members(value: Any, place: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The place of everything inside a request."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place] * bool(place) + [found for key, below in inner for found in members(below, (*place, key))]


@pytest.mark.parametrize("place", members(TENSORFLOW_ESTIMATOR), ids=lambda place: ".".join(map(str, place)))
def test_whatever_stands_in_a_request_is_a_job_or_a_refusal(
    monkeypatch: pytest.MonkeyPatch, place: tuple[str | int, ...]
) -> None:
    for junk in JUNK:
        request = copy.deepcopy(TENSORFLOW_ESTIMATOR)
        inner: Any = request
        for step in place[:-1]:
            inner = inner[step]
        inner[place[-1]] = junk
        text = json.dumps(request)
        # Thousands of files take seconds to write.
        monkeypatch.setattr(Path, "read_text", lambda *_, text=text, **__: text)

        with suppress(JobRefused):
            read_job(Path("request.json"), now=NOW, region=REGION)
