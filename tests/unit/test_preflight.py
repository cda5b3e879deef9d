"""What a plan needs of this machine is looked at before anything is started."""

from dataclasses import replace
from pathlib import Path

import pytest

from local_mode.preflight import check
from tests.fakes import a_job, a_plan, an_fsx_channel, an_s3_channel
from training_job.errors import JobRefused


def test_directories_that_are_there_are_no_fault(tmp_path: Path) -> None:
    (tmp_path / "data/by-id/train").mkdir(parents=True)

    check(a_plan(tmp_path, a_job(InputDataConfig=[an_fsx_channel()])))


def test_every_missing_directory_is_told_with_what_it_stands_for(tmp_path: Path) -> None:
    (tmp_path / "data/by-id").mkdir(parents=True)
    (tmp_path / "data/by-id/c").touch()
    channels = [an_s3_channel("a"), an_fsx_channel("b"), an_fsx_channel("c", path="/fsx/c")]

    with pytest.raises(JobRefused) as refused:
        check(a_plan(tmp_path, a_job(hosts=2, InputDataConfig=channels)))

    assert [str(fault) for fault in refused.value.faults] == [
        f"/opt/ml/input/data/b: {tmp_path}/data/by-id/train: there is no such directory (it stands for fsx:/fsx/train)",
        f"/opt/ml/input/data/c: {tmp_path}/data/by-id/c is a file: a channel is a directory (it stands for fsx:/fsx/c)",
        f"channel a: {tmp_path}/data/s3/my-bucket: there is no such directory (it stands for s3://my-bucket)",
    ]


def test_a_missing_source_directory_is_told(tmp_path: Path) -> None:
    plan = replace(a_plan(tmp_path), source=tmp_path / "src")

    with pytest.raises(JobRefused, match=r"source_dir: .*/src: there is no such directory"):
        check(plan)


@pytest.mark.usefixtures("as_anybody")
def test_a_directory_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    directory = tmp_path / "data/by-id/train"
    directory.mkdir(parents=True)
    directory.chmod(0)

    with pytest.raises(JobRefused, match="cannot be read by you"):
        check(a_plan(tmp_path, a_job(InputDataConfig=[an_fsx_channel()])))
