"""What each epoch of a Pipe channel writes: a directory or a far store as bucket, and real pipes where it matters."""

import errno
import gzip
import io
import json
import os
import struct
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from local_mode.buckets import Folder
from local_mode.cache import Cache
from local_mode.epochs import epochs
from local_mode.inputs.recordio import LIMIT
from local_mode.inputs.s3 import S3Channel
from local_mode.object_store import FolderStore, InputRefused, ObjectStore, ObjectVanished, S3Object
from local_mode.part_files import no_room_told
from local_mode.pipes import Feed, Piece, feeding
from training_job.errors import DiskFull, MachineCannot
from training_job.s3_uri import S3Uri

PATIENCE = 10  # seconds after which a test that waits for nothing fails
MEBIBYTE = 1 << 20
SIZES = [6, 2 * MEBIBYTE]
"""Of objects that are read and written, and of those that the kernel moves or a fetch streams."""
HOSTS = ("algo-1", "algo-2", "algo-3")


class FarStore(FolderStore):
    """A bucket that is no directory of this machine: its objects are fetched, and each fetch is counted."""

    def __init__(self, bucket: str, root: Path) -> None:
        super().__init__(bucket, root)
        self.reads: Counter[str] = Counter()

    def file(self, found: S3Object) -> Path | None:  # noqa: ARG002 - the port's
        return None

    def read(self, found: S3Object) -> Generator[bytes, None, None]:
        self.reads[found.key] += 1
        yield from super().read(found)


class Buckets:
    """Directories below `root` as buckets."""

    def __init__(self, root: Path, kind: type[FolderStore] = FolderStore) -> None:
        self.root = root
        self._kind = kind
        self._stores: dict[str, ObjectStore] = {}

    def __call__(self, bucket: str) -> ObjectStore:
        return self._stores.setdefault(bucket, self._kind(bucket, self.root / bucket))

    def put(self, key: str, content: bytes, bucket: str = "my-bucket") -> bytes:
        path = self.root / bucket / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return content


@pytest.fixture
def buckets(tmp_path: Path) -> Buckets:
    return Buckets(tmp_path / "s3")


@pytest.fixture
def far(tmp_path: Path) -> Buckets:
    return Buckets(tmp_path / "s3", FarStore)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", 1 << 30)


def a_channel(data_type: str = "S3Prefix", key: str = "train/", **changes: Any) -> S3Channel:
    uri = S3Uri("my-bucket", key)
    bucket = Folder("my-bucket", Path("/nowhere"))
    return S3Channel("train", "Pipe", uri, data_type, bucket, **{"hosts": ("algo-1",), **changes})


def feeds_of(channel: S3Channel, buckets: Buckets, cache: Cache) -> list[Feed]:
    buckets.root.mkdir(exist_ok=True)
    return epochs(channel, buckets, cache, buckets.root)


def written(feed: Feed, epoch: int = 0) -> bytes:
    return b"".join(piece if isinstance(piece, bytes) else piece.read() for piece in feed.pieces(epoch))


def only(channel: S3Channel, buckets: Buckets, cache: Cache, epoch: int = 0) -> bytes:
    (feed,) = feeds_of(channel, buckets, cache)
    return written(feed, epoch)


def records(stream: bytes) -> list[bytes]:
    found, source = [], io.BytesIO(stream)
    while head := source.read(8):
        magic, length = struct.unpack("<II", head)
        assert magic == 0xCED7230A
        found.append(source.read(length))
        source.read(-length % 4)
    return found


def numbers(stream: bytes) -> list[int]:
    return [int(number) for number in stream.split()]


def put_numbers(buckets: Buckets, count: int) -> list[int]:
    for number in range(count):
        buckets.put(f"train/{number:03}", f"{number} ".encode())
    return list(range(count))


