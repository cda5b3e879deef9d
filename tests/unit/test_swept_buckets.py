"""What is swept from a bucket before a run, and what is left there."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from local_mode.part_files import SUFFIX, written
from local_mode.preparation import Needs, Prepared, prepared
from tests.fakes import Notes, a_job, a_plan
from training_job.model import TrainingJob

OUTPUT = {"OutputDataConfig": {"S3OutputPath": "s3://my-bucket/models"}}


def ready(root: Path, job: TrainingJob) -> Prepared:
    with ExitStack() as stack:
        return prepared(a_plan(root, job), Needs(Notes(), lambda: False, lambda _: None, stack))  # type: ignore[arg-type]


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    return tmp_path / "data/s3/my-bucket"


def a_part(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".part{SUFFIX}"
    part.write_bytes(b"half")
    return part


def test_parts_of_other_jobs_artifacts_are_swept_and_no_others(tmp_path: Path, bucket: Path) -> None:
    swept = [a_part(bucket / "models/killed" / folder) for folder in ("output", "output/model/1")]
    others = [
        a_part(bucket / folder) for folder in ("", "models", "models/killed", "models/killed/outputs", "x/output")
    ]

    ready(tmp_path, a_job(**OUTPUT))

    assert [part.exists() for part in swept] == [False] * 2
    assert [part.exists() for part in others] == [True] * 5


def test_a_bucket_without_a_prefix_is_swept_where_jobs_put_artifacts(tmp_path: Path, bucket: Path) -> None:
    swept, other = a_part(bucket / "killed/output"), a_part(bucket / "data/set")

    ready(tmp_path, a_job(OutputDataConfig={"S3OutputPath": "s3://my-bucket"}))

    assert (swept.exists(), other.exists()) == (False, True)


def test_what_another_run_writes_there_is_left(tmp_path: Path, bucket: Path) -> None:
    with written(bucket / "models/running/output/model.tar.gz") as part:
        ready(tmp_path, a_job(**OUTPUT))

        assert Path(part.name).exists()


@pytest.mark.parametrize("prefix", ["[a-z]odels", "../models", "*"])
def test_a_prefix_is_no_pattern_and_no_way_out(tmp_path: Path, bucket: Path, prefix: str) -> None:
    others = [a_part(folder / "models/killed/output") for folder in (bucket, bucket.parent)]

    ready(tmp_path, a_job(OutputDataConfig={"S3OutputPath": f"s3://my-bucket/{prefix}"}))

    assert [part.exists() for part in others] == [True, True]


@pytest.mark.parametrize("value", ["s3://my-bucket/im", '"s3://my-bucket/im"'])
def test_the_toolkits_intermediate_files_are_kept_whichever_way_the_bucket_is_written(
    tmp_path: Path, value: str
) -> None:
    plan = a_plan(tmp_path, a_job(HyperParameters={"sagemaker_s3_output": value}))

    assert [(kept.path, str(kept.uri)) for kept in plan.kept] == [
        ("/opt/ml/output/intermediate", "s3://my-bucket/im/job-1/output/intermediate")
    ]
