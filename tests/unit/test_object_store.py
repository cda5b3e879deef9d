"""A directory as a bucket: what a directory has that S3 does not. The rest is in tests/contract/test_s3_endpoint.py."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from local_mode.object_store import FolderStore, InputRefused, ObjectVanished, S3Object
from local_mode.part_files import SUFFIX
from training_job.errors import MachineCannot


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "bucket").mkdir()
    return tmp_path / "bucket"


@pytest.fixture
def store(root: Path) -> FolderStore:
    return FolderStore("mine", root)


@pytest.fixture
def keys(store: FolderStore) -> Callable[[str], list[str]]:
    return lambda prefix: [found.key for found in store.listed(prefix)]


def _file(path: Path, content: bytes = b"content") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_folders_with_nothing_in_them_are_nothing(root: Path, keys: Callable[[str], list[str]]) -> None:
    (root / "train/empty/deep").mkdir(parents=True)

    assert keys("") == keys("train") == keys("train/") == []


def test_what_is_being_written_is_no_object(root: Path, keys: Callable[[str], list[str]]) -> None:
    _file(root / f"train/.abc{SUFFIX}")
    _file(root / f"train/.abc.spool{SUFFIX}/file")
    _file(root / "train/a")

    assert keys("train/") == ["train/a"]


def test_what_is_no_file_is_no_object(root: Path, keys: Callable[[str], list[str]]) -> None:
    os.mkfifo(root / "fifo")

    assert keys("") == []


def test_links_inside_the_bucket_are_what_they_lead_to(root: Path, store: FolderStore) -> None:
    _file(root / "real/a", b"one")
    _file(root / "real/b/c", b"three")
    (root / "folder").symlink_to("real")
    (root / "file").symlink_to(root / "real/b/c")

    found = {item.key: item for item in store.listed("")}

    assert sorted(found) == ["file", "folder/a", "folder/b/c", "real/a", "real/b/c"]
    assert b"".join(store.read(found["file"])) == b"three"
    assert [item.key for item in store.listed("folder/b/")] == ["folder/b/c"]


@pytest.mark.parametrize(
    ("links", "prefix", "why"),
    [
        ({"x": "nothing"}, "", "x is a link to nothing"),
        ({"x": "x"}, "", "x is a link to nothing"),
        ({"x": "../outside"}, "", "leads out of the bucket's directory"),
        ({"x": "../outside/file"}, "", "leads out of the bucket's directory"),
        ({"x": "../outside"}, "x/", "leads out of the bucket's directory"),
        ({"x": "/etc/hostname"}, "", "leads out of the bucket's directory"),
        ({"x": "."}, "", "leads back to a folder it lies in"),
        ({"a/x": ".."}, "", "leads back to a folder it lies in"),
        ({"a/x": "../b", "b/y": "../a"}, "", "leads back to a folder it lies in"),
        ({"a/x": "../a", "c": "a"}, "c/", "leads back to a folder it lies in"),
        ({"a/x": "../b", "b/y": "../a", "c": "a"}, "c/", "leads back to a folder it lies in"),
    ],
)
def test_a_link_that_leads_astray_is_refused(
    root: Path, store: FolderStore, links: dict[str, str], prefix: str, why: str
) -> None:
    _file(root.parent / "outside/file")
    for name, target in links.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).symlink_to(target)

    with pytest.raises(InputRefused, match=why):
        store.listed(prefix)


def test_a_link_that_leads_astray_elsewhere_is_no_fault(root: Path, keys: Callable[[str], list[str]]) -> None:
    _file(root / "train/a")
    (root / "other").symlink_to("/etc")
    (root / "train2").symlink_to("nothing")

    assert keys("train/") == ["train/a"]


def test_a_name_that_is_not_utf_8_is_refused(root: Path, store: FolderStore) -> None:
    _file(root / "train" / os.fsdecode(b"caf\xe9"))

    with pytest.raises(InputRefused, match=r"the name of 'train/caf\\udce9' is not UTF-8"):
        store.listed("train/")


@pytest.mark.parametrize("key", ["../outside", "a/../../outside", "/etc/hostname", "a\0b"])
def test_no_key_leads_out_of_the_bucket(root: Path, store: FolderStore, key: str) -> None:
    source = _file(root.parent / "outside")
    found = S3Object(key, 7, "")

    for act in (
        lambda: list(store.read(found)),
        lambda: store.file(found),
        lambda: store.write(key, source),
        lambda: store.delete([key]),
    ):
        with pytest.raises(InputRefused, match="no file can have this key"):
            act()

    assert source.exists()


def test_the_file_of_an_object_is_the_file(root: Path, store: FolderStore) -> None:
    path = _file(root / "train/a")

    assert store.file(store.listed("")[0]) == path


def test_a_file_that_changes_while_it_is_read_is_told(root: Path, store: FolderStore) -> None:
    path = _file(root / "a", bytes(3 << 20))
    (found,) = store.listed("")
    reading = store.read(found)
    next(reading)
    os.truncate(path, 1 << 20)

    with pytest.raises(ObjectVanished):
        list(reading)


@pytest.mark.parametrize("became", ["a folder", "below a file"])
def test_a_file_that_is_none_any_more_is_told(root: Path, store: FolderStore, became: str) -> None:
    path = _file(root / "a/b")
    (found,) = store.listed("")
    path.unlink()
    if became == "a folder":
        path.mkdir()
    else:
        path.parent.rmdir()
        _file(root / "a")

    with pytest.raises(ObjectVanished):
        list(store.read(found))


@pytest.mark.parametrize(("there", "key"), [("a/b", "a"), ("a", "a/b")])
def test_a_file_and_a_folder_cannot_have_one_name(root: Path, store: FolderStore, there: str, key: str) -> None:
    _file(root / there)
    source = _file(root.parent / "source")

    with pytest.raises(
        MachineCannot, match=rf"s3://mine/{key}: {root / key} cannot be written: (Is a directory|File exists)"
    ):
        store.write(key, source)

    assert [path.name for path in root.rglob("*") if path.is_file()] == [Path(there).name]


def test_deleting_removes_folders_with_the_last_file_and_never_the_bucket(root: Path, store: FolderStore) -> None:
    for key in ("a/b/c", "a/d", "e"):
        _file(root / key)

    store.delete(["a/b/c"])
    assert sorted(path.name for path in root.rglob("*")) == ["a", "d", "e"]

    store.delete(["a/d", "e"])
    assert list(root.iterdir()) == []


def test_deleting_a_folders_name_is_no_fault(root: Path, store: FolderStore) -> None:
    _file(root / "a/b")

    store.delete(["a"])

    assert (root / "a/b").exists()


@pytest.mark.usefixtures("as_anybody")
def test_what_may_not_be_read_is_told(root: Path, store: FolderStore) -> None:
    _file(root / "a").chmod(0)
    (root / "closed").mkdir(mode=0)

    with pytest.raises(MachineCannot, match="a cannot be read by you"):
        list(store.read(store.listed("a")[0]))
    with pytest.raises(MachineCannot, match="closed cannot be read by you"):
        store.listed("")


@pytest.mark.usefixtures("as_anybody")
def test_what_may_not_be_written_is_told(root: Path, store: FolderStore) -> None:
    source = _file(root.parent / "source")
    _file(root / "a")
    root.chmod(0o500)

    with pytest.raises(MachineCannot, match="cannot be written by you"):
        store.write("b", source)
    with pytest.raises(MachineCannot, match="a cannot be removed"):
        store.delete(["a"])
