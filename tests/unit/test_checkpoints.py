"""Directories of containers that are kept in step with S3, and put back from there."""

import errno
import io
import os
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from local_mode import mirror as mirror_module
from local_mode.cache import Cache
from local_mode.checkpoints import CannotSync, Moment, NotKept, Syncing, check_writable
from local_mode.mirror import Mirror, Synced
from local_mode.object_store import FolderStore, InputRefused, ObjectVanished, S3Object
from local_mode.part_files import SUFFIX, sweep
from local_mode.restoring import Restored, restored
from tests.fakes import FakeEngine, FakeHost, Script, a_plan
from training_job.errors import DiskFull, MachineCannot

CHECKPOINTS = "/opt/ml/checkpoints"
PATIENCE = 10  # seconds after which a test that waits for nothing fails


class Bucket(FolderStore):
    """A bucket's directory that knows what was asked of it, and may refuse."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        super().__init__("my-bucket", root)
        self.root = root
        self.writes: list[str] = []
        self.reads: list[str] = []
        self.refuses: Exception | None = None
        self.refused = threading.Event()
        self.wrote = threading.Event()
        self.before_write: Callable[[], None] = lambda: None

    def write(self, key: str, source: Path) -> None:
        self.before_write()
        if self.refuses:
            self.refused.set()
            raise self.refuses
        super().write(key, source)
        self.writes.append(key)
        self.wrote.set()

    def read(self, found: S3Object) -> Generator[bytes, None, None]:
        self.reads.append(found.key)
        yield from super().read(found)

    def put(self, key: str, content: bytes) -> None:
        """Somebody else puts an object there."""
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    @property
    def objects(self) -> dict[str, bytes]:
        return {str(path.relative_to(self.root)): path.read_bytes() for path in self.root.rglob("*") if path.is_file()}


class Elsewhere(Bucket):
    """A bucket whose objects are no files of this machine."""

    def file(self, found: S3Object) -> Path | None:  # noqa: ARG002 - the port's
        return None


class Quiet:
    """Who is told of a fetch, and does not mind."""

    def fetching(self, objects: int, size: int) -> None:
        pass

    def fetched(self, size: int) -> None:
        pass


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    return Bucket(tmp_path / "bucket")


@pytest.fixture
def synced(bucket: Bucket) -> Synced:
    return Synced(CHECKPOINTS, bucket, "ck")


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return a_host(tmp_path)


@pytest.fixture
def told() -> list[str]:
    return []


Mirrored = Callable[..., Mirror]


@pytest.fixture
def mirrored(tmp_path: Path, synced: Synced, told: list[str]) -> Mirrored:
    """`mirrored(host, …)`: the mirror of these hosts, called algo-1, algo-2, …"""
    return lambda *hosts, to=synced: Mirror(to, named(*hosts), tmp_path / "work", told.append)


@pytest.fixture
def syncing(tmp_path: Path, synced: Synced, told: list[str]) -> Callable[..., Syncing]:
    return lambda *hosts, restored=(), every=0.001: Syncing(
        named(*hosts),
        [synced],
        work=tmp_path / "work",
        rescue=tmp_path / "rescue",
        told=told.append,
        restored=restored,
        every=every,
    )


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The mirror's steady clock: what its one element says."""
    now = [1000.0]
    monkeypatch.setattr(mirror_module, "monotonic", lambda: now[0])
    return now


def a_host(root: Path) -> FakeHost:
    return FakeHost(FakeEngine(), a_plan(root).hosts[0], Script())


def named(*hosts: FakeHost) -> dict[str, FakeHost]:
    return {f"algo-{number}": host for number, host in enumerate(hosts, start=1)}


def never() -> bool:
    return False


