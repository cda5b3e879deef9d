"""The cache of objects: what a job sees, what others find, and what is left when it ends in the middle."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from local_mode import cache, fetching
from local_mode.cache import Cache, CacheFull
from local_mode.inputs.listing import Entry, under_prefix
from local_mode.object_store import FolderStore, ObjectStore, ObjectVanished, S3Object
from local_mode.part_files import SUFFIX, written
from tests.remote_folder import RemoteFolder
from training_job.errors import DiskFull, Interrupted, MachineCannot

_PLENTY = 10**12
_ROOT = Path(__file__).parents[2]
_KEYS = ("train/a", "train/b/c", "train/b/d/é %20")


class Told:
    """What a person is told."""

    def __init__(self) -> None:
        self.began: list[tuple[int, int]] = []
        self._sizes: list[int] = []

    def fetching(self, objects: int, size: int) -> None:
        self.began.append((objects, size))

    def fetched(self, size: int) -> None:
        self._sizes.append(size)

    @property
    def bytes(self) -> int:
        return sum(self._sizes)


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    """A bucket's directory of three objects."""
    for number, key in enumerate(_KEYS):
        _put(tmp_path / "bucket" / key, key.encode() * (number + 1) * 1000)
    return tmp_path / "bucket"


@pytest.fixture
def far(bucket: Path) -> RemoteFolder:
    return RemoteFolder(bucket, bucket.parent / "reads")


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """The cache's directory."""
    return tmp_path / "cache"


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _entries(store: ObjectStore, prefix: str = "train/") -> list[Entry]:
    return under_prefix(prefix, store.listed(prefix))


def _never() -> bool:
    return False


def _tree(kept: Path, store: ObjectStore, prefix: str = "train/", limit: int = _PLENTY) -> dict[str, bytes]:
    """What a job that uses the cache sees."""
    with Cache(kept, limit).tree(store, _entries(store, prefix), Told(), _never) as tree:
        return _below(tree)


def _below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _reads(far: RemoteFolder) -> Counter[str]:
    noted = far._reads
    return Counter(noted.read_text().splitlines() if noted.exists() else [])


def _content() -> dict[str, bytes]:
    return {key.removeprefix("train/"): key.encode() * (n + 1) * 1000 for n, key in enumerate(_KEYS)}


def _trees(kept: Path) -> list[Path]:
    return [path for path in (kept / "trees").iterdir() if path.is_dir()]


def _objects(kept: Path) -> list[Path]:
    return [path for path in (kept / "objects").rglob("*") if path.is_file()]


def _assert_whole(kept: Path) -> None:
    """Nothing in the cache is half, and nothing is left of what was in the making."""
    sizes = {len(content) for content in _content().values()}
    assert all(path.stat().st_size in sizes for path in _objects(kept))
    assert list((kept / "parts").iterdir()) == []


# What a job sees.


def test_a_tree_holds_exactly_the_entries(far: RemoteFolder, kept: Path) -> None:
    told = Told()

    with Cache(kept, _PLENTY).tree(far, _entries(far), told, _never) as tree:
        assert _below(tree) == _content()
        assert tree.stat().st_mode & 0o777 == 0o755
        assert all(path.stat().st_mode & 0o777 == 0o644 for path in tree.rglob("*") if path.is_file())

    assert told.began == [(3, sum(map(len, _content().values())))]
    assert told.bytes == told.began[0][1]
    _assert_whole(kept)


def test_a_tree_may_be_empty(far: RemoteFolder, kept: Path) -> None:
    assert _tree(kept, far, "nothing/") == {}
    assert _tree(kept, far, "nothing/") == {}


def test_what_is_here_is_not_fetched_again(far: RemoteFolder, kept: Path) -> None:
    _tree(kept, far)
    told = Told()

    with Cache(kept, _PLENTY).tree(far, _entries(far), told, _never) as tree:
        assert _below(tree) == _content()

    assert _reads(far) == Counter(_KEYS)
    assert told.began == []