def test_an_epoch_is_every_object_below_the_prefix_by_key(buckets: Buckets, cache: Cache) -> None:
    buckets.put("train/b", b"B")
    buckets.put("train/a/1", b"A")
    buckets.put("trainer", b"no")

    assert [only(a_channel(), buckets, cache, epoch) for epoch in (0, 1)] == [b"AB", b"AB"]


class AnyKeys(FolderStore):
    """A bucket whose keys no directory could hold side by side."""

    def listed(self, prefix: str) -> list[S3Object]:
        return [S3Object(key, len(key), key) for key in (f"{prefix}a", f"{prefix}a/b", f"{prefix}{'n' * 300}")]

    def file(self, found: S3Object) -> Path | None:  # noqa: ARG002 - the port's
        return None

    def read(self, found: S3Object) -> Generator[bytes, None, None]:
        yield found.key.encode()


def test_a_stream_takes_keys_that_no_directory_could_hold_side_by_side(tmp_path: Path, cache: Cache) -> None:
    found = only(a_channel(), Buckets(tmp_path, AnyKeys), cache)

    assert found == b"train/atrain/a/btrain/" + b"n" * 300


def test_feeds_have_the_hosts_and_the_channel_in_the_path(buckets: Buckets, cache: Cache) -> None:
    put_numbers(buckets, 1)

    feeds = feeds_of(a_channel(hosts=HOSTS), buckets, cache)

    assert [(feed.host, feed.channel) for feed in feeds] == [(host, "train") for host in HOSTS]


def test_an_empty_channel_is_refused_before_anything_starts(buckets: Buckets, cache: Cache) -> None:
    buckets.put("other", b"")

    with pytest.raises(InputRefused, match="s3://my-bucket/train/: there is no object"):
        feeds_of(a_channel(), buckets, cache)


def test_without_shards_every_host_reads_everything(buckets: Buckets, cache: Cache) -> None:
    everything = put_numbers(buckets, 10)

    feeds = feeds_of(a_channel(hosts=HOSTS), buckets, cache)

    assert [numbers(written(feed)) for feed in feeds] == [everything] * 3


@pytest.mark.parametrize("seed", [None, 7])
def test_shards_together_are_every_object_once_in_every_epoch(buckets: Buckets, cache: Cache, seed: int | None) -> None:
    everything = put_numbers(buckets, 50)

    feeds = feeds_of(a_channel(hosts=HOSTS, sharded=True, seed=seed), buckets, cache)

    for epoch in range(3):
        shards = [numbers(written(feed, epoch)) for feed in feeds]
        assert sorted(number for shard in shards for number in shard) == everything
        assert sorted(map(len, shards)) == [16, 17, 17]


def test_without_a_seed_a_shard_stays_what_it_is(buckets: Buckets, cache: Cache) -> None:
    put_numbers(buckets, 50)

    feed = feeds_of(a_channel(hosts=HOSTS, sharded=True), buckets, cache)[1]

    assert written(feed, 0) == written(feed, 1)


def test_with_a_seed_another_host_gets_an_object_in_the_next_epoch(buckets: Buckets, cache: Cache) -> None:
    put_numbers(buckets, 50)

    feed = feeds_of(a_channel(hosts=HOSTS, sharded=True, seed=7), buckets, cache)[1]

    assert set(numbers(written(feed, 0))) != set(numbers(written(feed, 1)))


def test_hosts_that_no_object_is_left_for_read_an_empty_pipe(buckets: Buckets, cache: Cache) -> None:
    put_numbers(buckets, 2)

    feeds = feeds_of(a_channel(hosts=HOSTS, sharded=True), buckets, cache)

    assert [written(feed) for feed in feeds] == [b"0 ", b"1 ", b""]


def test_a_seed_gives_another_order_in_each_epoch_and_the_same_on_each_host(buckets: Buckets, cache: Cache) -> None:
    everything = put_numbers(buckets, 50)

    feeds = feeds_of(a_channel(hosts=HOSTS, seed=7), buckets, cache)

    orders = [[tuple(numbers(written(feed, epoch))) for feed in feeds] for epoch in range(4)]
    assert all(len(set(order)) == 1 for order in orders)
    assert len({order[0] for order in orders}) == 4
    assert all(sorted(order[0]) == everything for order in orders)


