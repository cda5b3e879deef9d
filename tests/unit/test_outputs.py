"""model.tar.gz and output.tar.gz of what the hosts left."""

import errno
import gzip
import io
import tarfile
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from local_mode import outputs
from local_mode.outputs import Artifacts, Collision, collect
from training_job.errors import DiskFull

CHUNK = 1000  # small, so that members and chunks end at different places


class Left:
    """A host that has ended, as far as collect sees it: what is under /opt/ml/model and /opt/ml/output."""

    def __init__(self, model: list[tarfile.TarInfo] | None = None, output: list[tarfile.TarInfo] | None = None) -> None:
        self._left = {"/opt/ml/model": model or [], "/opt/ml/output": output or []}
        self.closed: list[str] = []

    def fetch(self, path: str) -> Generator[bytes, None, None]:
        stream = io.BytesIO()
        folder = Path(path).name
        with tarfile.open(fileobj=stream, mode="w") as archive:
            archive.addfile(directory(folder))
            for entry in self._left[path]:
                entry.name = f"{folder}/{entry.name}"
                if entry.islnk():
                    entry.linkname = f"{folder}/{entry.linkname}"
                archive.addfile(entry, io.BytesIO(entry.content) if entry.isreg() else None)
        packed = stream.getvalue()
        try:
            yield from (packed[start : start + CHUNK] for start in range(0, len(packed), CHUNK))
        finally:
            self.closed.append(path)


class Entry(tarfile.TarInfo):
    """A member with its content."""

    content = b""


def file(name: str, content: bytes = b"", mode: int = 0o644) -> Entry:
    entry = Entry(name)
    entry.content, entry.size, entry.mode = content, len(content), mode
    entry.uid = entry.gid = 1000
    entry.uname, entry.mtime = "somebody", 1_700_000_000
    return entry


def directory(name: str) -> Entry:
    entry = Entry(name)
    entry.type = tarfile.DIRTYPE
    return entry


def of_type(kind: bytes, name: str, to: str = "") -> Entry:
    entry = Entry(name)
    entry.type, entry.linkname = kind, to
    return entry


def packed(path: Path) -> dict[str, bytes | str | None]:
    """Files with their content, links with what they point to, directories with nothing."""
    with tarfile.open(path) as archive:
        return {
            entry.name: content.read()
            if entry.isreg() and (content := archive.extractfile(entry))
            else entry.linkname or None
            for entry in archive
        }


@pytest.fixture
def collected(tmp_path: Path) -> Callable[..., Artifacts]:
    return lambda *hosts: collect(
        {f"algo-{number}": host for number, host in enumerate(hosts, start=1)}, tmp_path / "output"
    )


def test_a_model_is_at_the_root_of_its_archive(collected: Callable[..., Artifacts]) -> None:
    model = [directory("1"), file("1/saved_model.pb", b"model"), file("weights", b"w" * 5000)]

    found = collected(Left(model))

    assert packed(found.model) == {"1": None, "1/saved_model.pb": b"model", "weights": b"w" * 5000}
    assert found.model_files == 2
    assert found.collisions == []


def test_the_outputs_archive_holds_data_and_nothing_beside_it(collected: Callable[..., Artifacts]) -> None:
    output = [
        directory("data"),
        file("data/evaluation.json", b"{}"),
        directory("data/data"),
        file("data/data/more", b"1"),
        file("success"),
        directory("metrics"),
        file("metrics/m", b"1"),
    ]

    found = collected(Left(output=output))

    assert packed(found.output) == {"evaluation.json": b"{}", "data": None, "data/more": b"1"}
    assert found.output_files == 2


def test_names_like_the_folders_own_are_kept(collected: Callable[..., Artifacts]) -> None:
    found = collected(Left([directory("model"), file("model/model.h5", b"1"), file("modeling.txt", b"2")]))

    assert packed(found.model) == {"model": None, "model/model.h5": b"1", "modeling.txt": b"2"}


def test_hosts_are_merged_and_what_two_wrote_is_told_and_the_firsts_kept(collected: Callable[..., Artifacts]) -> None:
    first = Left([directory("shared"), file("shared/a", b"1"), file("weights", b"first")])
    second = Left([directory("shared"), file("shared/b", b"2"), file("weights", b"second")])
    third = Left([file("weights", b"third")], [directory("data"), file("data/x", b"3")])

    found = collected(first, second, third)

    assert packed(found.model) == {"shared": None, "shared/a": b"1", "weights": b"first", "shared/b": b"2"}
    assert packed(found.output) == {"x": b"3"}
    assert found.collisions == [Collision("model.tar.gz", "weights", ("algo-1", "algo-2", "algo-3"))]


def test_a_file_of_one_host_that_is_a_directory_of_another_makes_no_archive_that_cannot_be_unpacked(
    collected: Callable[..., Artifacts], tmp_path: Path
) -> None:
    found = collected(Left([file("a", b"1")]), Left([directory("a"), file("a/b", b"2")]))

    with tarfile.open(found.model) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    assert Collision("model.tar.gz", "a", ("algo-1", "algo-2")) in found.collisions