def test_only_what_changed_is_fetched_and_what_is_gone_is_gone(far: RemoteFolder, kept: Path, bucket: Path) -> None:
    _tree(kept, far)
    _put(bucket / "train/a", b"changed")
    _put(bucket / "train/new", b"new")
    (bucket / "train/b/c").unlink()

    seen = _tree(kept, far)

    assert seen == {"a": b"changed", "new": b"new", "b/d/é %20": _content()["b/d/é %20"]}
    assert _reads(far) == Counter(_KEYS) + Counter(["train/a", "train/new"])


def test_a_part_of_a_channel_shares_its_objects(far: RemoteFolder, kept: Path) -> None:
    _tree(kept, far)

    assert set(_tree(kept, far, "train/b/")) == {"c", "d/é %20"}
    assert _reads(far) == Counter(_KEYS)


def test_one_object_under_two_paths_is_fetched_once(far: RemoteFolder, kept: Path) -> None:
    (found,) = far.listed("train/a")
    told = Told()

    with Cache(kept, _PLENTY).tree(far, [Entry("x", found), Entry("y/z", found)], told, _never) as tree:
        assert _below(tree) == {"x": _content()["a"], "y/z": _content()["a"]}

    assert _reads(far) == Counter(["train/a"])
    assert told.began == [(1, found.size)]


def test_the_same_key_of_another_store_is_another_object(far: RemoteFolder, kept: Path, tmp_path: Path) -> None:
    _tree(kept, far)
    shutil.copytree(tmp_path / "bucket", tmp_path / "other")
    other = RemoteFolder(tmp_path / "other", tmp_path / "reads-of-other")

    _tree(kept, other)

    assert _reads(other) == Counter(_KEYS)


def test_objects_alone_are_fetched_once(far: RemoteFolder, kept: Path) -> None:
    objects = far.listed("train/")

    first = Cache(kept, _PLENTY).fetch(far, objects, Told(), _never)
    second = Cache(kept, _PLENTY).fetch(far, objects, Told(), _never)

    assert first == second
    assert [path.read_bytes() for path in first] == [*_content().values()]
    assert _reads(far) == Counter(_KEYS)
    _assert_whole(kept)


# Files of this machine.


def test_files_of_this_machine_are_linked(bucket: Path, kept: Path) -> None:
    store, told = FolderStore("near", bucket), Told()

    with Cache(kept, _PLENTY).tree(store, _entries(store), told, _never) as tree:
        assert _below(tree) == _content()
        assert (tree / "a").stat().st_ino == (bucket / "train/a").stat().st_ino

    assert told.began == []
    assert not (kept / "objects").exists()


def test_a_link_is_the_file_it_leads_to(bucket: Path, kept: Path) -> None:
    (bucket / "train/link").symlink_to("a")

    with Cache(kept, _PLENTY).tree(
        FolderStore("near", bucket), _entries(FolderStore("near", bucket)), Told(), _never
    ) as tree:
        assert not (tree / "link").is_symlink()
        assert (tree / "link").stat().st_ino == (bucket / "train/a").stat().st_ino


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A directory on another file system."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == Path(__file__).stat().st_dev:
        pytest.skip("there is no second file system here")
    folder = memory / f"homeport-test-{os.getpid()}"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def test_files_of_another_file_system_are_copied_once(bucket: Path, elsewhere: Path) -> None:
    store, told = FolderStore("near", bucket), Told()

    for _ in range(2):
        with Cache(elsewhere, _PLENTY).tree(store, _entries(store), told, _never) as tree:
            assert _below(tree) == _content()

    assert len(told.began) == 1
    assert len(_objects(elsewhere)) == 3


def test_a_file_that_changed_since_it_was_listed_is_told(bucket: Path, kept: Path) -> None:
    store = FolderStore("near", bucket)
    entries = _entries(store)
    _put(bucket / "train/a", b"changed")

    with (
        pytest.raises(ObjectVanished, match="train/a"),
        Cache(kept, _PLENTY).tree(store, entries, Told(), _never),
    ):
        pass

    assert _trees(kept) == []