def test_the_same_seed_gives_the_same_orders_again_and_another_seed_others(buckets: Buckets, cache: Cache) -> None:
    put_numbers(buckets, 50)

    first, again, other = (
        [only(a_channel(seed=seed), buckets, cache, epoch) for epoch in range(3)] for seed in (7, 7, 8)
    )

    assert first == again != other


def test_each_object_is_one_record(buckets: Buckets, cache: Cache) -> None:
    contents = [buckets.put(f"train/{size:08}", os.urandom(size)) for size in (0, 1, 3, 4, 65_536, 65_537, MEBIBYTE)]

    assert records(only(a_channel(record_io=True), buckets, cache)) == contents


def test_an_object_that_no_record_can_hold_is_refused_before_anything_starts(buckets: Buckets, cache: Cache) -> None:
    buckets.put("train/large", b"")
    os.truncate(buckets.root / "my-bucket/train/large", LIMIT)

    with pytest.raises(InputRefused, match=r"s3://my-bucket/train/large: RecordWrapperType RecordIO, and .* 536\.9 MB"):
        feeds_of(a_channel(record_io=True), buckets, cache)


def test_gzip_is_undone_members_and_all(buckets: Buckets, cache: Cache) -> None:
    contents = [os.urandom(2 * MEBIBYTE), b"second member", b"", bytes(10 * MEBIBYTE)]
    buckets.put("train/a.gz", b"".join(map(gzip.compress, contents[:2])))
    buckets.put("train/b.gz", b"".join(map(gzip.compress, contents[2:])))

    assert only(a_channel(gzip=True), buckets, cache) == b"".join(contents)


@pytest.mark.parametrize("size", [0, 5, 65_536, 65_537, 3 * MEBIBYTE])
def test_a_record_of_gzip_has_the_size_that_it_is_unpacked(buckets: Buckets, cache: Cache, size: int) -> None:
    content = os.urandom(size)
    buckets.put("train/a.gz", gzip.compress(content))

    assert records(only(a_channel(gzip=True, record_io=True), buckets, cache)) == [content]
    assert [path.name for path in buckets.root.iterdir()] == ["my-bucket"]


@pytest.mark.parametrize(
    "content",
    [b"no gzip at all", gzip.compress(os.urandom(1000))[:-9], gzip.compress(b"x" * 100)[:-8] + b"12345678"],
    ids=["not gzip", "cut off", "wrong checksum"],
)
def test_what_is_no_gzip_is_refused_by_name(buckets: Buckets, cache: Cache, content: bytes) -> None:
    buckets.put("train/a.gz", content)

    with pytest.raises(InputRefused, match=r"s3://my-bucket/train/a\.gz: CompressionType Gzip, and this is no whole"):
        only(a_channel(gzip=True), buckets, cache)


def test_a_manifest_names_what_is_read_and_in_which_order(buckets: Buckets, cache: Cache) -> None:
    for name in ("a", "b", "c"):
        buckets.put(f"elsewhere/{name}", name.encode(), bucket="other")
    buckets.put("list", json.dumps([{"prefix": "s3://other/elsewhere/"}, "c", "a"]).encode())

    assert only(a_channel("ManifestFile", "list"), buckets, cache) == b"ca"


def test_every_name_of_a_manifest_that_is_not_there_is_told(buckets: Buckets, cache: Cache) -> None:
    buckets.put("train/a", b"")
    buckets.put("list", json.dumps([{"prefix": "s3://my-bucket/train/"}, "b", "a", "c"]).encode())

    with pytest.raises(InputRefused, match=r"names s3://my-bucket/train/b, .*names s3://my-bucket/train/c, "):
        feeds_of(a_channel("ManifestFile", "list"), buckets, cache)


