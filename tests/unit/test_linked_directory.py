"""A linked directory as FUSE asks it: what it shows, what it fetches, and what a job makes of it."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from local_mode.linked_directory import LinkedDirectory
from local_mode.object_store import S3Object
from tests.linked import DATA_SET, Linked


@pytest.fixture
def linked(tmp_path: Path) -> Linked:
    return Linked(tmp_path)


def content(directory: LinkedDirectory, path: str) -> str:
    opened = directory.open(path, os.O_RDONLY)
    try:
        return directory.read(path, 1 << 20, 0, opened).decode()
    finally:
        directory.release(path, opened)


def names(directory: LinkedDirectory, folder: str = "/") -> list[str]:
    return sorted(name for name, _, _ in directory.readdir(folder, 0) if name not in (".", ".."))


def test_a_mount_shows_every_object_and_fetches_none(linked: Linked) -> None:
    directory = linked.mounted()

    assert names(directory) == ["other", "train"]
    assert names(directory, "/train") == ["2", "a"]
    source = (linked.bucket / "datasets/train/2").stat()
    shown = directory.getattr("/train/2")
    assert (shown["st_size"], shown["st_mtime"], shown["st_nlink"]) == (3, source.st_mtime_ns, 1)
    assert linked.store.reads == []


def test_an_open_fetches_a_file_once(linked: Linked) -> None:
    directory = linked.mounted()

    assert [content(directory, "/train/2"), content(directory, "/train/2")] == ["two", "two"]

    assert (linked.store.reads, linked.files()) == (["train/2"], {"train/2": "two"})
    assert names(directory, "/train") == ["2", "a"]


def test_what_a_file_shows_stays_when_it_is_fetched(linked: Linked) -> None:
    directory = linked.mounted()
    before = directory.getattr("/train/2")

    content(directory, "/train/2")

    after = directory.getattr("/train/2")
    ours = ("st_mode", "st_size", "st_mtime", "st_uid", "st_gid", "st_nlink")
    assert [before[name] for name in ours] == [after[name] for name in ours]


def test_a_mount_of_a_path_begins_there(linked: Linked) -> None:
    directory = linked.mounted("train")

    assert names(directory) == ["2", "a"]
    assert content(directory, "/a/1") == "one"
    assert linked.files() == {"train/a/1": "one"}


def test_a_file_that_changed_in_s3_shows_its_new_size_and_is_fetched_when_opened(linked: Linked) -> None:
    linked.hydrate()
    linked.put("train/2", "another")
    directory = linked.mounted()

    assert directory.getattr("/train/2")["st_size"] == len("another")
    assert content(directory, "/train/2") == "another"


def test_a_fetch_that_fails_is_an_error_to_the_reader_and_told_on_stderr(
    linked: Linked, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = linked.mounted()
    (linked.bucket / "datasets/train/2").unlink()

    with pytest.raises(OSError) as refused:  # noqa: PT011 - its number is what counts
        content(directory, "/train/2")

    assert refused.value.errno == errno.EIO
    assert "s3://my-bucket/datasets/train/2: was there when" in capsys.readouterr().err


def test_a_full_disk_is_told_to_the_reader_as_such(linked: Linked) -> None:
    def fill(_: S3Object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    directory = linked.mounted()
    linked.store.before = fill

    with pytest.raises(OSError) as refused:  # noqa: PT011 - its number is what counts
        content(directory, "/train/2")

    assert refused.value.errno == errno.ENOSPC
    assert linked.files() == {}


def test_an_open_that_truncates_fetches_nothing_and_the_file_is_the_jobs(linked: Linked) -> None:
    directory = linked.mounted()

    opened = directory.open("/train/2", os.O_WRONLY | os.O_TRUNC)
    directory.write("/train/2", b"mine", 0, opened)
    directory.release("/train/2", opened)
    directory.truncate("/other", 0)

    assert linked.store.reads == []
    assert linked.files() == {"train/2": "mine", "other": ""}
    assert set(linked.repository.look().let_go) == {"train/2", "other"}


def test_a_truncation_to_a_length_keeps_what_is_before_it(linked: Linked) -> None:
    directory = linked.mounted()

    directory.truncate("/train/2", 2)

    assert linked.files() == {"train/2": "tw"}


@pytest.mark.parametrize("fetched", [True, False])
def test_a_deleted_file_stays_deleted_until_it_is_asked_for_again(linked: Linked, fetched: bool) -> None:
    directory = linked.mounted()
    if fetched:
        content(directory, "/train/2")

    directory.unlink("/train/2")

    assert names(directory, "/train") == ["a"]
    with pytest.raises(FileNotFoundError):
        directory.getattr("/train/2")
    found, _ = linked.hydrate()
    assert (found.let_go, "train/2" in linked.files()) == (("train/2",), False)
    assert names(linked.mounted(), "/train") == ["a"]
    assert linked.hydrate(again=True)[1] == 1
    assert linked.files() == DATA_SET


def test_a_deleted_file_that_had_changed_in_s3_is_gone_here_too(linked: Linked) -> None:
    linked.hydrate()
    linked.put("train/2", "another")
    directory = linked.mounted()

    directory.unlink("/train/2")

    assert "train/2" not in linked.files()
    with pytest.raises(FileNotFoundError):
        directory.getattr("/train/2")


def test_a_renamed_file_comes_along_and_its_object_does_not_come_back(linked: Linked) -> None:
    directory = linked.mounted()

    directory.rename("/train/2", "/moved")

    assert linked.files() == {"moved": "two"}
    assert linked.repository.look().let_go == ("train/2",)


def test_a_rename_over_an_object_takes_its_place(linked: Linked) -> None:
    directory = linked.mounted()
    opened = directory.create("/new", 0o644, os.O_WRONLY)
    directory.write("/new", b"new", 0, opened)
    directory.release("/new", opened)

    directory.rename("/new", "/train/2")

    assert content(directory, "/train/2") == "new"
    assert linked.store.reads == []
    assert linked.hydrate()[0].let_go == ("train/2",)


def test_a_folder_with_objects_is_renamed_when_they_are_all_here(linked: Linked) -> None:
    directory = linked.mounted()
    with pytest.raises(OSError) as refused:  # noqa: PT011 - its number is what counts
        directory.rename("/train", "/moved")
    assert refused.value.errno == errno.EXDEV
    for name in ("2", "a/0", "a/1"):
        content(directory, f"/train/{name}")

    directory.rename("/train", "/moved")

    assert sorted(linked.files()) == ["moved/2", "moved/a/0", "moved/a/1"]
    assert set(linked.repository.look().let_go) == {"train/2", "train/a/0", "train/a/1"}


def test_a_folder_is_removed_when_its_objects_are(linked: Linked) -> None:
    directory = linked.mounted()
    with pytest.raises(OSError, match="not empty"):
        directory.rmdir("/train/a")
    directory.unlink("/train/a/0")
    directory.unlink("/train/a/1")

    directory.rmdir("/train/a")

    assert names(directory, "/train") == ["2"]
    assert names(linked.mounted(), "/train") == ["2"]


def test_what_changes_a_file_without_its_content_fetches_it_first(linked: Linked) -> None:
    directory = linked.mounted()

    directory.chmod("/train/2", 0o600)
    directory.utimens("/train/a/0", (1, 2))
    directory.utimens("/train/a/0", ((1 << 30) - 2, 3))
    directory.link("/again", "/train/a/1")
    directory.symlink("/soft", "train/2")

    assert (linked.directory / "train/2").stat().st_mode & 0o777 == 0o600
    times = (linked.directory / "train/a/0").stat()
    assert (times.st_atime_ns, times.st_mtime_ns) == (1, 3)
    assert directory.getattr("/again")["st_nlink"] == 2
    assert (directory.readlink("/soft"), content(directory, "/again")) == ("train/2", "one")


def test_a_file_of_the_jobs_own_is_a_file_of_the_directory(linked: Linked) -> None:
    directory = linked.mounted()

    directory.mkdir("/made", 0o755)
    directory.release("", directory.create("/made/\udcff", 0o640, os.O_RDWR))
    directory.rename("/made/\udcff", "/made/\udcfe")

    assert [os.fsencode(path.name) for path in (linked.directory / "made").iterdir()] == [b"\xfe"]
    directory.unlink("/made/\udcfe")
    assert names(directory, "/made") == []


def test_parts_of_files_are_not_shown(linked: Linked) -> None:
    directory = linked.mounted()
    (linked.directory / ".x.homeport-part").touch()

    assert names(directory) == ["other", "train"]


def test_many_readers_of_one_object_have_it_fetched_once(linked: Linked) -> None:
    directory = linked.mounted()

    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda _: content(directory, "/train/2"), range(8)))

    assert (set(read), linked.store.reads) == ({"two"}, ["train/2"])
