"""[cloud] of homeport.toml, and the account that it and a stack's outputs make."""

from pathlib import Path
from textwrap import dedent

import pytest

from cloud.account import FileSystem, account_of, planned_account
from cloud.place import read_cloud_place
from tests.fakes import ROLE
from training_job.errors import AccountCannot, JobRefused
from training_job.place_file import Cloud, CloudFileSystem

OUTPUTS = {
    "RoleArn": ROLE,
    "BucketName": "stacks-bucket",
    "SubnetIds": "subnet-1, subnet-2",
    "SecurityGroupIds": "sg-1",
    "FsxName": "training-data",
    "FsxFileSystemId": "fs-0123456789abcdef0",
    "FsxMountName": "abcdef01",
    "EfsFileSystemId": "fs-01234567",
}


def test_a_place_is_what_the_nearest_file_says(tmp_path: Path) -> None:
    (tmp_path / "homeport.toml").write_text(
        dedent("""\
        [local]
        runs = "out"
        anything = "is the other place's to judge"
        [cloud]
        region = "eu-west-1"
        stack = "mine"
        bucket = "my-bucket"
        subnets = ["subnet-1"]
        security_groups = ["sg-1"]
        [cloud.file_systems.training-data]
        id = "fs-0123456789abcdef0"
        mount_name = "fsx"
        """)
    )
    (tmp_path / "below").mkdir()

    place = read_cloud_place(tmp_path / "below", {})

    assert (place.region, place.written.stack_name, place.runs) == ("eu-west-1", "mine", tmp_path / "out")
    assert place.written.file_systems["training-data"].mount_name == "fsx"


def test_without_a_file_there_are_defaults(tmp_path: Path) -> None:
    place = read_cloud_place(tmp_path, {})

    assert (place.region, place.written.stack_name, place.runs) == ("us-west-2", "homeport", tmp_path / "runs")


def test_variables_and_flags_win_over_the_file(tmp_path: Path) -> None:
    place = read_cloud_place(tmp_path, {"HOMEPORT_REGION": "eu-central-1", "HOMEPORT_RUNS": "a"}, Path("b"))

    assert (place.region, place.runs) == ("eu-central-1", tmp_path / "b")


def test_a_region_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JobRefused, match="'oregon' is no region, such as us-west-2"):
        read_cloud_place(tmp_path, {"HOMEPORT_REGION": "oregon"})


def test_every_fault_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "homeport.toml").write_text(
        dedent("""\
        [cloud]
        reigon = "us-west-2"
        role = "Trainer"
        bucket = "My_Bucket"
        subnets = []
        [cloud.file_systems.a]
        id = "fs-0123456789abcdef0"
        [cloud.file_systems.b]
        id = "fs-0123456789abcdef0"
        type = "EFS"
        mount_name = "fsx"
        """)
    )

    with pytest.raises(JobRefused) as refused:
        read_cloud_place(tmp_path, {})

    told = [str(fault) for fault in refused.value.faults]
    assert "homeport.toml:2 cloud.reigon: is not known here; did you mean 'region'?" in told
    assert "homeport.toml:3 cloud.role: has 7 characters; at least 20 are needed" in told
    assert "homeport.toml:4 cloud.bucket: 'My_Bucket' must match [a-z0-9][a-z0-9.-]*[a-z0-9]" in told
    assert "homeport.toml:5 cloud.subnets: has 0 entries; at least 1 are needed" in told
    assert any("cloud.file_systems.a.mount_name: is needed" in each for each in told)
    assert any("cloud.file_systems.b.mount_name: is for FSx for Lustre" in each for each in told)
    assert len(told) == 6


def test_an_account_is_what_the_stack_puts_out() -> None:
    account = account_of(Cloud(), OUTPUTS, region="us-west-2")

    assert (account.account_id, account.role_arn, account.bucket) == ("123456789012", ROLE, "stacks-bucket")
    assert (account.subnets, account.security_groups) == (("subnet-1", "subnet-2"), ("sg-1",))
    assert account.file_systems == {
        "training-data": FileSystem("fs-0123456789abcdef0", "FSxLustre", "abcdef01"),
        "home": FileSystem("fs-01234567", "EFS"),
    }


def test_what_the_file_says_wins() -> None:
    written = Cloud(
        bucket="my-bucket",
        subnets=("subnet-9",),
        file_systems={"training-data": CloudFileSystem(id="fs-99999999", mount_name="fsx")},
    )

    account = account_of(written, OUTPUTS, region="us-west-2")

    assert (account.bucket, account.subnets) == ("my-bucket", ("subnet-9",))
    assert account.file_systems["training-data"] == FileSystem("fs-99999999", "FSxLustre", "fsx")


def test_outputs_that_are_missing_are_named() -> None:
    with pytest.raises(
        AccountCannot, match=r"stack homeport in us-west-2 has no output RoleArn and no output BucketName"
    ):
        account_of(Cloud(), {}, region="us-west-2")

    with pytest.raises(AccountCannot, match=r"no output RoleArn\. .* or name role in \[cloud\]"):
        account_of(Cloud(bucket="my-bucket"), {}, region="us-west-2")


def test_a_planned_account_says_what_the_stack_will() -> None:
    account = planned_account(Cloud(), region="us-west-2", file_systems=[("training-data", "FSxLustre")])

    assert account.role_arn == "<RoleArn of stack homeport>"
    assert account.file_systems["training-data"].id == "<FsxFileSystemId of stack homeport>"