def test_a_directory_of_one_host_that_is_a_file_of_another_is_told(collected: Callable[..., Artifacts]) -> None:
    found = collected(Left([directory("a"), file("a/b", b"2")]), Left([file("a", b"1")]))

    assert found.collisions == [Collision("model.tar.gz", "a", ("algo-1", "algo-2"))]


def test_nothing_left_is_two_empty_archives(collected: Callable[..., Artifacts]) -> None:
    found = collected(Left(), Left())

    assert (packed(found.model), packed(found.output)) == ({}, {})
    assert (found.model_files, found.output_files, found.failures) == (0, 0, {})


def test_the_failure_file_of_each_host_is_read(collected: Callable[..., Artifacts]) -> None:
    found = collected(Left(), Left(output=[file("failure", b"boom \xff\xc3\xa9")]), Left(output=[file("failure")]))

    assert found.failures == {"algo-2": "boom \ufffdé", "algo-3": ""}
    assert packed(found.output) == {}


def test_a_huge_failure_file_is_read_in_part(collected: Callable[..., Artifacts]) -> None:
    found = collected(Left(output=[file("failure", b"x" * 200_000), directory("data"), file("data/a", b"1")]))

    assert 1024 <= len(found.failures["algo-1"]) < 200_000
    assert packed(found.output) == {"a": b"1"}


def test_links_are_kept_as_links(collected: Callable[..., Artifacts]) -> None:
    output = [
        directory("data"),
        file("data/a", b"1"),
        of_type(tarfile.LNKTYPE, "data/hard", "data/a"),
        of_type(tarfile.SYMTYPE, "data/soft", "/opt/ml/output/data/a"),
    ]
    model = [file("a", b"1"), of_type(tarfile.LNKTYPE, "hard", "a"), of_type(tarfile.SYMTYPE, "soft", "../a")]

    found = collected(Left(model, output))

    assert packed(found.model) == {"a": b"1", "hard": "a", "soft": "../a"}
    assert packed(found.output) == {"a": b"1", "hard": "a", "soft": "/opt/ml/output/data/a"}


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_and_pipes_are_left_out(collected: Callable[..., Artifacts], kind: bytes) -> None:
    found = collected(Left([of_type(kind, "device"), file("a", b"1")]))

    assert packed(found.model) == {"a": b"1"}
    assert found.model_files == 1


def test_everything_belongs_to_root_and_keeps_its_mode_and_time(collected: Callable[..., Artifacts]) -> None:
    found = collected(Left([file("run.sh", b"1", mode=0o755)]))

    with tarfile.open(found.model) as archive:
        (entry,) = archive
    assert (entry.uid, entry.gid, entry.uname, entry.gname) == (0, 0, "root", "root")
    assert (entry.mode, entry.mtime) == (0o755, 1_700_000_000)


def test_names_may_be_long_and_of_any_script(collected: Callable[..., Artifacts]) -> None:
    names = ["a" * 240, f"{'d' * 200}/{'f' * 200}", "modèle/é", "模型"]

    found = collected(Left([file(name, name.encode()) for name in names]))

    assert packed(found.model) == {name: name.encode() for name in names}


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    def archive(folder: str) -> bytes:
        return collect({"algo-1": Left([file("a", b"1")])}, tmp_path / folder).model.read_bytes()

    first = archive("first")

    assert archive("second") == first
    assert gzip.decompress(first)
    # Bytes 4 to 8 of gzip's header are the time.
    assert first[4:8] == bytes(4)


def test_every_stream_is_closed(collected: Callable[..., Artifacts]) -> None:
    hosts = [Left([file("a", b"1" * 5000)]), Left()]

    collected(*hosts)

    assert [host.closed for host in hosts] == [["/opt/ml/model", "/opt/ml/output"]] * 2


def test_a_full_disk_leaves_no_half_archive_and_says_what_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(outputs.tarfile.TarFile, "addfile", full)
    hosts = {"algo-1": Ready([file("a", b"1" * 3_000_000), file("b", b"2" * 2_000_000)])}

    with pytest.raises(DiskFull, match=r"model\.tar\.gz: no room\. 5\.0 MB are needed") as refused:
        collect(hosts, tmp_path / "output")

    assert refused.value.exit_code == 3
    assert list((tmp_path / "output").iterdir()) == []


class Ready(Left):
    """A host whose archives were made before tarfile was told to fail."""

    def __init__(self, model: list[tarfile.TarInfo]) -> None:
        super().__init__(model)
        self._made = tuple(_tar("model", model))

    def fetch(self, path: str) -> Generator[bytes, None, None]:
        yield from self._made if path.endswith("model") else ()


def _tar(folder: str, entries: list[tarfile.TarInfo]) -> Generator[bytes, None, None]:
    """A tar by hand: headers and padded contents."""
    for entry in entries:
        entry.name = f"{folder}/{entry.name}"
        yield entry.tobuf()
        yield entry.content + b"\0" * (-len(entry.content) % tarfile.BLOCKSIZE)
    yield b"\0" * (2 * tarfile.BLOCKSIZE)
