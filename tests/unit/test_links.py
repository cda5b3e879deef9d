"""A directory linked to S3: what is here of it, and what is fetched."""

import errno
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from local_mode import links
from local_mode.buckets import Folder
from local_mode.inputs.linked import Link, link_of
from local_mode.links import DataRepository, HydrationInterrupted, Survey
from local_mode.mounts import Refusal
from local_mode.object_store import InputRefused, S3Object
from local_mode.place import FileSystem
from tests.fakes import a_place
from tests.linked import DATA_SET, CountingStore, Linked, Told, never
from training_job.errors import DiskFull, MachineCannot
from training_job.s3_uri import S3Uri

ROOT = Path(__file__).parents[2]


@pytest.fixture
def linked(tmp_path: Path) -> Linked:
    return Linked(tmp_path)


def missing(found: Survey) -> list[str]:
    return [entry.path for entry in found.missing]


# What is here


def test_before_anything_is_fetched_everything_is_missing_and_nothing_is_made(linked: Linked) -> None:
    found = linked.repository.look()

    assert missing(found) == ["other", "train/2", "train/a/0", "train/a/1"]
    assert (found.objects, found.size, found.is_whole) == (4, 14, False)
    assert not linked.directory.exists()


def test_every_object_becomes_a_file_with_its_content_and_time(linked: Linked) -> None:
    found, fetched = linked.hydrate()

    assert (found.objects, fetched) == (4, 4)
    assert linked.files() == DATA_SET
    source, made = linked.bucket / "datasets/train/2", linked.directory / "train/2"
    assert made.stat().st_mtime_ns == source.stat().st_mtime_ns
    assert linked.repository.look().is_whole


def test_what_is_here_is_not_read_again(linked: Linked) -> None:
    linked.hydrate()
    linked.store.reads.clear()

    found, fetched = linked.hydrate()

    assert (found.here, fetched, linked.store.reads) == (4, 0, [])


def test_only_the_path_that_was_asked_for_is_fetched(linked: Linked) -> None:
    linked.put("train-01/x", "not below train")

    found, fetched = linked.hydrate("train")

    assert (found.objects, fetched) == (3, 3)
    assert sorted(linked.files()) == ["train/2", "train/a/0", "train/a/1"]
    assert linked.repository.look("train").is_whole
    assert not linked.repository.look().is_whole


def test_a_path_may_be_one_file(linked: Linked) -> None:
    linked.hydrate("train/2")

    assert linked.files() == {"train/2": "two"}


def test_an_object_that_changed_in_s3_is_fetched_again(linked: Linked) -> None:
    linked.hydrate()
    linked.put("train/2", "another")

    found, fetched = linked.hydrate()

    assert (missing(found), fetched) == (["train/2"], 1)
    assert linked.files()["train/2"] == "another"


def test_an_object_that_is_deleted_in_s3_stays_here(linked: Linked) -> None:
    linked.hydrate()
    (linked.bucket / "datasets/other").unlink()

    found, _ = linked.hydrate()

    assert found.objects == 3
    assert linked.files()["other"] == "else"


@pytest.mark.parametrize("changed_in_s3", [True, False])
def test_a_file_that_was_changed_here_is_left_and_named(linked: Linked, changed_in_s3: bool) -> None:
    linked.hydrate()
    (linked.directory / "train/2").write_text("mine")
    if changed_in_s3:
        linked.put("train/2", "another")

    found, fetched = linked.hydrate()

    assert (found.kept, fetched, found.is_whole) == (("train/2",), 0, True)
    assert linked.files()["train/2"] == "mine"


@pytest.mark.parametrize("own", ["file", "folder", "link", "file where a folder is needed"])
def test_what_was_here_before_the_link_is_left_and_named(linked: Linked, own: str) -> None:
    linked.directory.mkdir()
    place = linked.directory / "train"
    if own == "file where a folder is needed":
        place.write_text("mine")
        expected = ("train/2", "train/a/0", "train/a/1")
    else:
        place.mkdir()
        {
            "file": lambda: (place / "2").write_text("mine"),
            "folder": (place / "2").mkdir,
            "link": lambda: (place / "2").symlink_to("nothing"),
        }[own]()
        expected = ("train/2",)

    found, _ = linked.hydrate()

    assert found.kept == expected
    assert linked.files()["other"] == "else"
    assert "two" not in linked.files().values()