def an_oddity(name: str, kind: bytes, to: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, to
    return entry


def remains(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.endswith(SUFFIX)]


# A pass.


def test_files_become_objects_as_they_are_and_without_a_hosts_name(
    mirrored: Mirrored, host: FakeHost, bucket: Bucket
) -> None:
    host.write(f"{CHECKPOINTS}/epoch-1.pt", b"1")
    host.write(f"{CHECKPOINTS}/deep/er/état", b"2")
    host.write("/opt/ml/model/weights", b"not here")

    assert mirrored(host).look(never)

    assert bucket.objects == {"ck/epoch-1.pt": b"1", "ck/deep/er/état": b"2"}


@pytest.mark.parametrize(("prefix", "key"), [("", "a"), ("ck", "ck/a"), ("ck/", "ck/a"), ("x/y", "x/y/a")])
def test_a_prefix_is_a_folder(bucket: Bucket, mirrored: Mirrored, host: FakeHost, prefix: str, key: str) -> None:
    host.write(f"{CHECKPOINTS}/a", b"1")

    mirrored(host, to=Synced(CHECKPOINTS, bucket, prefix)).look(never)

    assert bucket.objects == {key: b"1"}


def test_what_has_changed_is_uploaded_and_nothing_else(mirrored: Mirrored, host: FakeHost, bucket: Bucket) -> None:
    mirror = mirrored(host)
    host.write(f"{CHECKPOINTS}/a", b"1", at=10)
    host.write(f"{CHECKPOINTS}/b", b"1", at=10)
    mirror.look(never)

    host.write(f"{CHECKPOINTS}/a", b"2", at=11)
    mirror.look(never)

    assert bucket.objects == {"ck/a": b"2", "ck/b": b"1"}
    assert bucket.writes == ["ck/a", "ck/b", "ck/a"]
    assert (mirror.count.uploaded, mirror.count.size, mirror.count.deleted) == (3, 3, 0)


def test_a_file_that_was_only_touched_is_not_sent_again(mirrored: Mirrored, host: FakeHost, bucket: Bucket) -> None:
    mirror = mirrored(host)
    for second in (10, 11):
        host.write(f"{CHECKPOINTS}/a", b"1", at=second)
        mirror.look(never)

    assert bucket.writes == ["ck/a"]


def test_a_change_within_the_same_second_is_seen(
    mirrored: Mirrored, host: FakeHost, bucket: Bucket, clock: list[float]
) -> None:
    mirror = mirrored(host)
    host.write(f"{CHECKPOINTS}/a", b"1", at=10)
    mirror.look(never)
    clock[0] += 0.5

    host.write(f"{CHECKPOINTS}/a", b"2", at=10)

    assert not mirror.look(never)
    assert mirror.look(never)
    assert bucket.objects == {"ck/a": b"2"}


def test_a_file_is_read_again_until_no_write_can_have_the_time_it_has(
    mirrored: Mirrored, host: FakeHost, clock: list[float]
) -> None:
    mirror = mirrored(host)
    host.write(f"{CHECKPOINTS}/a", b"1", at=10)
    mirror.look(never)

    settled = []
    for _ in range(4):
        clock[0] += 0.9
        mirror.look(never)
        settled.append(mirror.known["algo-1"]["a"].settled)

    assert settled == [False, False, True, True]


def test_the_last_pass_trusts_no_time(mirrored: Mirrored, host: FakeHost, bucket: Bucket, clock: list[float]) -> None:
    mirror = mirrored(host)
    host.write(f"{CHECKPOINTS}/a", b"1", at=10)
    for _ in range(2):
        mirror.look(never)
        clock[0] += 5
    host.write(f"{CHECKPOINTS}/a", b"2", at=10)  # as utime, cp -p and rsync -t leave it

    assert not mirror.look_last()
    assert mirror.look_last()
    assert bucket.objects == {"ck/a": b"2"}


def test_what_is_deleted_here_is_deleted_there(mirrored: Mirrored, host: FakeHost, bucket: Bucket) -> None:
    mirror = mirrored(host)
    bucket.put("ck/somebody-elses", b"3")
    host.write(f"{CHECKPOINTS}/a", b"1")
    host.write(f"{CHECKPOINTS}/deep/b", b"2")
    mirror.look(never)

    host.remove(f"{CHECKPOINTS}/deep/b")
    mirror.look(never)

    assert bucket.objects == {"ck/a": b"1", "ck/somebody-elses": b"3"}
    assert mirror.count.deleted == 1


def test_an_upload_that_failed_may_have_come_through_and_is_deleted_with_its_file(
    mirrored: Mirrored, host: FakeHost, bucket: Bucket
) -> None:
    mirror = mirrored(host)
    host.write(f"{CHECKPOINTS}/a", b"1")
    bucket.refuses = MachineCannot("the answer never came")
    with pytest.raises(MachineCannot):
        mirror.look(never)
    bucket.put("ck/a", b"1")
    bucket.refuses = None

    host.remove(f"{CHECKPOINTS}/a")
    mirror.look(never)

    assert bucket.objects == {}


def test_a_directory_whose_files_are_never_deleted_there(bucket: Bucket, mirrored: Mirrored, host: FakeHost) -> None:
    mirror = mirrored(host, to=Synced(CHECKPOINTS, bucket, "ck", deletes=False, skipped=(".tmp",)))
    host.write(f"{CHECKPOINTS}/a", b"1")
    host.write(f"{CHECKPOINTS}/.tmp/b", b"1")
    mirror.look(never)

    host.remove(f"{CHECKPOINTS}/a")

    assert mirror.look_last()
    assert bucket.objects == {"ck/a": b"1"}


def test_a_directory_that_is_not_there_yet_holds_nothing(mirrored: Mirrored, host: FakeHost, bucket: Bucket) -> None:
    mirror = mirrored(host)

    assert mirror.look(never)
    assert bucket.objects == {}
    host.write(f"{CHECKPOINTS}/a", b"1")
    assert mirror.look(never)
    assert bucket.objects == {"ck/a": b"1"}


# Several hosts, one name.


def test_hosts_share_one_name_and_who_wrote_last_has_it(mirrored: Mirrored, tmp_path: Path, bucket: Bucket) -> None:
    first, second = a_host(tmp_path), a_host(tmp_path)
    mirror = mirrored(first, second)
    first.write(f"{CHECKPOINTS}/a", b"first", at=10)
    second.write(f"{CHECKPOINTS}/a", b"second", at=10)
    mirror.look(never)
    assert bucket.objects == {"ck/a": b"second"}

    first.write(f"{CHECKPOINTS}/a", b"first again", at=11)

    assert mirror.look(never)
    assert mirror.look_last()
    assert bucket.objects == {"ck/a": b"first again"}
    assert len(bucket.writes) == 3


def test_a_name_is_deleted_there_when_no_host_has_it_any_more(
    mirrored: Mirrored, tmp_path: Path, bucket: Bucket
) -> None:
    first, second = a_host(tmp_path), a_host(tmp_path)
    mirror = mirrored(first, second)
    for host in (first, second):
        host.write(f"{CHECKPOINTS}/a", b"1")
    mirror.look(never)

    first.remove(f"{CHECKPOINTS}/a")
    mirror.look(never)
    assert bucket.objects == {"ck/a": b"1"}

    second.remove(f"{CHECKPOINTS}/a")
    mirror.look(never)
    assert bucket.objects == {}


def test_a_version_that_its_host_has_removed_gives_way_to_the_other_hosts(
    mirrored: Mirrored, tmp_path: Path, bucket: Bucket
) -> None:
    first, second = a_host(tmp_path), a_host(tmp_path)
    mirror = mirrored(first, second)
    first.write(f"{CHECKPOINTS}/a", b"first")
    second.write(f"{CHECKPOINTS}/a", b"second")
    mirror.look(never)

    second.remove(f"{CHECKPOINTS}/a")

    assert not mirror.look_last()
    assert mirror.look_last()
    assert bucket.objects == {"ck/a": b"first"}


# A stream that breaks.


@pytest.mark.parametrize("size", [512, 1024, 1536, 2048, 2560])
def test_a_stream_that_breaks_deletes_nothing_and_uploads_no_half_file(
    mirrored: Mirrored, host: FakeHost, bucket: Bucket, size: int
) -> None:
    mirror = mirrored(host)
    for name in "abc":
        host.write(f"{CHECKPOINTS}/{name}", b"\0" * 300, at=10)
    mirror.look(never)
    host.write(f"{CHECKPOINTS}/a", b"\0" * 301, at=11)
    host.breaks_after.append(size)

    assert not mirror.look(never)

    assert set(bucket.objects) == {"ck/a", "ck/b", "ck/c"}
    assert set(map(len, bucket.objects.values())) <= {300, 301}
    assert mirror.look(never)
    assert len(bucket.objects["ck/a"]) == 301


def test_a_stream_of_nothing_at_all_deletes_nothing(mirrored: Mirrored, host: FakeHost, bucket: Bucket) -> None:
    mirror = mirrored(host)
    host.write(f"{CHECKPOINTS}/a", b"1")
    mirror.look(never)
    host.breaks_after.append(0)

    assert not mirror.look(never)
    assert bucket.objects == {"ck/a": b"1"}


def test_one_hosts_broken_stream_holds_up_no_other(mirrored: Mirrored, tmp_path: Path, bucket: Bucket) -> None:
    first, second = a_host(tmp_path), a_host(tmp_path)
    first.write(f"{CHECKPOINTS}/a", b"1")
    second.write(f"{CHECKPOINTS}/b", b"2")
    first.breaks_after.append(600)

    assert not mirrored(first, second).look(never)

    assert bucket.objects == {"ck/b": b"2"}


def test_a_full_disk_uploads_what_did_fit(
    mirrored: Mirrored, host: FakeHost, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = mirror_module.copied

    def full(content: Iterator[bytes], target: io.BufferedWriter) -> bytes:
        if target.name.endswith("/2"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return copied(content, target)

    monkeypatch.setattr(mirror_module, "copied", full)
    host.write(f"{CHECKPOINTS}/a", b"1")
    host.write(f"{CHECKPOINTS}/b", b"2")

    with pytest.raises(DiskFull):
        mirrored(host).look(never)

    assert bucket.objects == {"ck/a": b"1"}


def test_no_host_is_held_while_something_is_uploaded(
    mirrored: Mirrored, host: FakeHost, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = []
    fetch = host.fetch

    def holding(path: str) -> Generator[bytes, None, None]:
        held.append(path)
        try:
            yield from fetch(path)
        finally:
            held.remove(path)

    def check() -> None:
        assert held == []

    monkeypatch.setattr(host, "fetch", holding)
    bucket.before_write = check
    host.write(f"{CHECKPOINTS}/a", b"1")

    mirrored(host).look(never)

    assert bucket.writes == ["ck/a"]


# What is no file.


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (tarfile.SYMTYPE, "is a symbolic link"),
        (tarfile.FIFOTYPE, "is a FIFO"),
        (tarfile.CHRTYPE, "is a device"),
        (tarfile.BLKTYPE, "is a device"),
    ],
)
def test_links_devices_and_pipes_are_no_objects(
    mirrored: Mirrored, host: FakeHost, told: list[str], kind: bytes, what: str
) -> None:
    mirror = mirrored(host)
    host.oddities = [an_oddity("checkpoints/odd", kind, "/etc/passwd")]

    mirror.look(never)

    assert mirror.count.uploaded == 0
    assert told == [f"algo-1: {CHECKPOINTS}/odd {what}: it is not uploaded"]


def test_what_is_no_object_is_told_of_once(syncing: Callable[..., Syncing], host: FakeHost, told: list[str]) -> None:
    host.oddities = [an_oddity("checkpoints/odd", tarfile.SYMTYPE, "/etc/passwd")]
    host.write(f"{CHECKPOINTS}/a", b"1")
    passes = threading.Semaphore(0)
    host.fetched = lambda _: passes.release()

    with syncing(host) as sync:
        assert all(passes.acquire(timeout=PATIENCE) for _ in range(3))
        sync.finish()

    assert len(told) == 1


@pytest.mark.parametrize(
    "name", ["../escape", "checkpoints/../../escape", "/etc/escape", "other/escape", "checkpoints//escape"]
)
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.LNKTYPE])
def test_a_member_that_escapes_is_refused(
    mirrored: Mirrored, host: FakeHost, told: list[str], name: str, kind: bytes
) -> None:
    mirror = mirrored(host)
    host.write(f"{CHECKPOINTS}/a", b"1")
    host.oddities = [an_oddity(name, kind, "checkpoints/a")]

    mirror.look(never)

    assert set(mirror.kept) == {"a"}
    assert len(told) == 1
    assert "leads out of the directory: it is not uploaded" in told[0]