def test_files_that_their_bucket_has_lost_are_not_kept(bucket: Path, kept: Path) -> None:
    store = FolderStore("near", bucket)
    _tree(kept, store)
    (bucket / "train/b/c").unlink()

    _tree(kept, store)

    assert [set(_below(tree)) for tree in _trees(kept)] == [{"a", "b/d/é %20"}]


# What others find.


_USE = """
import sys
from pathlib import Path
from local_mode.cache import Cache
from local_mode.inputs.listing import under_prefix
from tests.remote_folder import RemoteFolder
from tests.unit.test_cache import Told

bucket, kept = Path(sys.argv[1]), Path(sys.argv[2])

def during(found):
    if sys.argv[3] == found.key:
        print("reading", flush=True)
        sys.stdin.readline()

store = RemoteFolder(bucket, bucket.parent / "reads", during)
entries = under_prefix("train/", store.listed("train/"))
print("listed", flush=True)
sys.stdin.readline()
with Cache(kept, 10**12).tree(store, entries, Told(), lambda: False) as tree:
    print(*sorted(path.read_bytes()[:9] for path in tree.rglob("*") if path.is_file()), flush=True)
    sys.stdin.readline()
"""


class Job:
    """Another process that uses the cache, and waits for a line at each of its steps."""

    def __init__(self, bucket: Path, kept: Path, blocks_at: str = "") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _USE, str(bucket), str(kept), blocks_at],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.says("listed")

    def says(self, words: str) -> None:
        assert self.process.stdout
        assert self.process.stdout.readline().startswith(words)

    def goes_on(self) -> None:
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()


@pytest.fixture
def job(bucket: Path, kept: Path) -> Iterator[Callable[..., Job]]:
    """Start another process that uses the cache; ended with the test."""
    jobs: list[Job] = []

    def start(blocks_at: str = "") -> Job:
        jobs.append(Job(bucket, kept, blocks_at))
        return jobs[-1]

    yield start
    for job in jobs:
        job.process.kill()
        job.process.communicate()


def test_two_jobs_that_start_together_fetch_once(job: Callable[..., Job], far: RemoteFolder, kept: Path) -> None:
    jobs = [job(), job(), job()]
    for each in jobs:
        each.goes_on()

    for each in jobs:
        each.says("b'train/a")
        each.goes_on()

    assert [each.process.wait() for each in jobs] == [0, 0, 0]
    assert _reads(far) == Counter(_KEYS)
    _assert_whole(kept)


@pytest.mark.parametrize("at", _KEYS)
def test_a_job_that_is_killed_in_the_middle_leaves_nothing_half(
    job: Callable[..., Job], far: RemoteFolder, kept: Path, at: str
) -> None:
    killed = job(blocks_at=at)
    killed.goes_on()
    killed.says("reading")
    killed.process.send_signal(signal.SIGKILL)
    killed.process.wait()
    assert _trees(kept) == []

    assert _tree(kept, far) == _content()

    _assert_whole(kept)
    assert len(_objects(kept)) == 3


def test_a_job_waits_for_one_that_fetches_the_same_and_goes_on_where_that_was_killed(
    job: Callable[..., Job], far: RemoteFolder, kept: Path
) -> None:
    first, second = job(blocks_at="train/a"), job()
    first.goes_on()
    first.says("reading")
    second.goes_on()
    first.process.send_signal(signal.SIGKILL)

    second.says("b'train/a")

    assert _reads(far)["train/a"] == 2
    assert _trees(kept) != []


def test_a_job_that_is_stopped_waits_for_no_other(job: Callable[..., Job], far: RemoteFolder, kept: Path) -> None:
    first = job(blocks_at="train/a")
    first.goes_on()
    first.says("reading")

    with pytest.raises(Interrupted), Cache(kept, _PLENTY).tree(far, _entries(far), Told(), lambda: True):
        pass

    first.goes_on()
    first.says("b'train/a")


def test_a_tree_that_another_process_uses_is_never_removed(job: Callable[..., Job], kept: Path) -> None:
    using = job()
    using.goes_on()
    using.says("b'train/a")
    (tree,) = _trees(kept)

    Cache(kept, 0).make_room()
    assert _below(tree) == _content()
    assert len(_objects(kept)) == 3

    using.process.kill()
    using.process.wait()
    Cache(kept, 0).make_room()
    assert [path for path in kept.rglob("*") if path.is_file()] == [kept / "lock"]