def test_a_manifest_of_thousands_is_looked_up_by_listing(buckets: Buckets, cache: Cache) -> None:
    names = [f"{number:05}" for number in range(1500)]
    for name in names:
        buckets.put(f"train/{name}", name.encode())
    buckets.put("list", json.dumps([{"prefix": "s3://my-bucket/train/"}, *names]).encode())

    assert only(a_channel("ManifestFile", "list"), buckets, cache) == "".join(names).encode()


def put_augmented(buckets: Buckets, lines: Sequence[dict[str, object]], key: str = "list") -> None:
    buckets.put(key, "\n".join(map(json.dumps, lines)).encode())


def test_an_augmented_manifest_gives_each_attribute_as_a_record(buckets: Buckets, cache: Cache) -> None:
    dog = buckets.put("images/dog.jpg", os.urandom(70_000))
    cat = buckets.put("images/cat.jpg", os.urandom(5), bucket="other")
    put_augmented(
        buckets,
        [
            {"source-ref": "s3://my-bucket/images/dog.jpg", "class": 1, "skipped": "x"},
            {"source-ref": "s3://other/images/cat.jpg", "class": "0"},
            {"source-ref": "s3://my-bucket/images/dog.jpg", "class": {"a": [1, None]}},
        ],
    )
    channel = a_channel("AugmentedManifestFile", "list", attributes=("source-ref", "class"), record_io=True)

    assert records(only(channel, buckets, cache)) == [dog, b"1", cat, b"0", dog, b'{"a":[1,null]}']


def test_the_order_of_attributes_is_the_one_asked_for(buckets: Buckets, cache: Cache) -> None:
    put_augmented(buckets, [{"a": "1", "b": "2"}, {"b": "4", "a": "3"}])

    assert only(a_channel("AugmentedManifestFile", "list", attributes=("b", "a")), buckets, cache) == b"2143"


def test_the_lines_of_an_augmented_manifest_are_shuffled_whole(buckets: Buckets, cache: Cache) -> None:
    put_augmented(buckets, [{"a": f"{number}", "b": f"-{number}"} for number in range(20)])
    channel = a_channel("AugmentedManifestFile", "list", attributes=("a", "b"), record_io=True, seed=1)

    read = [int(record) for record in records(only(channel, buckets, cache))]

    assert [pair[0] + pair[1] for pair in zip(read[::2], read[1::2], strict=True)] == [0] * 20
    assert read[::2] != list(range(20))


def test_only_what_is_referred_to_is_unzipped(buckets: Buckets, cache: Cache) -> None:
    buckets.put("a.gz", gzip.compress(b"content"))
    put_augmented(buckets, [{"a-ref": "s3://my-bucket/a.gz", "b": "text"}])

    channel = a_channel("AugmentedManifestFile", "list", attributes=("a-ref", "b"), gzip=True)

    assert only(channel, buckets, cache) == b"contenttext"


def test_every_reference_to_nothing_is_told(buckets: Buckets, cache: Cache) -> None:
    buckets.put("a", b"", bucket="other")
    put_augmented(buckets, [{"a-ref": f"s3://{place}"} for place in ("my-bucket/b", "other/a", "other/c")])

    with pytest.raises(
        InputRefused, match=r"s3://my-bucket/list: refers to s3://my-bucket/b, .*s3://other/c, which is"
    ):
        feeds_of(a_channel("AugmentedManifestFile", "list", attributes=("a-ref",)), buckets, cache)


@pytest.mark.parametrize(
    ("content", "why"), [(b"\n", "has no line"), (b"{\n", "line 1: is no JSON"), (b"[]", "line 1")]
)
def test_an_augmented_manifest_that_cannot_be_read_is_refused(
    buckets: Buckets, cache: Cache, content: bytes, why: str
) -> None:
    buckets.put("list", content)

    with pytest.raises(InputRefused, match=f"s3://my-bucket/list: .*{why}"):
        feeds_of(a_channel("AugmentedManifestFile", "list", attributes=("a",)), buckets, cache)