def test_nothing_is_written_outside(
    syncing: Callable[..., Syncing], host: FakeHost, bucket: Bucket, tmp_path: Path
) -> None:
    bucket.refuses = MachineCannot("denied")
    host.write(f"{CHECKPOINTS}/a", b"1")
    host.oddities = [
        an_oddity("checkpoints/../../../escape", tarfile.REGTYPE),
        an_oddity("checkpoints/link", tarfile.SYMTYPE, str(tmp_path)),
        an_oddity("checkpoints/link/escape", tarfile.REGTYPE),
        an_oddity("checkpoints/escape", tarfile.LNKTYPE, "../../a"),
    ]

    with syncing(host) as sync, pytest.raises(NotKept):
        sync.finish()

    saved = [path for path in (tmp_path / "rescue").rglob("*") if path.is_file()]
    assert [path.relative_to(tmp_path / "rescue/algo-1/checkpoints").as_posix() for path in saved] == [
        "a",
        "link/escape",
    ]
    assert [path for path in tmp_path.rglob("escape") if path not in saved] == []


def test_a_name_that_no_key_can_be_is_told(mirrored: Mirrored, host: FakeHost, bucket: Bucket, told: list[str]) -> None:
    host.write(f"{CHECKPOINTS}/\udcff", b"1")
    host.write(f"{CHECKPOINTS}/{'/'.join(['d' * 200] * 6)}", b"1")

    mirrored(host).look(never)

    assert bucket.objects == {}
    assert f"{CHECKPOINTS}/\\udcff has a name that is not UTF-8: it is not uploaded" in told[1]
    assert "makes a key of over 1024 bytes" in told[0]


