"""What becomes of each field of a request."""

from typing import Any

import pytest

from local_mode.ledger import LedgerEntry, ledger, treated
from tests.fakes import a_job, an_fsx_channel, an_s3_channel


def entries(notes: dict[str, str] | None = None, **changes: Any) -> dict[str, LedgerEntry]:
    return {entry.field: entry for entry in ledger(a_job(**changes), notes or {}, {})}


def test_every_field_that_is_set_has_one_entry() -> None:
    found = entries(
        InputDataConfig=[an_s3_channel("a"), an_s3_channel("b", ContentType="text/csv"), an_fsx_channel("c")],
        HyperParameters={"a": "1", "b": "2"},
    )

    assert {field: entry.kind for field, entry in found.items()} == {
        "TrainingJobName": "honoured",
        "HyperParameters": "honoured",
        "AlgorithmSpecification.TrainingImage": "honoured",
        "AlgorithmSpecification.TrainingInputMode": "honoured",
        "InputDataConfig.ChannelName": "honoured",
        "InputDataConfig.DataSource.S3DataSource": "emulated",
        "InputDataConfig.ContentType": "honoured",
        "InputDataConfig.DataSource.FileSystemDataSource.FileSystemId": "emulated",
        "InputDataConfig.DataSource.FileSystemDataSource.FileSystemAccessMode": "honoured",
        "InputDataConfig.DataSource.FileSystemDataSource.FileSystemType": "honoured",
        "InputDataConfig.DataSource.FileSystemDataSource.DirectoryPath": "honoured",
        "ResourceConfig.InstanceType": "emulated",
        "ResourceConfig.InstanceCount": "honoured",
    }


def test_a_note_says_more_of_a_field() -> None:
    found = entries({"ResourceConfig.InstanceType": "2 virtual"})

    assert found["ResourceConfig.InstanceType"].how.endswith("under the type's name; 2 virtual")


@pytest.mark.parametrize(
    ("changes", "field", "strict"),
    [
        ({"EnableManagedSpotTraining": True}, "EnableManagedSpotTraining", True),
        ({"EnableManagedSpotTraining": False}, "EnableManagedSpotTraining", False),
        ({"DebugHookConfig": {"S3OutputPath": "s3://b"}}, "DebugHookConfig", False),
        (
            {"MlflowConfig": {"MlflowResourceArn": "arn:aws:sagemaker:us-west-2:123456789012:mlflow-app/a"}},
            "MlflowConfig",
            True,
        ),
        ({"ExperimentConfig": {}}, "ExperimentConfig", False),
        ({"EnableNetworkIsolation": True}, "EnableNetworkIsolation", False),
    ],
)
def test_strict_marks_what_would_change_the_job(changes: dict[str, Any], field: str, strict: bool) -> None:
    assert entries(**changes)[field].strict is strict


def test_a_field_goes_by_the_treatment_that_covers_it() -> None:
    assert treated("VpcConfig.Subnets") == "VpcConfig"


def test_a_field_without_a_treatment_is_an_error() -> None:
    with pytest.raises(KeyError):
        treated("Novelty.Field")