def test_a_lost_state_is_found_again_from_sizes_and_times(linked: Linked) -> None:
    linked.hydrate()
    linked.repository.__exit__()
    for file in linked.link.state.parent.glob("link.db*"):
        file.unlink()
    linked.repository = DataRepository(linked.link, linked.store)

    assert linked.repository.look().here == 4

    linked.put("train/2", "another")
    assert missing(linked.repository.look()) == ["train/2"]


def test_a_file_that_was_deleted_outside_a_job_is_fetched_again(linked: Linked) -> None:
    linked.hydrate()
    (linked.directory / "train/2").unlink()

    _, fetched = linked.hydrate()

    assert fetched == 1


def test_keys_that_no_directory_can_hold_are_refused_by_name(linked: Linked) -> None:
    class Odd(CountingStore):
        def listed(self, prefix: str) -> list[S3Object]:
            return [S3Object(f"{prefix}a", 1, "1"), S3Object(f"{prefix}a/b", 1, "2"), S3Object(f"{prefix}c//d", 1, "3")]

    repository = DataRepository(linked.link, Odd(linked.bucket))

    with pytest.raises(
        InputRefused, match=r"s3://my-bucket/datasets: .*'datasets/c//d' holds an empty part.*is a file"
    ):
        repository.look()


# Fetching that does not end well


def test_an_interrupted_hydration_leaves_whole_files_and_goes_on_from_there(tmp_path: Path) -> None:
    linked = Linked(tmp_path, {f"{number:03}": str(number) * 100 for number in range(200)})
    stop = threading.Event()
    linked.store.before = lambda _: stop.set() if len(linked.store.reads) > 50 else None

    with pytest.raises(HydrationInterrupted, match=r"interrupted: \d+ of 200 objects were fetched and stay"):
        linked.repository.hydrate(linked.repository.look(), Told(), stop.is_set)

    kept = linked.files()
    assert 0 < len(kept) < 200
    assert all(text == str(int(name)) * 100 for name, text in kept.items())
    linked.store.before = None
    assert linked.hydrate()[1] == 200 - len(kept)


def test_a_killed_hydration_leaves_whole_files_and_its_parts_go_with_the_next(tmp_path: Path) -> None:
    linked = Linked(tmp_path, {"first": "whole", "second": "x" * 1000})
    script = (
        "import os, signal; from pathlib import Path; from tests.linked import *\n"
        "class Killing(CountingStore):\n"
        "    def read(self, found):\n"
        "        if found.key.endswith('second'):\n"
        "            yield b'x'; os.kill(os.getpid(), signal.SIGKILL)\n"
        "        yield from super().read(found)\n"
        f"root = Path({str(tmp_path)!r})\n"
        "link = Link(S3Uri.parse('s3://my-bucket/datasets'), Folder('my-bucket', root / 'bucket'), root / 'fsx', "
        "root / 'link.db')\n"
        "repository = DataRepository(link, Killing(root / 'bucket'))\n"
        "for entry in repository.look().missing: repository.fetch(entry, Told(), never)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(linked.files()) == 2
    assert linked.files()["first"] == "whole"

    _, fetched = linked.hydrate()

    assert fetched == 1
    assert linked.files() == {"first": "whole", "second": "x" * 1000}


def test_too_little_room_is_told_before_anything_is_fetched(linked: Linked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 90, 10))

    with pytest.raises(DiskFull, match="no room"):
        linked.hydrate()

    assert (linked.store.reads, linked.files()) == ([], {})


def test_a_disk_that_fills_up_keeps_what_is_whole_and_no_parts(linked: Linked) -> None:
    def fill(item: S3Object) -> None:
        if item.key.endswith("train/a/1"):
            raise OSError(errno.ENOSPC, "No space left on device")

    linked.store.before = fill
    entries = linked.repository.look().missing
    for entry in entries[:2]:
        linked.repository.fetch(entry, Told(), never)

    with pytest.raises(DiskFull, match="train/a/1: no room"):
        linked.hydrate()

    assert {"other", "train/2"} <= set(linked.files()) <= {"other", "train/2", "train/a/0"}