def test_a_hard_link_is_a_file_like_any_other(mirrored: Mirrored, host: FakeHost, bucket: Bucket) -> None:
    mirror = mirrored(host)
    host.oddities = [an_oddity("checkpoints/latest", tarfile.LNKTYPE, "checkpoints/a")]
    for second, content in enumerate((b"1", b"2")):
        host.write(f"{CHECKPOINTS}/a", content, at=second)
        assert mirror.look(never)
        assert bucket.objects == {"ck/a": content, "ck/latest": content}

    host.write(f"{CHECKPOINTS}/b", b"3")
    host.oddities = [an_oddity("checkpoints/latest", tarfile.LNKTYPE, "checkpoints/b")]
    while not mirror.look_last():
        pass

    assert bucket.objects == {"ck/a": b"2", "ck/b": b"3", "ck/latest": b"3"}


def test_a_hard_link_to_what_is_not_uploaded_is_told(
    syncing: Callable[..., Syncing], host: FakeHost, bucket: Bucket, told: list[str]
) -> None:
    host.write(f"{CHECKPOINTS}/a", b"1")
    host.oddities = [an_oddity("checkpoints/latest", tarfile.LNKTYPE, "checkpoints/nothing")]

    with syncing(host) as sync:
        sync.finish()

    assert bucket.objects == {"ck/a": b"1"}
    assert told == [f"algo-1: {CHECKPOINTS}/latest is a hard link to a file that is not uploaded"]


