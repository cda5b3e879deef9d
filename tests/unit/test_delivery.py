"""What a job left, in the bucket of its OutputDataConfig."""

import threading
from collections.abc import Generator, Sequence
from pathlib import Path

import pytest

from local_mode.delivery import NotDelivered, deliver, output_prefix
from local_mode.object_store import FolderStore, InputRefused, S3Object
from local_mode.outputs import Artifacts, OutputFile, collect
from tests.left import Left, directory, file
from training_job.errors import HomeportError, MachineCannot
from training_job.s3_uri import S3Uri

PREFIX = "models/job-1/output"


class Told:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.begun: list[tuple[int, int]] = []
        self.uris: list[str] = []

    def begins(self, files: int, size: int) -> None:
        self.begun.append((files, size))

    def delivered(self, uri: str, size: int) -> None:  # noqa: ARG002 - the port's
        self.uris.append(uri)


class Refusing:
    """A bucket that refuses one key, and takes the others once it was said that it did."""

    identity = "refusing"

    def __init__(self, refused: str, why: Exception) -> None:
        self._refused = refused
        self._why = why
        self._told = threading.Event()
        self.written: list[str] = []

    def write(self, key: str, source: Path) -> None:  # noqa: ARG002 - the port's
        if key == self._refused:
            raise self._why
        assert self._told.wait(10)
        self.written.append(key)

    def uri(self, key: str) -> str:
        if key == self._refused:
            self._told.set()
        return f"s3://bucket/{key}"

    def listed(self, prefix: str) -> list[S3Object]:
        raise NotImplementedError

    def read(self, found: S3Object) -> Generator[bytes, None, None]:
        raise NotImplementedError

    def file(self, found: S3Object) -> Path | None:
        raise NotImplementedError

    def delete(self, keys: Sequence[str]) -> None:
        raise NotImplementedError


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return collect({"algo-1": Left([file("a", b"1")], [directory("data"), file("data/x", b"2")])}, tmp_path / "output")


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    (tmp_path / "bucket").mkdir()
    return FolderStore("bucket", tmp_path / "bucket")


@pytest.mark.parametrize(
    ("path", "prefix"),
    [
        ("s3://bucket/models", "models/job-1/output"),
        ("s3://bucket/a/b/", "a/b/job-1/output"),
        ("s3://bucket", "job-1/output"),
        ("s3://bucket/", "job-1/output"),
    ],
)
def test_the_prefix_is_the_paths_then_the_job_then_output(path: str, prefix: str) -> None:
    assert output_prefix(S3Uri.parse(path), "job-1") == prefix


def test_archives_are_delivered_whole_and_told(artifacts: Artifacts, store: FolderStore, tmp_path: Path) -> None:
    told = Told()

    uris = deliver(artifacts, store, PREFIX, told)

    assert uris == [f"s3://bucket/{PREFIX}/model.tar.gz", f"s3://bucket/{PREFIX}/output.tar.gz"]
    for name in ("model.tar.gz", "output.tar.gz"):
        assert (tmp_path / "bucket" / PREFIX / name).read_bytes() == (tmp_path / "output" / name).read_bytes()
    assert told.begun == [(2, artifacts.model.stat().st_size + artifacts.output.stat().st_size)]
    assert sorted(told.uris) == uris


def test_an_empty_model_is_delivered_and_an_empty_output_is_not(store: FolderStore, tmp_path: Path) -> None:
    nothing = collect({"algo-1": Left()}, tmp_path / "output")

    assert deliver(nothing, store, PREFIX, Told()) == [f"s3://bucket/{PREFIX}/model.tar.gz"]


def test_uncompressed_files_are_delivered_as_they_lie(store: FolderStore, tmp_path: Path) -> None:
    host = Left([directory("1"), file("1/a", b"1"), file("b", b"2")], [directory("data"), file("data/x", b"3")])
    left = collect({"algo-1": host}, tmp_path / "output", compressed=False)

    uris = deliver(left, store, PREFIX, Told())

    assert uris == [f"s3://bucket/{PREFIX}/{key}" for key in ("model/1/a", "model/b", "data/x")]
    assert (tmp_path / "bucket" / PREFIX / "model/1/a").read_bytes() == b"1"


@pytest.mark.parametrize(
    ("why", "exit_code"),
    [
        (MachineCannot("access denied"), 3),
        (InputRefused("no such bucket"), 2),
        (OSError(5, "Input/output error"), 3),
    ],
)
def test_what_cannot_be_delivered_is_named_with_its_key_and_where_it_still_is(
    artifacts: Artifacts, why: Exception, exit_code: int
) -> None:
    store = Refusing(f"{PREFIX}/output.tar.gz", why)

    with pytest.raises(NotDelivered) as refused:
        deliver(artifacts, store, PREFIX, Told())

    assert str(refused.value).startswith(
        f"{artifacts.output}: not delivered to s3://bucket/{PREFIX}/output.tar.gz: {why}"
    )
    assert "still whole in the run's folder" in str(refused.value)
    assert refused.value.exit_code == exit_code
    assert artifacts.output.is_file()


def test_after_a_failure_nothing_more_is_begun(tmp_path: Path) -> None:
    source = tmp_path / "file"
    source.write_bytes(b"1")
    files = tuple(OutputFile(f"model/{number}", source) for number in range(50))
    store = Refusing("model/0", MachineCannot("access denied"))

    with pytest.raises(HomeportError, match="access denied"):
        deliver(Artifacts(tmp_path, tmp_path, files=files), store, "", Told())

    # Those that were being written when the first failed.
    assert len(store.written) < 10


def test_files_are_delivered_side_by_side(tmp_path: Path) -> None:
    source = tmp_path / "file"
    source.write_bytes(b"1")
    together = threading.Barrier(4, timeout=10)

    class Meeting(Refusing):
        def write(self, key: str, source: Path) -> None:  # noqa: ARG002 - the port's
            together.wait()

    files = tuple(OutputFile(f"model/{number}", source) for number in range(4))

    assert len(deliver(Artifacts(tmp_path, tmp_path, files=files), Meeting("", OSError()), "", Told())) == 4