def test_a_file_of_this_machine_is_moved_and_never_copied_into_the_cache(
    buckets: Buckets, cache: Cache, tmp_path: Path
) -> None:
    content = buckets.put("train/a", os.urandom(MEBIBYTE))
    (feed,) = feeds_of(a_channel(), buckets, cache)

    pieces = [piece if isinstance(piece, bytes) else (piece.fileno() > 0, piece.read()) for piece in feed.pieces(0)]

    assert pieces == [(True, content)]
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("size", SIZES)
def test_what_is_fetched_for_one_epoch_is_here_for_the_next_and_for_the_next_job(
    far: Buckets, cache: Cache, tmp_path: Path, size: int
) -> None:
    content = far.put("train/a", os.urandom(size)) + far.put("train/b", os.urandom(size))

    read = [only(a_channel(), far, cache, epoch) for epoch in (0, 1)]
    read.append(only(a_channel(), far, Cache(tmp_path / "cache", 1 << 30)))

    assert read == [content] * 3
    assert reads(far) == {"train/a": 1, "train/b": 1}


def reads(far: Buckets) -> dict[str, int]:
    store = far("my-bucket")
    assert isinstance(store, FarStore)
    return dict(store.reads)


def test_what_was_read_in_part_is_not_kept(far: Buckets, cache: Cache) -> None:
    content = far.put("train/a", os.urandom(9 * MEBIBYTE))
    (feed,) = feeds_of(a_channel(), far, cache)
    pieces = feed.pieces(0)
    next(pieces)
    pieces.close()

    assert written(feed, 1) == content
    assert reads(far) == {"train/a": 2}


def test_a_far_object_is_a_record_too(far: Buckets, cache: Cache) -> None:
    contents = [far.put(f"train/{size:08}", os.urandom(size)) for size in (0, 1, 70_000, 9 * MEBIBYTE)]
    channel = a_channel(record_io=True)

    assert [records(only(channel, far, cache, epoch)) for epoch in (0, 1)] == [contents] * 2


def test_far_gzip_is_kept_packed_and_unpacked_each_time(far: Buckets, cache: Cache) -> None:
    contents = [os.urandom(size) for size in (10, 2 * MEBIBYTE)]
    for number, content in enumerate(contents):
        far.put(f"train/{number}", gzip.compress(content, 1))

    for channel in (a_channel(gzip=True), a_channel(gzip=True, record_io=True)):
        read = only(channel, far, cache)
        assert (records(read) if channel.record_io else [read]) == (
            contents if channel.record_io else [b"".join(contents)]
        )
    assert reads(far) == {"train/0": 1, "train/1": 1}