# While the job runs, and after.


def test_a_file_is_uploaded_while_the_host_runs(
    syncing: Callable[..., Syncing], host: FakeHost, bucket: Bucket
) -> None:
    with syncing(host):
        host.write(f"{CHECKPOINTS}/a", b"1")

        assert bucket.wrote.wait(PATIENCE)

    assert bucket.objects == {"ck/a": b"1"}


def test_the_last_pass_leaves_the_store_exact_and_counts(
    syncing: Callable[..., Syncing], host: FakeHost, bucket: Bucket
) -> None:
    with syncing(host, every=3600) as sync:
        host.write(f"{CHECKPOINTS}/a", b"12345")
        host.write(f"{CHECKPOINTS}/b", b"1")

        counts = sync.finish()

    assert bucket.objects == {"ck/a": b"12345", "ck/b": b"1"}
    assert (counts[CHECKPOINTS].uploaded, counts[CHECKPOINTS].size) == (2, 6)


@pytest.mark.parametrize("finishes", [True, False])
def test_no_thread_survives(syncing: Callable[..., Syncing], host: FakeHost, finishes: bool) -> None:
    before = threading.active_count()

    with syncing(host) as sync:
        if finishes:
            sync.finish()

    assert threading.active_count() == before


def test_a_pass_that_fails_is_told_and_the_next_makes_it_good(
    syncing: Callable[..., Syncing], host: FakeHost, bucket: Bucket, told: list[str]
) -> None:
    bucket.refuses = MachineCannot("s3://my-bucket/ck: access denied")
    host.write(f"{CHECKPOINTS}/a", b"1")

    with syncing(host) as sync:
        assert bucket.refused.wait(PATIENCE)
        bucket.refuses = None
        assert bucket.wrote.wait(PATIENCE)
        sync.finish()

    assert bucket.objects == {"ck/a": b"1"}
    assert told == [f"{CHECKPOINTS} is not in step with S3 for now, and tried again: s3://my-bucket/ck: access denied"]


def test_held_passes_let_go_of_the_host_at_once(syncing: Callable[..., Syncing], host: FakeHost) -> None:
    began, released = threading.Event(), threading.Event()

    def endless(path: str) -> Generator[bytes, None, None]:
        began.set()
        entry = tarfile.TarInfo(f"{Path(path).name}/endless")
        entry.size = 1 << 50
        yield entry.tobuf()
        try:
            while True:
                yield bytes(512)
        finally:
            released.set()

    real, host.fetch = host.fetch, endless  # type: ignore[method-assign]
    with syncing(host) as sync:
        assert began.wait(PATIENCE)

        sync.hold()

        assert released.wait(PATIENCE)
        host.fetch = real  # type: ignore[method-assign]
        assert sync.finish()[CHECKPOINTS].uploaded == 0


