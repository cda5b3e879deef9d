"""What of a data set is sent, in which pieces, and where it goes."""

import base64
import hashlib
from pathlib import Path

import pytest

from cloud.data_repository import Link
from cloud.datasets import Dataset, destination, files_of, read_dataset
from cloud.place import read_cloud_place
from cloud.upload_plan import (
    PART,
    LocalFile,
    PartDigest,
    RemoteObject,
    checksum_of,
    etags_of,
    import_token,
    parts_of,
    plan_upload,
)
from training_job.errors import JobRefused
from training_job.s3_uri import S3Uri


def a_file(key: str, size: int) -> LocalFile:
    return LocalFile(key, Path(key), size, 0)


def test_what_is_not_there_or_of_another_size_is_sent_and_what_is_alike_is_looked_at() -> None:
    files = [a_file("new", 3), a_file("longer", 5), a_file("alike", 4)]
    there = [RemoteObject("longer", 4, "e"), RemoteObject("alike", 4, "e"), RemoteObject("theirs", 1, "e")]

    plan = plan_upload(files, there)

    assert plan.new == (files[0], files[1])
    assert plan.alike == ((files[2], there[1]),)


@pytest.mark.parametrize("size", [0, 1, PART - 1, PART, PART + 1, 3 * PART, 200 << 30])
def test_the_parts_of_a_file_are_the_whole_of_it_in_order(size: int) -> None:
    parts = parts_of(size)

    assert [part.number for part in parts] == list(range(1, len(parts) + 1))
    assert sum(part.size for part in parts) == size
    assert [part.offset for part in parts[1:]] == [part.offset + part.size for part in parts[:-1]]
    assert len(parts) <= 10_000


def test_a_content_is_known_by_the_etags_that_s3_gives_it() -> None:
    first, second = b"a" * 100, b"b" * 50
    md5s = [hashlib.md5(part, usedforsecurity=False) for part in (first, second, first + second)]

    etags = etags_of([PartDigest.of(first), PartDigest.of(second)], md5s[2].digest())

    joined = hashlib.md5(md5s[0].digest() + md5s[1].digest(), usedforsecurity=False).hexdigest()
    assert etags == {md5s[2].hexdigest(), f"{joined}-2"}


def test_a_content_is_known_by_the_checksum_it_was_sent_with() -> None:
    first, second = PartDigest.of(b"a"), PartDigest.of(b"b")

    assert checksum_of([first]) == base64.b64encode(hashlib.sha256(b"a").digest()).decode()
    assert (
        checksum_of([first, second]) == base64.b64encode(hashlib.sha256(first.sha256 + second.sha256).digest()).decode()
    )


def test_a_part_is_there_if_its_etag_or_its_checksum_says_so() -> None:
    digest = PartDigest.of(b"a")

    assert digest.is_of(hashlib.md5(b"a", usedforsecurity=False).hexdigest(), None)
    assert digest.is_of("encrypted", digest.checksum)
    assert not digest.is_of("encrypted", PartDigest.of(b"b").checksum)
    assert not digest.is_of("encrypted", None)


def test_an_import_of_the_same_objects_is_the_same_import() -> None:
    token = import_token("fs-1", {"a": 1, "b": 2})

    assert token == import_token("fs-1", {"b": 2, "a": 1})
    assert token != import_token("fs-1", {"a": 1, "b": 3})
    assert token != import_token("fs-2", {"a": 1, "b": 2})
    assert len(token) <= 63


@pytest.mark.parametrize(
    ("path", "link", "to", "uri"),
    [
        ("cifar10", None, None, "s3://bucket/data/cifar10"),
        ("cifar10/train", "s3://linked/fsx", None, "s3://linked/fsx/cifar10/train"),
        ("cifar10", "s3://linked/fsx/", None, "s3://linked/fsx/cifar10"),
        ("cifar10", "s3://linked", None, "s3://linked/cifar10"),
        ("", "s3://linked/fsx", None, "s3://linked/fsx"),
        ("cifar10", "s3://linked/fsx", "s3://other/place/", "s3://other/place"),
    ],
)
def test_data_goes_below_what_the_file_system_is_linked_to(
    path: str, link: str | None, to: str | None, uri: str
) -> None:
    assert str(destination(Dataset(Path("/x"), path), "bucket", link, to)) == uri


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("s3://linked/fsx/cifar10", "ns1/cifar10"),
        ("s3://linked/fsx", "ns1"),
        ("s3://linked/fsx2/cifar10", None),
        ("s3://other/fsx/cifar10", None),
    ],
)
def test_a_link_knows_where_objects_show(uri: str, path: str | None) -> None:
    link = Link("fs-1", "/ns1/", "s3://linked/fsx/", frozenset())

    assert link.path_of(S3Uri.parse(uri)) == path


@pytest.mark.parametrize(
    ("events", "by_itself"),
    [((), False), (("NEW",), False), (("NEW", "CHANGED"), True), (("NEW", "CHANGED", "DELETED"), True)],
)
def test_a_link_imports_by_itself_if_it_learns_of_new_and_changed_objects(
    events: tuple[str, ...], by_itself: bool
) -> None:
    assert Link("fs-1", "/", "s3://linked", frozenset(events)).imports_by_itself is by_itself


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "homeport.toml").write_text(
        '[local.file_systems.training-data]\nmount_name = "fsx"\npath = "data/fsx"\n'
    )
    for name in ("data/fsx/cifar10/train", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize(
    ("asked", "path", "file_system"),
    [
        ("data/fsx/cifar10", "cifar10", "training-data"),
        ("data/fsx/cifar10/train", "cifar10/train", "training-data"),
        ("data/fsx", "", "training-data"),
        ("fsx://training-data/cifar10", "cifar10", "training-data"),
        ("fsx://training-data", "", "training-data"),
        ("elsewhere", "elsewhere", None),
    ],
)
def test_a_data_set_has_the_path_that_it_has_in_its_file_system(
    folder: Path, asked: str, path: str, file_system: str | None
) -> None:
    dataset = read_dataset(asked, read_cloud_place(folder, {}), folder)

    assert (dataset.path, dataset.file_system) == (path, file_system)
    assert dataset.directory.is_dir()


def test_the_files_of_a_data_set_are_those_that_links_lead_to_too(folder: Path) -> None:
    dataset = Dataset(folder / "data/fsx/cifar10", "cifar10")
    (dataset.directory / "train/0").write_bytes(b"abc")
    (dataset.directory / "link").symlink_to("train/0")

    files = files_of(dataset, "fsx/cifar10")

    assert {(file.key, file.size) for file in files} == {("fsx/cifar10/train/0", 3), ("fsx/cifar10/link", 3)}


def test_every_file_that_cannot_be_an_object_is_told_at_once(folder: Path) -> None:
    dataset = Dataset(folder / "data/fsx/cifar10", "cifar10")
    (dataset.directory / "a\nb").write_text("")
    (dataset.directory / "gone").symlink_to("nowhere")
    Path(bytes(dataset.directory / "x").decode() + "\udcff").write_text("")

    with pytest.raises(JobRefused) as refused:
        files_of(dataset, "")

    assert len(refused.value.faults) == 3
