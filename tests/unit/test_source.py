"""The source a cloud job's request names, from a mapped bucket."""

import json
from pathlib import Path

import pytest

from tests.fakes import a_job, a_plan
from training_job.errors import JobRefused
from training_job.script_mode import SOURCE_ARCHIVE


@pytest.mark.parametrize("quoted", [True, False])
def test_an_archive_in_a_mapped_bucket_is_put_where_packed_source_is(tmp_path: Path, quoted: bool) -> None:
    uri = "s3://my-bucket/job/source/sourcedir.tar.gz"
    hyperparameters = {"sagemaker_submit_directory": json.dumps(uri) if quoted else uri, "epochs": "3"}

    plan = a_plan(tmp_path, a_job(HyperParameters=hyperparameters))

    assert plan.source == tmp_path / "data/s3/my-bucket/job/source/sourcedir.tar.gz"
    told = json.loads(plan.hosts[0].files["/opt/ml/input/config/hyperparameters.json"])
    assert told == {"epochs": "3", "sagemaker_submit_directory": json.dumps(SOURCE_ARCHIVE)}
    (entry,) = [entry for entry in plan.ledger if entry.field == "HyperParameters"]
    assert entry.how.endswith(f"the source archive is {plan.source}")


@pytest.mark.parametrize("uri", ["s3://other/s.tar.gz", "s3://my-bucket/../s.tar.gz"])
def test_an_archive_that_cannot_be_had_is_refused(tmp_path: Path, uri: str) -> None:
    with pytest.raises(
        JobRefused, match=r"HyperParameters\.sagemaker_submit_directory: s3://.*(cannot be fetched|nor hold)"
    ):
        a_plan(tmp_path, a_job(HyperParameters={"sagemaker_submit_directory": json.dumps(uri)}))


@pytest.mark.parametrize("value", ["", "/opt/ml/code", '"/opt/ml/code"', "[", "5", '["s3://a"]', "9" * 2500])
def test_source_that_is_in_the_image_stays_there(tmp_path: Path, value: str) -> None:
    plan = a_plan(tmp_path, a_job(HyperParameters={"sagemaker_submit_directory": value}))

    assert plan.source is None
    assert plan.job.hyper_parameters == {"sagemaker_submit_directory": value}


def test_an_archive_never_comes_from_outside_its_bucket(tmp_path: Path) -> None:
    job = a_job(HyperParameters={"sagemaker_submit_directory": "s3://my-bucket//etc/passwd"})

    with pytest.raises(JobRefused, match="neither begin with / nor hold"):
        a_plan(tmp_path, job)