def test_files_that_cannot_be_kept_at_the_end_are_named_and_the_directory_is_saved(
    syncing: Callable[..., Syncing], tmp_path: Path, bucket: Bucket
) -> None:
    first, second = a_host(tmp_path), a_host(tmp_path)
    first.write(f"{CHECKPOINTS}/a", b"1")
    with syncing(first, second) as sync:
        assert bucket.wrote.wait(PATIENCE)
        sync.hold()
        bucket.refuses = MachineCannot("s3://my-bucket/ck/b: access denied")
        first.oddities = [an_oddity("checkpoints/latest", tarfile.LNKTYPE, "checkpoints/b")]
        first.write(f"{CHECKPOINTS}/b", b"2")
        second.write(f"{CHECKPOINTS}/deep/c", b"3")

        with pytest.raises(NotKept) as refused:
            sync.finish()

    saved = tmp_path / "rescue"
    assert str(refused.value) == (
        "s3://my-bucket/ck/b and 2 more: not kept as the job left it: s3://my-bucket/ck/b: access denied\n"
        f"Nothing is lost: all that the hosts left in {CHECKPOINTS} is in {saved}."
    )
    assert {str(path.relative_to(saved)): path.read_bytes() for path in saved.rglob("*") if path.is_file()} == {
        "algo-1/checkpoints/a": b"1",
        "algo-1/checkpoints/b": b"2",
        "algo-1/checkpoints/latest": b"2",
        "algo-2/checkpoints/deep/c": b"3",
    }


def test_a_version_that_another_host_overwrote_there_is_not_called_lost(
    syncing: Callable[..., Syncing], tmp_path: Path, bucket: Bucket
) -> None:
    first, second = a_host(tmp_path), a_host(tmp_path)
    first.write(f"{CHECKPOINTS}/a", b"first")
    second.write(f"{CHECKPOINTS}/a", b"second")
    second.write(f"{CHECKPOINTS}/b", b"2")

    def deny_b() -> None:
        bucket.refuses = MachineCannot("denied") if len(bucket.writes) == 2 else None

    bucket.before_write = deny_b
    with syncing(first, second, every=3600) as sync, pytest.raises(NotKept, match=r"^s3://my-bucket/ck/b: not kept"):
        sync.finish()


def test_a_host_that_can_no_longer_be_read_is_an_error_that_says_so(
    syncing: Callable[..., Syncing], host: FakeHost
) -> None:
    host.breaks_after = [700] * 10
    host.write(f"{CHECKPOINTS}/a", b"1" * 1000)

    with (
        syncing(host, every=3600) as sync,
        pytest.raises(NotKept, match=r"ck/: not kept .*changed while.*\nIt could not be copied to .*rescue either"),
    ):
        sync.finish()


def test_a_writer_that_is_killed_leaves_what_a_sweep_removes_and_the_next_pass_ends_right(
    mirrored: Mirrored, host: FakeHost, bucket: Bucket, tmp_path: Path
) -> None:
    program = f"""
import shutil, sys, threading
from pathlib import Path
from tests.unit.test_checkpoints import Bucket, CHECKPOINTS, Mirror, Synced, a_host, named, never
root = Path({str(tmp_path)!r})
def half(source, target, length):
    target.write(source.read(3))
    target.flush()
    print("writing", flush=True)
    threading.Event().wait()
shutil.copyfileobj = half
host = a_host(root)
host.write(f"{{CHECKPOINTS}}/a", b"123456")
Mirror(Synced(CHECKPOINTS, Bucket(root / "bucket"), "ck"), named(host), root / "work", print).look(never)
"""
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=root) as writer:
        try:
            assert writer.stdout
            assert writer.stdout.readline() == b"writing\n"
            before = remains(tmp_path)
            sweep(tmp_path)
            assert remains(tmp_path) == before != [], "what is being written stays"
        finally:
            writer.send_signal(signal.SIGKILL)
    assert remains(tmp_path) == before
    assert bucket.listed("ck/") == []

    sweep(tmp_path)
    host.write(f"{CHECKPOINTS}/a", b"123456")
    mirrored(host).look_last()

    assert remains(tmp_path) == []
    assert bucket.objects == {"ck/a": b"123456"}


# Before the job.


