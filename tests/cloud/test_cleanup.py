"""cleanup removes what this project made, and nothing else of an account."""

from pathlib import Path
from typing import Any

import pytest

from cloud import removal
from cloud.__main__ import main
from tests.cloud.empty_account import REGION, EmptyAccount

TAGS = [{"Key": "homeport", "Value": "homeport"}]
Said = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cloud.stack_commands.time.sleep", lambda _: None)
    (tmp_path / "homeport.toml").write_text(f'[cloud]\nregion = "{REGION}"\n')


def make_what_others_have(account: EmptyAccount, tags: list[dict[str, str]], of: str) -> None:
    """One of each, with tags that are not ours."""
    s3, ec2 = account.client("s3"), account.client("ec2")
    s3.create_bucket(Bucket=f"bucket-{of}", CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_object(Bucket=f"bucket-{of}", Key="fsx/theirs", Body=b"theirs")
    if tags:
        s3.put_bucket_tagging(Bucket=f"bucket-{of}", Tagging={"TagSet": tags})
    account.client("ecr").create_repository(repositoryName=f"{of}/tensorflow", tags=tags)
    account.client("efs").create_file_system(CreationToken=of, Tags=tags)
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    account.client("fsx").create_file_system(
        FileSystemType="LUSTRE", StorageCapacity=1200, SubnetIds=[subnet], Tags=tags or [{"Key": "a", "Value": "b"}]
    )
    account.client("sagemaker").create_notebook_instance(
        NotebookInstanceName=f"notebook-{of}",
        InstanceType="ml.t3.medium",
        RoleArn="arn:aws:iam::123456789012:role/x",
        Tags=tags,
    )


def make_what_is_ours(account: EmptyAccount) -> str:
    """A stack, and what jobs and pushes have put beside it and into it. The bucket's name."""
    main(["stack", "up", "--yes", "--parameter", "Efs=yes"])
    outputs = account.client("cloudformation").describe_stacks(StackName="homeport")["Stacks"][0]["Outputs"]
    bucket = next(output["OutputValue"] for output in outputs if output["OutputKey"] == "BucketName")
    account.client("s3").put_object(Bucket=bucket, Key="fsx/train.tfrecord", Body=b"data")
    account.client("ecr").create_repository(repositoryName="homeport/other", tags=TAGS)
    account.client("sagemaker").create_notebook_instance(
        NotebookInstanceName="beside",
        InstanceType="ml.t3.medium",
        RoleArn="arn:aws:iam::123456789012:role/x",
        Tags=TAGS,
    )
    return str(bucket)


@pytest.fixture
def shared_account(empty_account: EmptyAccount) -> EmptyAccount:
    """An account that others use too: untagged, tagged otherwise, and by another stack of this very project."""
    make_what_others_have(empty_account, [], "untagged")
    make_what_others_have(empty_account, [{"Key": "team", "Value": "homeport"}], "team")
    make_what_others_have(empty_account, [{"Key": "homeport", "Value": "another"}], "another")
    return empty_account


def test_all_that_is_ours_goes_and_nothing_else(shared_account: EmptyAccount, capsys: Said) -> None:
    before = shared_account.counted()
    make_what_is_ours(shared_account)

    assert main(["cleanup", "--yes"]) == 0

    assert shared_account.counted() == before
    for of in ("untagged", "team", "another"):
        theirs = shared_account.client("s3").get_object(Bucket=f"bucket-{of}", Key="fsx/theirs")
        assert theirs["Body"].read() == b"theirs"
    assert "  removed stack homeport\n" in capsys.readouterr().out


def test_without_yes_it_is_told_what_goes_and_nothing_does(shared_account: EmptyAccount, capsys: Said) -> None:
    bucket = make_what_is_ours(shared_account)
    before = shared_account.counted()
    capsys.readouterr()

    assert main(["cleanup"]) == 0

    said = capsys.readouterr().out
    assert f"  - bucket {bucket}: emptied and deleted\n" in said
    assert "  - stack homeport: deleted, with all in it that holds no data\n" in said
    assert "  - repository homeport/other: deleted, with its images\n" in said
    assert "untagged" not in said
    assert "another" not in said
    assert said.endswith("nothing was removed; --yes removes it\n")
    assert shared_account.counted() == before


def test_what_a_stack_that_is_gone_has_left_goes_too(shared_account: EmptyAccount) -> None:
    before = shared_account.counted()
    make_what_is_ours(shared_account)
    main(["stack", "down", "--yes"])

    assert main(["cleanup", "--yes"]) == 0

    assert shared_account.counted() == before


def test_a_bucket_with_versions_and_uploads_that_were_begun_is_emptied(empty_account: EmptyAccount) -> None:
    s3 = empty_account.client("s3")
    s3.create_bucket(Bucket="versions-of-ours", CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_bucket_tagging(Bucket="versions-of-ours", Tagging={"TagSet": TAGS})
    s3.put_bucket_versioning(Bucket="versions-of-ours", VersioningConfiguration={"Status": "Enabled"})
    for content in (b"1", b"2"):
        s3.put_object(Bucket="versions-of-ours", Key="key", Body=content)
    s3.delete_object(Bucket="versions-of-ours", Key="key")
    s3.create_multipart_upload(Bucket="versions-of-ours", Key="large")

    assert main(["cleanup", "--yes"]) == 0

    assert s3.list_buckets()["Buckets"] == []


def test_a_client_that_was_killed_in_the_middle_is_started_again_and_goes_on(
    shared_account: EmptyAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = shared_account.counted()
    make_what_is_ours(shared_account)

    def killed(*_: object) -> None:
        raise SystemExit(137)

    with monkeypatch.context() as patch:
        patch.setattr(removal._Remover, "_repository", killed)
        with pytest.raises(SystemExit):
            main(["cleanup", "--yes"])
    assert shared_account.counted()["stacks"] == before["stacks"]
    assert shared_account.counted()["buckets"] == before["buckets"] + 1

    assert main(["cleanup", "--yes"]) == 0

    assert shared_account.counted() == before


def test_what_cannot_be_removed_is_told_and_does_not_keep_the_rest(
    shared_account: EmptyAccount, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    before = shared_account.counted()
    make_what_is_ours(shared_account)

    def refused(*_: object) -> None:
        raise removal.AccountCannot("AccessDenied")

    monkeypatch.setattr(removal._Remover, "_efs", refused)

    assert main(["cleanup", "--yes"]) == 3

    assert shared_account.counted() == before | {"EFS": before["EFS"] + 1}
    assert "1 could not be removed:\nEFS file system fs-" in capsys.readouterr().err


def test_what_has_lost_its_tag_since_it_was_listed_stays(
    shared_account: EmptyAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = make_what_is_ours(shared_account)
    repository = removal._Remover._repository

    def taken_over(self: Any, name: str) -> None:
        shared_account.client("s3").delete_bucket_tagging(Bucket=bucket)
        repository(self, name)

    monkeypatch.setattr(removal._Remover, "_repository", taken_over)

    assert main(["cleanup", "--yes"]) == 0

    assert bucket in [item["Name"] for item in shared_account.client("s3").list_buckets()["Buckets"]]


def test_an_account_with_nothing_of_ours_is_told_so(shared_account: EmptyAccount, capsys: Said) -> None:
    before = shared_account.counted()

    assert main(["cleanup", "--yes"]) == 0

    assert capsys.readouterr().out == "tagged homeport=homeport in us-west-2: 0 to remove\n"
    assert shared_account.counted() == before