def test_what_another_process_fetches_is_not_removed(job: Callable[..., Job], far: RemoteFolder, kept: Path) -> None:
    fetching_ = job(blocks_at="train/b/c")
    fetching_.goes_on()
    fetching_.says("reading")

    Cache(kept, 0).make_room()

    fetching_.goes_on()
    fetching_.says("b'train/a")
    assert _reads(far) == Counter(_KEYS)


# What is let go.


@pytest.fixture
def three(tmp_path: Path) -> RemoteFolder:
    """A bucket of three channels of 1,000 bytes."""
    for name in ("one", "two", "three"):
        _put(tmp_path / f"bucket3/{name}/x", name.encode() * 100 + b"." * (1000 - 100 * len(name)))
    return RemoteFolder(tmp_path / "bucket3", tmp_path / "reads")


def _use(kept: Path, store: RemoteFolder, name: str, limit: int, at: int) -> None:
    """Use a channel, at a time that tests can tell apart."""
    with Cache(kept, limit).tree(store, _entries(store, f"{name}/"), Told(), _never) as tree:
        os.utime(tree, (at, at))


def _held(kept: Path) -> set[str]:
    return {content.decode().rstrip(".")[:3] for tree in _trees(kept) for content in _below(tree).values()}


def test_what_was_used_longest_ago_goes_first(three: RemoteFolder, kept: Path) -> None:
    _use(kept, three, "one", 2000, at=1)
    _use(kept, three, "two", 2000, at=2)
    _use(kept, three, "one", 2000, at=3)

    _use(kept, three, "three", 2000, at=4)

    assert _held(kept) == {"one", "thr"}
    assert sum(path.stat().st_size for path in _objects(kept)) == 2000


def test_all_stays_while_it_is_within_the_limit(three: RemoteFolder, kept: Path) -> None:
    for at, name in enumerate(("one", "two", "three")):
        _use(kept, three, name, 3000, at)

    assert _held(kept) == {"one", "two", "thr"}


def test_a_channel_that_is_larger_than_the_cache_is_had_all_the_same(three: RemoteFolder, kept: Path) -> None:
    _use(kept, three, "one", 100, at=1)
    _use(kept, three, "two", 100, at=2)

    assert _held(kept) == {"two"}
    Cache(kept, 100).make_room()
    assert [path for path in kept.rglob("*") if path.is_file()] == [kept / "lock"]