def test_small_far_objects_are_fetched_side_by_side_and_stay_in_order(
    far: Buckets, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = put_numbers(far, 100)
    several = threading.Barrier(4, timeout=PATIENCE)
    read = FarStore.read

    def slow(store: FarStore, found: S3Object) -> Generator[bytes, None, None]:
        several.wait()
        yield from read(store, found)

    monkeypatch.setattr(FarStore, "read", slow)

    assert numbers(only(a_channel(), far, cache)) == everything


def test_more_than_the_cache_may_hold_is_passed_on_and_not_kept(far: Buckets, tmp_path: Path) -> None:
    content = far.put("train/a", os.urandom(3 * MEBIBYTE))

    assert only(a_channel(), far, Cache(tmp_path / "cache", 2 * MEBIBYTE)) == content
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_a_cache_that_is_streamed_into_stays_near_its_limit(far: Buckets, tmp_path: Path) -> None:
    content = b"".join(far.put(f"train/{number:02}", os.urandom(MEBIBYTE + 1)) for number in range(30))
    limit = 8 * MEBIBYTE

    assert only(a_channel(), far, Cache(tmp_path / "cache", limit)) == content
    kept = sum(path.stat().st_size for path in (tmp_path / "cache/objects").rglob("*") if path.is_file())
    assert kept <= limit + limit // 8 + MEBIBYTE + 1


def test_a_disk_without_room_passes_on_what_it_cannot_keep(
    far: Buckets, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = far.put("train/a", os.urandom(9 * MEBIBYTE))

    def no_room(*_: object) -> None:
        raise DiskFull(tmp_path, 1, 0)

    monkeypatch.setattr(Cache, "_check_room", no_room)

    assert only(a_channel(), far, cache) == content


def test_a_disk_that_fills_up_in_the_middle_loses_nothing(
    far: Buckets, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = far.put("train/a", os.urandom(9 * MEBIBYTE))

    class Filling(io.BytesIO):
        def write(self, piece: object, /) -> int:
            if self.tell():
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(piece)  # type: ignore[arg-type]

    @contextmanager
    def written_to_it(path: Path, **_: object) -> Iterator[Filling]:
        tmp_path.joinpath("cache").mkdir()
        with no_room_told(path, 0):
            yield Filling()

    monkeypatch.setattr("local_mode.cache.written", written_to_it)

    assert only(a_channel(), far, cache) == content


def changed(path: Path) -> None:
    path.write_bytes(b"longer than before")


@pytest.mark.parametrize("change", [Path.unlink, changed])
@pytest.mark.parametrize("kind", [FolderStore, FarStore])
@pytest.mark.parametrize("size", SIZES)
def test_an_object_that_is_another_by_its_turn_is_told_of(
    tmp_path: Path, cache: Cache, change: Callable[[Path], None], kind: type[FolderStore], size: int
) -> None:
    buckets = Buckets(tmp_path / "s3", kind)
    buckets.put("train/a", bytes(size))
    (feed,) = feeds_of(a_channel(), buckets, cache)
    change(buckets.root / "my-bucket/train/a")

    with pytest.raises(ObjectVanished, match="s3://my-bucket/train/a"):
        written(feed)


@pytest.mark.parametrize("size", SIZES)
def test_a_file_that_cannot_be_read_is_told_of(
    buckets: Buckets, cache: Cache, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    buckets.put("train/a", bytes(size))
    (feed,) = feeds_of(a_channel(), buckets, cache)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)

    with pytest.raises(MachineCannot, match="train/a cannot be read by you"):
        written(feed)


def test_three_epochs_come_through_real_pipes_to_every_host(far: Buckets, cache: Cache, tmp_path: Path) -> None:
    contents = [far.put(f"train/{number}", os.urandom(300_000 * number)) for number in range(8)]
    channel = a_channel(hosts=HOSTS, sharded=True, seed=3, record_io=True)
    failures: list[BaseException] = []

    with feeding(tmp_path / "pipes", feeds_of(channel, far, cache), failures.append) as feeders:
        for epoch in range(3):
            read = [records((tmp_path / "pipes" / host / f"train_{epoch}").read_bytes()) for host in HOSTS]
            assert sorted(record for share in read for record in share) == sorted(contents)

    assert (failures, feeders.unread) == ([], ())


def test_a_reader_that_closes_early_leaves_no_fetch_behind(far: Buckets, cache: Cache, tmp_path: Path) -> None:
    put_numbers(far, 200)
    failures: list[BaseException] = []

    with feeding(tmp_path / "pipes", feeds_of(a_channel(), far, cache), failures.append):
        (tmp_path / "pipes/algo-1/train_0").open("rb").close()

    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("pipe ", "ThreadPool"))]
    assert failures == []


def test_a_lone_piece_is_bytes_where_it_is_small(buckets: Buckets, cache: Cache) -> None:
    buckets.put("train/a", b"x" * 65_536)
    (feed,) = feeds_of(a_channel(), buckets, cache)

    pieces: list[Piece] = list(feed.pieces(0))

    assert pieces == [b"x" * 65_536]
