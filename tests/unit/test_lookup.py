"""Objects by their keys, in a directory that plays a bucket."""

from pathlib import Path

import pytest

from local_mode.lookup import looked_up, not_found
from local_mode.object_store import FolderStore, InputRefused
from local_mode.part_files import SUFFIX


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    (tmp_path / "bucket/folder").mkdir(parents=True)
    (tmp_path / "bucket/folder/a").write_bytes(b"A")
    return FolderStore("my-bucket", tmp_path / "bucket")


def test_an_object_is_found_as_it_is_listed(store: FolderStore) -> None:
    assert [store.find("folder/a")] == store.listed("folder/a")


@pytest.mark.parametrize("key", ["folder", "folder/", "folder/b", "folder/a/", "folder/a/b", "", f"folder/x{SUFFIX}"])
def test_what_is_no_object_is_not_found(store: FolderStore, tmp_path: Path, key: str) -> None:
    (tmp_path / f"bucket/folder/x{SUFFIX}").touch()

    assert store.find(key) is None


@pytest.mark.parametrize("key", ["link", "linked/a"])
def test_what_leads_out_of_the_bucket_is_refused(store: FolderStore, tmp_path: Path, key: str) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "bucket/link").symlink_to(tmp_path / "a")
    (tmp_path / "bucket/linked").symlink_to(tmp_path)

    with pytest.raises(InputRefused, match="leads out of the bucket's directory"):
        store.find(key)


def test_only_what_is_there_is_looked_up(store: FolderStore) -> None:
    assert looked_up(store, ["folder/a", "folder/b", "c"]) == {"folder/a": store.find("folder/a")}


def test_what_was_not_found_is_told_with_the_reason(store: FolderStore) -> None:
    keys = ["folder/a", "folder/b", "folder/../c"]

    absent, unfit = not_found(store, keys, looked_up(store, keys))

    assert absent == "s3://my-bucket/folder/b, which is not there"
    assert unfit.startswith(
        "s3://my-bucket/folder/../c, and no file can have this key: it holds an empty part, . or .."
    )


def test_few_keys_of_a_large_folder_list_nothing(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FolderStore, "listed", None)

    assert list(looked_up(store, ["folder/a"])) == ["folder/a"]


def test_many_keys_of_a_folder_are_one_listing(
    store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [f"folder/{number}" for number in range(1000)]
    for key in keys:
        (tmp_path / "bucket" / key).touch()
    monkeypatch.setattr(FolderStore, "find", None)

    assert sorted(looked_up(store, keys)) == sorted(keys)