def test_the_reason_that_ended_a_hydration_is_told_not_what_it_led_to(tmp_path: Path) -> None:
    linked = Linked(tmp_path, {f"{number:03}": "x" for number in range(100)})

    def refuse(item: S3Object) -> None:
        if item.key.endswith("050"):
            raise MachineCannot("access denied")

    linked.store.before = refuse

    with pytest.raises(MachineCannot, match="access denied"):
        linked.hydrate()


def test_an_object_that_changes_after_it_was_listed_is_not_taken_for_what_was_listed(linked: Linked) -> None:
    found = linked.repository.look()
    linked.put("train/2", "longer than it was")

    with pytest.raises(MachineCannot, match="datasets/train/2: was there when"):
        linked.repository.hydrate(found, Told(), never)

    assert "train/2" not in linked.files()


def test_an_object_that_many_want_at_once_is_fetched_once(linked: Linked) -> None:
    entry = linked.repository.look("train/2").missing[0]
    others = [DataRepository(linked.link, linked.store) for _ in range(7)]

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda repository: repository.fetch(entry, Told(), never), [linked.repository, *others]))

    assert sorted(made) == [False] * 7 + [True]
    assert linked.store.reads == ["train/2"]
    assert list(linked.link.state.with_suffix(".locks").iterdir()) == []


def test_a_fetch_is_told_in_objects_and_bytes(linked: Linked) -> None:
    told = Told()

    linked.repository.hydrate(linked.repository.look(), told, never)

    assert (told.asked, told.done) == ((4, 14), 14)


# homeport.toml


def test_a_link_is_the_bucket_that_homeport_toml_says(tmp_path: Path) -> None:
    place = a_place(tmp_path)

    link = link_of(FileSystem(path="data/fsx", mount_name="fsx", link="s3://my-bucket/datasets"), place)

    assert isinstance(link, Link)
    assert (str(link.uri), link.directory) == ("s3://my-bucket/datasets", tmp_path / "data/fsx")
    assert link.bucket == Folder("my-bucket", tmp_path / "data/s3/my-bucket")
    assert link.state.parent == place.cache / "links"


def test_two_links_have_two_states(tmp_path: Path) -> None:
    place = a_place(tmp_path)
    mappings = [
        FileSystem(path=path, link=uri) for path in ("one", "two") for uri in ("s3://my-bucket", "s3://my-bucket/a")
    ]

    states = {link.state for mapping in mappings if isinstance(link := link_of(mapping, place), Link)}

    assert len(states) == 4


def test_a_link_to_a_bucket_that_nobody_mapped_says_how_to(tmp_path: Path) -> None:
    refusal = link_of(FileSystem(path="data/fsx", link="s3://my-bucked/a"), a_place(tmp_path))

    assert isinstance(refusal, Refusal)
    assert "did you mean 'my-bucket'" in refusal.why


def test_without_a_link_there_is_none(tmp_path: Path) -> None:
    assert link_of(FileSystem(path="data/fsx"), a_place(tmp_path)) is None


def test_a_bucket_may_be_linked_whole(tmp_path: Path) -> None:
    linked = Linked(tmp_path)
    linked.link = Link(S3Uri.parse("s3://my-bucket"), linked.link.bucket, linked.directory, tmp_path / "whole.db")
    linked.repository = DataRepository(linked.link, linked.store)

    linked.hydrate("datasets/train/a")

    assert linked.files() == {"datasets/train/a/0": "zero", "datasets/train/a/1": "one"}


def test_a_directory_that_is_a_file_is_told(linked: Linked) -> None:
    linked.directory.write_text("a file")

    with pytest.raises(MachineCannot, match="fsx: must be a directory"):
        linked.repository.look()


def test_a_linked_directory_may_be_a_link_to_one(linked: Linked, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    linked.directory.symlink_to(tmp_path / "elsewhere")

    linked.hydrate()

    assert (tmp_path / "elsewhere/train/2").read_text() == "two"