def test_a_prefix_that_can_be_written_is_left_as_it_was(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("ck/a", b"1")

    check_writable(bucket, "ck", tmp_path / "work")
    check_writable(bucket, "", tmp_path / "work")

    assert len(bucket.writes) == 2
    assert bucket.objects == {"ck/a": b"1"}
    assert list((tmp_path / "work").iterdir()) == []


@pytest.mark.parametrize("prefix", ["ck", ""])
def test_what_a_killed_run_left_of_such_a_look_is_removed(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    class Killed(BaseException):
        pass

    def kill(keys: Sequence[str]) -> None:  # noqa: ARG001 - the port's
        raise Killed

    bucket.put("ck/a", b"1")
    monkeypatch.setattr(bucket, "delete", kill)
    with pytest.raises(Killed):
        check_writable(bucket, prefix, tmp_path / "work")
    monkeypatch.undo()
    assert len(bucket.objects) == 2

    check_writable(bucket, prefix, tmp_path / "work")

    assert bucket.objects == {"ck/a": b"1"}


def test_a_file_where_a_folder_must_be_is_found_before_the_job(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("ck", b"a file")

    with pytest.raises(CannotSync, match=r"^s3://my-bucket/ck: what the job writes cannot be kept there: .*bucket/ck"):
        check_writable(bucket, "ck", tmp_path / "work")


def test_denied_access_is_found_before_the_job(bucket: Bucket, tmp_path: Path) -> None:
    bucket.refuses = MachineCannot("access denied by S3")

    with pytest.raises(CannotSync, match="access denied by S3"):
        check_writable(bucket, "ck", tmp_path / "work")


def test_a_bucket_that_may_be_written_but_not_deleted_from_is_found_before_the_job(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(keys: Sequence[str]) -> None:
        raise MachineCannot(f"{keys[0]} must stay")

    monkeypatch.setattr(bucket, "delete", denied)

    with pytest.raises(CannotSync, match="must stay"):
        check_writable(bucket, "ck", tmp_path / "work")


def test_a_bucket_whose_directory_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(CannotSync, match="there is no such directory"):
        check_writable(FolderStore("my-bucket", tmp_path / "nothing"), "ck", tmp_path / "work")

    assert not (tmp_path / "nothing").exists()


@pytest.mark.usefixtures("as_anybody")
def test_a_directory_that_may_not_be_written_is_found_before_the_job(bucket: Bucket, tmp_path: Path) -> None:
    bucket.root.chmod(0o555)

    with pytest.raises(CannotSync, match="cannot be written by you"):
        check_writable(bucket, "ck", tmp_path / "work")


# Put back.


@pytest.fixture
def restore(tmp_path: Path) -> Callable[[Synced], Restored]:
    """What is below a prefix, as it is put into hosts by one that has put it into one."""

    def restore(synced: Synced, *hosts: FakeHost) -> Restored:
        with restored(synced, Cache(tmp_path / "cache", 1 << 30), Quiet(), never) as found:
            for host in hosts:
                host.put(found.archive())
        return found

    return restore


def test_everything_below_the_prefix_is_put_into_every_host(
    restore: Callable[..., Restored], bucket: Bucket, synced: Synced, tmp_path: Path
) -> None:
    first, second = a_host(tmp_path), a_host(tmp_path)
    bucket.put("ck/epoch-1.pt", b"1" * 1000)
    bucket.put("ck/deep/er/état", b"2" * 512)
    bucket.put("ck/empty", b"")
    bucket.put("ck-of-another/a", b"3")
    os.utime(bucket.root / "ck/epoch-1.pt", (2_000_000_000, 2_000_000_000))

    found = restore(synced, first, second)

    for host in (first, second):
        assert host.files == {
            f"{CHECKPOINTS}/epoch-1.pt": b"1" * 1000,
            f"{CHECKPOINTS}/deep/er/état": b"2" * 512,
            f"{CHECKPOINTS}/empty": b"",
        }
    assert (len(found.entries), found.size, found.newest) == (3, 1512, "epoch-1.pt")


def test_what_is_put_back_is_roots_and_of_now(bucket: Bucket, synced: Synced, tmp_path: Path) -> None:
    bucket.put("ck/deep/a", b"1")
    os.utime(bucket.root / "ck/deep/a", (1, 1))

    with (
        restored(synced, Cache(tmp_path / "cache", 1 << 30), Quiet(), never) as found,
        tarfile.open(fileobj=io.BytesIO(b"".join(found.archive()))) as archive,
    ):
        entries = [(entry.name, entry.mode, entry.uid, entry.gid, entry.mtime) for entry in archive]

    assert entries == [
        ("opt/ml/checkpoints", 0o755, 0, 0, found.mtime),
        ("opt/ml/checkpoints/deep", 0o755, 0, 0, found.mtime),
        ("opt/ml/checkpoints/deep/a", 0o644, 0, 0, found.mtime),
    ]
    assert found.mtime > 1_700_000_000


def test_nothing_below_the_prefix_is_an_empty_directory(
    restore: Callable[..., Restored], synced: Synced, host: FakeHost
) -> None:
    found = restore(synced, host)

    assert host.files == {}
    assert host.modes == {CHECKPOINTS: 0o755}
    assert (found.entries, found.size, found.newest) == ((), 0, None)


def test_a_large_object_is_never_whole_in_memory(bucket: Bucket, synced: Synced, tmp_path: Path) -> None:
    bucket.put("ck/large", b"")
    os.truncate(bucket.root / "ck/large", 100 << 20)

    with restored(synced, Cache(tmp_path / "cache", 1 << 30), Quiet(), never) as found:
        largest = max(map(len, found.archive()))

    assert largest <= 8 << 20


def test_what_lies_elsewhere_is_fetched_once_for_all_hosts(restore: Callable[..., Restored], tmp_path: Path) -> None:
    bucket = Elsewhere(tmp_path / "elsewhere")
    bucket.put("ck/a", b"1")
    bucket.put("ck/deep/b", b"2")
    hosts = [a_host(tmp_path) for _ in range(3)]

    restore(Synced(CHECKPOINTS, bucket, "ck"), *hosts)

    assert sorted(bucket.reads) == ["ck/a", "ck/deep/b"]
    assert all(host.files == {f"{CHECKPOINTS}/a": b"1", f"{CHECKPOINTS}/deep/b": b"2"} for host in hosts)


def test_what_was_put_back_is_neither_uploaded_again_nor_forgotten(
    restore: Callable[..., Restored],
    syncing: Callable[..., Syncing],
    bucket: Bucket,
    synced: Synced,
    tmp_path: Path,
) -> None:
    first, second = a_host(tmp_path), a_host(tmp_path)
    for name in "abc":
        bucket.put(f"ck/{name}", name.encode())
    found = restore(synced, first, second)

    with syncing(first, second, restored=[found]) as sync:
        first.write(f"{CHECKPOINTS}/a", b"A", at=found.mtime)
        for host in (first, second):
            host.remove(f"{CHECKPOINTS}/b")
        first.remove(f"{CHECKPOINTS}/c")
        sync.finish()

    assert bucket.writes == ["ck/a"]
    assert bucket.objects == {"ck/a": b"A", "ck/c": b"c"}


def test_an_object_that_changes_while_it_is_put_back_is_told(bucket: Bucket, synced: Synced, tmp_path: Path) -> None:
    bucket.put("ck/a", b"1")

    with restored(synced, Cache(tmp_path / "cache", 1 << 30), Quiet(), never) as found:
        bucket.put("ck/a", b"12")

        with pytest.raises(ObjectVanished, match="s3://my-bucket/ck/a"):
            b"".join(found.archive())


def test_a_content_of_another_size_than_listed_is_told(bucket: Bucket, synced: Synced, tmp_path: Path) -> None:
    bucket.put("ck/a", b"1")

    with restored(synced, Cache(tmp_path / "cache", 1 << 30), Quiet(), never) as found:
        for content in ([b"12"], [], [b"", b""]):
            other = replace(found, contents=lambda _, content=content: (piece for piece in content))
            with pytest.raises(ObjectVanished):
                b"".join(other.archive())


def test_keys_that_no_directory_can_hold_side_by_side_are_refused(
    synced: Synced, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = [S3Object("ck/a", 1, "x"), S3Object("ck/a/b", 1, "y")]
    monkeypatch.setattr(bucket, "listed", lambda _: both)

    with (
        pytest.raises(InputRefused, match="s3://my-bucket/ck/ cannot become /opt/ml/checkpoints: key 'ck/a' is a file"),
        restored(synced, Cache(tmp_path / "cache", 1 << 30), Quiet(), never),
    ):
        pass


# Parts.


# What an interruption costs.


@pytest.mark.parametrize(
    ("moment", "most", "lost"),
    [
        pytest.param(Moment(clock=1007, steady=1002), 60, 7, id="since the newest file was written"),
        pytest.param(Moment(clock=990, steady=1002), 60, 2, id="since it was read, where the engine's clock is ahead"),
        pytest.param(Moment(clock=1007, steady=1002), 4, 4, id="no more than was trained"),
    ],
)
def test_what_was_done_since_the_last_checkpoint_in_the_bucket_is_lost(
    syncing: Callable[..., Syncing],
    host: FakeHost,
    bucket: Bucket,
    synced: Synced,
    clock: list[float],  # noqa: ARG001 - stands still at 1000
    *,
    moment: Moment,
    most: float,
    lost: float,
) -> None:
    host.write(f"{CHECKPOINTS}/old", b"1", at=400)
    host.write(f"{CHECKPOINTS}/new", b"2", at=1000)

    with syncing(host) as kept:
        assert bucket.wrote.wait(PATIENCE)
        while len(bucket.writes) < 2:
            assert bucket.wrote.wait(PATIENCE)
        assert kept.lost(synced, moment, most) == lost


def test_nothing_is_kept_after_an_interruption(
    syncing: Callable[..., Syncing], host: FakeHost, bucket: Bucket, synced: Synced
) -> None:
    with syncing(host, every=60) as kept:
        host.write(f"{CHECKPOINTS}/late", b"1")
        kept.hold()

        assert kept.lost(synced, Moment(0, 0), 60) is None

    assert bucket.objects == {}