def test_room_is_made_before_the_disk_needs_it(
    three: RemoteFolder, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _use(kept, three, "one", _PLENTY, at=1)

    def usage(_: object) -> object:
        used = sum(path.stat().st_size for path in _objects(kept))
        return shutil._ntuple_diskusage(1500, used, 1500 - used)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    _use(kept, three, "two", _PLENTY, at=2)

    assert _held(kept) == {"two"}


def test_an_object_that_two_trees_hold_goes_with_the_last(far: RemoteFolder, kept: Path) -> None:
    _tree(kept, far)
    _tree(kept, far, "train/b/")
    for tree in _trees(kept):
        os.utime(tree, (1, 1) if (tree / "a").exists() else (2, 2))
    sizes = [len(content) for content in _content().values()]

    Cache(kept, sum(sizes) - 1).make_room()

    assert [set(_below(tree)) for tree in _trees(kept)] == [{"c", "d/é %20"}]
    assert sorted(path.stat().st_size for path in _objects(kept)) == sorted(sizes[1:])


def test_linked_files_of_a_bucket_count_for_nothing(bucket: Path, kept: Path) -> None:
    _tree(kept, FolderStore("near", bucket))

    Cache(kept, 1).make_room()

    assert len(_trees(kept)) == 1


def test_objects_of_no_tree_are_let_go_too(far: RemoteFolder, kept: Path) -> None:
    Cache(kept, _PLENTY).fetch(far, far.listed("train/"), Told(), _never)

    Cache(kept, 0).make_room()

    assert _objects(kept) == []


def test_a_tree_is_gone_from_its_name_before_its_files_are(
    three: RemoteFolder, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _use(kept, three, "one", _PLENTY, at=1)
    seen: list[list[Path]] = []
    rmtree = shutil.rmtree

    def watched(path: Path, **options: bool) -> None:
        seen.append(_trees(kept))
        rmtree(path, **options)

    monkeypatch.setattr(shutil, "rmtree", watched)
    Cache(kept, 0).make_room()

    assert seen == [[]]


# What goes wrong.


@pytest.mark.parametrize("damage", ["emptied", "gone"])
def test_a_tree_that_a_power_cut_damaged_is_made_again(far: RemoteFolder, kept: Path, damage: str) -> None:
    _tree(kept, far)
    (tree,) = _trees(kept)
    if damage == "emptied":
        os.truncate(tree / "a", 0)
    else:
        (tree / "a").unlink()

    assert _tree(kept, far) == _content()

    assert _trees(kept) == [tree]
    _assert_whole(kept)
    assert _reads(far)["train/b/c"] == 1


def test_what_ends_the_fetch_is_what_is_told(far: RemoteFolder, kept: Path, bucket: Path) -> None:
    entries = _entries(far)
    (bucket / "train/b/c").unlink()

    with (
        pytest.raises(ObjectVanished, match="s3://far/train/b/c"),
        Cache(kept, _PLENTY).tree(far, entries, Told(), _never),
    ):
        pass

    assert _trees(kept) == []
    _assert_whole(kept)


def test_an_object_shorter_than_it_was_listed_is_told(kept: Path, bucket: Path) -> None:
    class Short(RemoteFolder):
        def listed(self, prefix: str) -> list[S3Object]:
            return [S3Object(item.key, item.size + 1, item.etag) for item in super().listed(prefix)]

    store = Short(bucket, bucket.parent / "reads")

    with pytest.raises(ObjectVanished), Cache(kept, _PLENTY).tree(store, _entries(store), Told(), _never):
        pass

    assert _objects(kept) == []


def test_a_job_that_is_stopped_in_the_middle_leaves_what_is_whole(bucket: Path, kept: Path) -> None:
    stopped = threading.Event()
    store = RemoteFolder(bucket, bucket.parent / "reads", lambda _: stopped.set())

    with pytest.raises(Interrupted), Cache(kept, _PLENTY).tree(store, _entries(store), Told(), stopped.is_set):
        pass

    assert _trees(kept) == []
    _assert_whole(kept)
    assert _tree(kept, RemoteFolder(bucket, bucket.parent / "reads")) == _content()


def test_a_job_that_is_stopped_waits_for_no_server_that_hangs(
    bucket: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "_PATIENCE", 0.01)
    reading, answered = threading.Event(), threading.Event()

    def hang(_: S3Object) -> None:
        reading.set()
        answered.wait()

    store = RemoteFolder(bucket, bucket.parent / "reads", hang)

    with pytest.raises(Interrupted), Cache(kept, _PLENTY).tree(store, _entries(store), Told(), reading.is_set):
        pass

    assert list((kept / "parts").iterdir()) == []
    answered.set()


def test_ctrl_c_in_the_middle_leaves_nothing_half(bucket: Path, kept: Path) -> None:
    reading = threading.Event()

    def stopped() -> bool:
        if reading.is_set():
            raise KeyboardInterrupt
        return False

    store = RemoteFolder(bucket, bucket.parent / "reads", lambda _: reading.set())

    with pytest.raises(KeyboardInterrupt), Cache(kept, _PLENTY).tree(store, _entries(store), Told(), stopped):
        pass

    assert _trees(kept) == []
    _assert_whole(kept)


def test_a_disk_without_room_is_told_before_anything_is_fetched(
    far: RemoteFolder, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(2000, 0, 2000))

    with (
        pytest.raises(CacheFull, match=r"no room. 0.1 MB are to be fetched and 0.0 MB are free. .* HOMEPORT_CACHE"),
        Cache(kept, _PLENTY).tree(far, _entries(far), Told(), _never),
    ):
        pass

    assert _reads(far) == Counter()


def test_nothing_is_let_go_for_a_channel_that_no_disk_could_hold(
    far: RemoteFolder, three: RemoteFolder, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _use(kept, three, "one", _PLENTY, at=1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(2000, 1000, 1000))

    with pytest.raises(CacheFull), Cache(kept, _PLENTY).tree(far, _entries(far), Told(), _never):
        pass

    assert _held(kept) == {"one"}


def test_a_disk_that_fills_up_gets_back_what_this_job_wrote_and_no_more(bucket: Path, kept: Path) -> None:
    before = RemoteFolder(bucket, bucket.parent / "reads")
    _tree(kept, before, "train/b/c")

    def fill_up(found: S3Object) -> None:
        if found.key == "train/b/d/é %20":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store = RemoteFolder(bucket, bucket.parent / "reads", fill_up)
    with (
        pytest.raises(DiskFull, match=f"the cache {kept}: no room") as full,
        Cache(kept, _PLENTY).tree(store, _entries(store), Told(), _never),
    ):
        pass

    assert full.value.exit_code == 3
    assert [path.read_bytes() for path in _objects(kept)] == [_content()["b/c"]]
    assert [_below(tree) for tree in _trees(kept)] == [{"c": _content()["b/c"]}]
    assert list((kept / "parts").iterdir()) == []


def test_a_cache_that_is_a_file_is_told(far: RemoteFolder, kept: Path) -> None:
    kept.write_bytes(b"")

    with (
        pytest.raises(MachineCannot, match=rf"the cache {kept}: .*Name another directory with HOMEPORT_CACHE"),
        Cache(kept, _PLENTY).tree(far, _entries(far), Told(), _never),
    ):
        pass


@pytest.mark.usefixtures("as_anybody")
def test_a_cache_that_may_not_be_written_is_told(far: RemoteFolder, kept: Path) -> None:
    kept.mkdir(mode=0o500)

    with (
        pytest.raises(MachineCannot, match=r"Permission denied. Name another directory with HOMEPORT_CACHE"),
        Cache(kept, _PLENTY).tree(far, _entries(far), Told(), _never),
    ):
        pass


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EIO])
def test_what_the_disk_refuses_is_told(
    far: RemoteFolder, kept: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number), str(kept))

    monkeypatch.setattr(cache, "lock_now", refuse)

    with (
        pytest.raises(MachineCannot, match=rf"the cache {kept}: {kept}: {os.strerror(number)}. Name another"),
        Cache(kept, _PLENTY).tree(far, _entries(far), Told(), _never),
    ):
        pass


