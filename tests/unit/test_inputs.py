"""A channel and a place give a mount, or the reason why not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from local_mode.buckets import Folder
from local_mode.inputs.file_system import made_up_id
from local_mode.inputs.s3 import S3Channel
from local_mode.mounts import Mount
from local_mode.place import FileSystem
from local_mode.plan import Options, RunPlan, plan_run
from tests.fakes import LAPTOP, a_job, a_place, a_plan, an_fsx_channel, an_s3_channel
from training_job.errors import JobRefused
from training_job.model import TrainingJob
from training_job.s3_uri import S3Uri

ID = "fs-0123456789abcdef0"


def with_channel(channel: dict[str, Any], **changes: Any) -> TrainingJob:
    return a_job(InputDataConfig=[channel], **changes)


def named(name: str, path: str, kind: str = "FSxLustre", access: str = "ro") -> dict[str, Any]:
    source = {"Name": name, "FileSystemType": kind, "FileSystemAccessMode": access, "Path": path}
    return {"ChannelName": "train", "DataSource": {"NamedFileSystem": source}}


def local(path: Path, **changes: Any) -> dict[str, Any]:
    return {"ChannelName": "train", "DataSource": {"FileDataSource": {"FileUri": path.as_uri()}}} | changes


def only_mount(plan: RunPlan) -> Mount:
    (mount,) = plan.hosts[0].mounts
    return mount


def refusal(root: Path, job: TrainingJob) -> str:
    with pytest.raises(JobRefused) as refused:
        a_plan(root, job)
    (fault,) = refused.value.faults
    return str(fault)


def test_a_file_system_by_name_is_its_directory(tmp_path: Path) -> None:
    plan = a_plan(tmp_path, with_channel(named("training-data", "cifar10/train")))

    assert only_mount(plan) == Mount(
        source=str(tmp_path / "data/fsx/cifar10/train"),
        target="/opt/ml/input/data/train",
        read_only=True,
        stands_for="fsx:/fsx/cifar10/train",
    )


def test_a_file_system_by_name_is_in_the_request_as_the_service_knows_it(tmp_path: Path) -> None:
    plan = a_plan(tmp_path, with_channel(named("training-data", "cifar10/train")))

    assert plan.job.request()["InputDataConfig"] == [
        {
            "ChannelName": "train",
            "DataSource": {
                "FileSystemDataSource": {
                    "FileSystemId": made_up_id("training-data"),
                    "FileSystemAccessMode": "ro",
                    "FileSystemType": "FSxLustre",
                    "DirectoryPath": "/fsx/cifar10/train",
                }
            },
        }
    ]


@pytest.mark.effect("InputDataConfig.DataSource.FileSystemDataSource.FileSystemId")
@pytest.mark.parametrize("name", ["by-id", ID])
def test_a_file_system_with_an_id_goes_by_either(tmp_path: Path, name: str) -> None:
    plan = a_plan(tmp_path, with_channel(named(name, "train", access="rw")))

    assert only_mount(plan) == Mount(
        source=str(tmp_path / "data/by-id/train"),
        target="/opt/ml/input/data/train",
        read_only=False,
        stands_for="fsx:/fsx/train",
    )
    source = plan.job.channels[0].data_source.file_system_data_source
    assert source.file_system_id == ID


@pytest.mark.effect(
    "InputDataConfig.DataSource.FileSystemDataSource.FileSystemType",
    "InputDataConfig.DataSource.FileSystemDataSource.DirectoryPath",
)
@pytest.mark.parametrize(("path", "directory"), [("/fsx/a/b", "a/b"), ("/fsx/", ""), ("/fsx", ""), ("//fsx//a/", "a")])
def test_the_mount_name_is_not_part_of_the_directory(tmp_path: Path, path: str, directory: str) -> None:
    plan = a_plan(tmp_path, with_channel(an_fsx_channel(path=path)))

    assert only_mount(plan).source == str(tmp_path / "data/by-id" / directory)


@pytest.mark.effect("InputDataConfig.DataSource.FileSystemDataSource.FileSystemType")
@pytest.mark.parametrize("path", ["datasets/train", ""])
def test_an_efs_has_no_mount_name(tmp_path: Path, path: str) -> None:
    plan = a_plan(tmp_path, with_channel(named("home", path, kind="EFS")))

    assert only_mount(plan).source == str(tmp_path / "data/efs" / path)
    assert only_mount(plan).stands_for == f"efs:/{path}"


@pytest.mark.parametrize(
    ("channel", "why"),
    [
        (an_fsx_channel(path="/train"), "must begin with the file system's mount name: /fsx/train"),
        (an_fsx_channel(path="/"), "must begin with the file system's mount name: /fsx/"),
        (an_fsx_channel(path="/fsx2/train"), "must begin with the file system's mount name: /fsx/fsx2/train"),
        (an_fsx_channel(path="fsx/train"), "DirectoryPath 'fsx/train' must begin with / and hold no .."),
        (an_fsx_channel(path="/fsx/../etc"), "DirectoryPath '/fsx/../etc' must begin with / and hold no .."),
        (an_fsx_channel(FileSystemType="EFS"), "is FSxLustre in "),
        (an_fsx_channel(FileSystemId="fs-0123456789abcdef1"), "did you mean 'fs-0123456789abcdef0'?; add\n"),
        (an_fsx_channel() | {"InputMode": "FastFile"}, "input mode FastFile: file systems are read in File mode only"),
        (named("training-data", "a/../../b"), "must begin with / and hold no .."),
        (named("training-dat", "a"), "file system 'training-dat' is not mapped in "),
        (named("training-dat", "a"), "did you mean 'training-data'?; add\n      [local.file_systems.training-dat]"),
        (named("home", "a"), "[local.file_systems.home] needs a mount_name: FSx paths begin with it"),
        (named("by-id", "a", kind="EFS"), "is FSxLustre in "),
    ],
)
def test_a_file_system_that_cannot_be_had_is_refused_with_the_reason(
    tmp_path: Path, channel: dict[str, Any], why: str
) -> None:
    told = refusal(tmp_path, with_channel(channel))

    assert told.startswith("channel train: ")
    assert why in told


@pytest.mark.parametrize("path", ["a\nb", "a" * 5000])
def test_a_path_no_file_system_can_have_is_refused(tmp_path: Path, path: str) -> None:
    assert refusal(tmp_path, with_channel(named("training-data", path))).startswith("channel train: ")


def test_a_made_up_id_is_well_formed_and_always_the_same() -> None:
    assert made_up_id("training-data") == made_up_id("training-data") != made_up_id("training-date")
    assert len(made_up_id("x")) == len("fs-0123456789abcdef0")


def test_a_channel_of_a_mapped_bucket_is_to_be_staged_for_its_hosts(tmp_path: Path) -> None:
    plan = a_plan(tmp_path, with_channel(an_s3_channel("train", "s3://my-bucket/a/b/")))

    assert plan.channels == (
        S3Channel(
            name="train",
            mode="File",
            uri=S3Uri("my-bucket", "a/b/"),
            data_type="S3Prefix",
            bucket=Folder("my-bucket", tmp_path / "data/s3/my-bucket"),
            hosts=("algo-1",),
        ),
    )


def a_source(**changes: Any) -> dict[str, Any]:
    source = {"S3DataType": "S3Prefix", "S3Uri": "s3://my-bucket/m"} | changes
    return {"DataSource": {"S3DataSource": source}}


def test_pipes_need_the_kernel_they_belong_to(tmp_path: Path) -> None:
    job = with_channel(an_s3_channel(InputMode="Pipe"))

    with pytest.raises(JobRefused, match="input mode Pipe needs an engine on this computer's own kernel"):
        a_plan(tmp_path, job, machine=replace(LAPTOP, same_kernel=False))
    assert a_plan(tmp_path, job).channels[0].mode == "Pipe"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"uri": "s3://other/a"}, "bucket 'other' is not mapped in "),
        ({"uri": "s3://my-bucke/a"}, "did you mean 'my-bucket'?; add\n      [local.buckets.my-bucke]"),
        ({"uri": "s3://my-bucket/../a"}, "the prefix '../a' must neither begin with / nor hold .."),
        ({"uri": "https://my-bucket/a"}, "S3Uri 'https://my-bucket/a' must be s3://bucket/key"),
        ({"CompressionType": "Gzip"}, "CompressionType Gzip is for input mode Pipe, not File"),
        ({"RecordWrapperType": "RecordIO", "InputMode": "FastFile"}, "RecordWrapperType RecordIO is for input mode"),
        (a_source(S3DataType="AugmentedManifestFile"), "AugmentedManifestFile does not go with input mode File: S3Pre"),
        (
            a_source(S3DataType="ManifestFile") | {"InputMode": "FastFile"},
            "does not go with input mode FastFile: S3Pre",
        ),
        (a_source(S3DataType="AugmentedManifestFile") | {"InputMode": "Pipe"}, "AugmentedManifestFile needs Attribute"),
        (a_source(AttributeNames=["a"]), "AttributeNames are for S3DataType AugmentedManifestFile"),
        (a_source(InstanceGroupNames=["gpus"]), "InstanceGroupNames gpus: the job has no such instance group"),
    ],
)
def test_a_bucket_that_cannot_be_had_is_refused_with_the_reason(
    tmp_path: Path, changes: dict[str, Any], why: str
) -> None:
    assert why in refusal(tmp_path, with_channel(an_s3_channel(**changes)))


def test_a_prefix_never_leaves_its_bucket(tmp_path: Path) -> None:
    why = refusal(tmp_path, with_channel(an_s3_channel(uri="s3://my-bucket//etc")))

    assert "the prefix '/etc' must neither begin with / nor hold .." in why


def test_a_directory_of_this_machine_is_read_only(tmp_path: Path) -> None:
    plan = a_plan(tmp_path, with_channel(local(tmp_path / "100% sure")))

    assert only_mount(plan) == Mount(
        source=str(tmp_path / "100% sure"),
        target="/opt/ml/input/data/train",
        read_only=True,
        stands_for=f"file://{tmp_path}/100%25%20sure",
    )


def test_a_directory_of_this_machine_is_read_in_file_mode_only(tmp_path: Path) -> None:
    assert "input mode Pipe: a local directory is read in File mode only" in refusal(
        tmp_path, with_channel(local(tmp_path, InputMode="Pipe"))
    )


@pytest.mark.parametrize("option", [{"CompressionType": "Gzip"}, {"RecordWrapperType": "RecordIO"}])
@pytest.mark.parametrize("channel", [local(Path("/data")), an_fsx_channel("train")], ids=["file", "fsx"])
def test_what_the_ledger_calls_refused_is_refused(
    tmp_path: Path, channel: dict[str, Any], option: dict[str, str]
) -> None:
    assert next(iter(option.values())) in refusal(tmp_path, with_channel(channel | option))


def test_a_data_set_of_a_hub_is_refused(tmp_path: Path) -> None:
    arn = "arn:aws:sagemaker:us-west-2:123456789012:hub-content/hub/DataSet/a/1.0.0"
    channel = {"ChannelName": "train", "DataSource": {"DatasetSource": {"DatasetArn": arn}}}

    assert "cannot be had here" in refusal(tmp_path, with_channel(channel))


def test_every_channel_that_cannot_be_had_is_told_at_once(tmp_path: Path) -> None:
    channels = [an_s3_channel("a", "s3://other/a"), an_fsx_channel("b", path="/b"), an_s3_channel("c")]

    with pytest.raises(JobRefused) as refused:
        a_plan(tmp_path, a_job(InputDataConfig=channels))

    assert [fault.where for fault in refused.value.faults] == ["channel a", "channel b"]


def test_a_file_system_that_is_not_mapped_may_look_like_an_id(tmp_path: Path) -> None:
    assert "file system 'fs-data' is not mapped" in refusal(tmp_path, with_channel(named("fs-data", "a")))


def test_a_name_that_looks_like_an_id_is_a_name(tmp_path: Path) -> None:
    place = replace(a_place(tmp_path), file_systems={"fs-data": FileSystem(path="data/fsx", mount_name="fsx")})

    plan = plan_run(with_channel(named("fs-data", "a")), LAPTOP, place, Options())

    assert only_mount(plan).source == str(tmp_path / "data/fsx/a")
