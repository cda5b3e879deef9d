"""Which directories are kept in step with S3, where they go, and where artifacts go."""

from pathlib import Path
from typing import Any

import pytest

from local_mode.buckets import Folder
from local_mode.kept import KeptDirectory, delivery, kept_directories
from tests.fakes import a_job, a_place


def kept(tmp_path: Path, **asked: Any) -> tuple[KeptDirectory, ...]:
    return kept_directories(a_job(**asked), a_place(tmp_path), tmp_path / "runs" / "a-job")


@pytest.mark.parametrize(
    ("asked", "path", "uri"),
    [
        ({"CheckpointConfig": {"S3Uri": "s3://my-bucket/c"}}, "/opt/ml/checkpoints", "s3://my-bucket/c"),
        ({"CheckpointConfig": {"S3Uri": "s3://my-bucket/c/", "LocalPath": "/ck/"}}, "/ck", "s3://my-bucket/c/"),
        (
            {"TensorBoardOutputConfig": {"S3OutputPath": "s3://my-bucket/t"}},
            "/opt/ml/output/tensorboard",
            "s3://my-bucket/t/{name}/tensorboard-output",
        ),
        (
            {"DebugHookConfig": {"S3OutputPath": "s3://my-bucket/d", "LocalPath": "/tensors"}},
            "/tensors",
            "s3://my-bucket/d/{name}/debug-output",
        ),
        (
            {"ProfilerConfig": {"S3OutputPath": "s3://my-bucket"}},
            "/opt/ml/output/profiler",
            "s3://my-bucket/{name}/profiler-output",
        ),
        (
            {"HyperParameters": {"sagemaker_s3_output": '"s3://my-bucket/out"'}},
            "/opt/ml/output/intermediate",
            "s3://my-bucket/out/{name}/output/intermediate",
        ),
    ],
)
def test_what_a_job_wants_kept_goes_where_the_sdk_looks_for_it(
    tmp_path: Path, asked: dict[str, Any], path: str, uri: str
) -> None:
    (found,) = kept(tmp_path, **asked)

    assert found.path == path
    assert str(found.uri) == uri.format(name=a_job().training_job_name)
    assert found.bucket == Folder("my-bucket", tmp_path / "data/s3/my-bucket")
    assert found.prefix == f"{found.uri.key.rstrip('/')}/"
    assert found.restored == ("CheckpointConfig" in asked)


@pytest.mark.parametrize(
    ("asked", "folder"),
    [
        ({"CheckpointConfig": {"S3Uri": "s3://elsewhere/c"}}, "checkpoints"),
        ({"TensorBoardOutputConfig": {"S3OutputPath": "s3://elsewhere/t"}}, "output/tensorboard"),
    ],
)
def test_what_goes_to_a_bucket_that_nobody_knows_is_kept_in_the_runs_folder(
    tmp_path: Path, asked: dict[str, Any], folder: str
) -> None:
    (found,) = kept(tmp_path, **asked)

    assert found.bucket == Folder("elsewhere", tmp_path / "runs" / "a-job" / folder)
    assert (found.prefix, found.restored) == ("", False)


@pytest.mark.parametrize(
    "asked",
    [
        {"DebugHookConfig": {"S3OutputPath": "s3://elsewhere/d"}},
        {"ProfilerConfig": {"S3OutputPath": "s3://elsewhere/d"}},
        {"ProfilerConfig": {"DisableProfiler": True}},
        {"HyperParameters": {"sagemaker_s3_output": "no json"}},
    ],
)
def test_what_the_sdk_asks_for_unasked_is_kept_only_where_its_bucket_is_known(
    tmp_path: Path, asked: dict[str, Any]
) -> None:
    assert kept(tmp_path, **asked) == ()


@pytest.mark.parametrize("path", ["/opt/../etc", "/opt/ml/../../etc"])
def test_a_local_path_that_leads_elsewhere_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(ValueError, match="must be an absolute path below / without"):
        kept(tmp_path, CheckpointConfig={"S3Uri": "s3://my-bucket/c", "LocalPath": path})


@pytest.mark.parametrize(("bucket", "known"), [("my-bucket", True), ("elsewhere", False)])
def test_artifacts_go_to_a_bucket_that_is_known(tmp_path: Path, bucket: str, known: bool) -> None:
    job = a_job(OutputDataConfig={"S3OutputPath": f"s3://{bucket}/out/"})

    found = delivery(job, a_place(tmp_path))

    assert (str(found.uri) if found else None) == (
        f"s3://my-bucket/out/{job.training_job_name}/output" if known else None
    )