def test_what_a_job_does_with_its_tree_is_its_own_fault(far: RemoteFolder, kept: Path) -> None:
    def use() -> None:
        with Cache(kept, _PLENTY).tree(far, _entries(far), Told(), _never):
            raise PermissionError(errno.EACCES, "something else")

    with pytest.raises(PermissionError, match="something else"):
        use()


def test_what_killed_jobs_had_begun_is_swept(kept: Path) -> None:
    (kept / "parts").mkdir(parents=True)
    (kept / f"parts/.x{SUFFIX}").write_bytes(b"half")

    with written(kept / "objects/b", parts=kept / "parts") as part:
        Cache(kept, _PLENTY).sweep()

        assert list((kept / "parts").iterdir()) == [Path(part.name)]


def test_leftovers_of_killed_jobs_are_swept_when_room_is_made(kept: Path) -> None:
    (kept / f"parts/.x.spool{SUFFIX}/tree").mkdir(parents=True)
    (kept / f"parts/.x.spool{SUFFIX}/tree/half").write_bytes(b"half")
    (kept / f"parts/.x{SUFFIX}").write_bytes(b"")

    _put(kept / "trees/12cd.lock", b"")

    Cache(kept, _PLENTY).make_room()

    assert [path for path in kept.rglob("*") if path.is_file()] == [kept / "lock"]
    assert list((kept / "parts").iterdir()) == []
