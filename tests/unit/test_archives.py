"""Archives and folders in the making: the same bytes by any number of threads, full disks, killed processes."""

import errno
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from local_mode import archives, part_files
from local_mode.archives import Making, packed, unpacked
from local_mode.host_files import files_of
from local_mode.part_files import SUFFIX, sweep, written_folder
from tests.left import Left, directory, file
from training_job.errors import DiskFull, MachineCannot

MB = 1_000_000
NOISE = os.urandom(7 * MB)


def fill(making: Making, host: Left) -> None:
    with files_of("algo-1", host, "/opt/ml/model") as found:
        for member, source in found:
            making.add("algo-1", member, source)


def by_threads(path: Path, threads: int) -> bytes:
    host = Left([directory("1"), file("1/a", NOISE), file("b", b"text " * MB), file("c")], chunk=1 << 15)
    with packed(path, threads) as making:
        fill(making, host)
    return path.read_bytes()


def test_one_thread_and_many_give_the_same_bytes(tmp_path: Path) -> None:
    alone = by_threads(tmp_path / "alone", 1)

    assert by_threads(tmp_path / "two", 2) == alone
    assert by_threads(tmp_path / "five", 5) == alone


def test_an_archive_of_many_blocks_holds_what_was_put_in(tmp_path: Path) -> None:
    by_threads(tmp_path / "model.tar.gz", 2)

    with tarfile.open(tmp_path / "model.tar.gz") as archive:
        content = {entry.name: archive.extractfile(entry) for entry in archive}
        assert content["1/a"].read() == NOISE
        assert content["b"].read() == b"text " * MB
        assert content["c"].read() == b""


def test_weights_pack_as_small_as_gzip_makes_them(tmp_path: Path) -> None:
    weights = b"".join(number.to_bytes(4, "little") for number in range(0, 1 << 30, 4001))
    host = Left([file("weights", weights)])
    with tarfile.open(tmp_path / "theirs", "w:gz") as theirs, closing(host.fetch("/opt/ml/model")) as pieces:
        theirs.fileobj.write(b"".join(pieces))

    with packed(tmp_path / "ours") as making:
        fill(making, host)

    assert (tmp_path / "ours").stat().st_size < 1.08 * (tmp_path / "theirs").stat().st_size


class Filling:
    """A part file on a disk that has room for one megabyte, or breaks there."""

    def __init__(self, real: Any, number: int = errno.ENOSPC) -> None:
        self._real = real
        self._number = number
        self.name = real.name
        self._room = MB

    def write(self, content: bytes) -> int:
        self._room -= len(content)
        if self._room < 0:
            raise OSError(self._number, os.strerror(self._number))
        return int(self._real.write(content))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def __enter__(self) -> "Filling":
        return self

    def __exit__(self, *_: object) -> None:
        self._real.close()


def on_a_small_disk(monkeypatch: pytest.MonkeyPatch, number: int = errno.ENOSPC) -> None:
    real = part_files.NamedTemporaryFile
    monkeypatch.setattr(part_files, "NamedTemporaryFile", lambda **asked: Filling(real(**asked), number))


@pytest.mark.parametrize("threads", [1, 3])
def test_a_disk_that_gets_full_under_the_writing_thread_is_told_with_all_that_was_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    on_a_small_disk(monkeypatch)
    host = Left([file("a", NOISE), file("b", NOISE), file("c", NOISE)], chunk=1 << 15)

    with (
        pytest.raises(DiskFull, match=r"model\.tar\.gz: no room\. 21\.0 MB are needed") as refused,
        packed(tmp_path / "model.tar.gz", threads) as making,
    ):
        fill(making, host)

    assert refused.value.exit_code == 3
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_at_the_very_end_is_told_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_small_disk(monkeypatch)

    # It is all with the threads, none of it written, when the last member has been added.
    with pytest.raises(DiskFull, match=r"1\.0 MB are needed"), packed(tmp_path / "model.tar.gz") as making:
        fill(making, Left([file("a", NOISE[:MB])]))

    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of three megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("nothing can be mounted here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("made", [packed, unpacked])
def test_a_full_disk_is_left_as_it_was(small_disk: Path, made: Any) -> None:
    host = Left([directory("1"), file("1/a", NOISE), file("b", NOISE)], chunk=1 << 15)

    with (
        pytest.raises(DiskFull, match=r"output/model: no room\. 14\.0 MB are needed there and 3\.1 MB are free"),
        made(small_disk / "output/model") as making,
    ):
        fill(making, host)

    assert list((small_disk / "output").iterdir()) == []


@pytest.mark.parametrize("threads", [1, 3])
def test_any_other_failure_of_a_thread_is_told_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    on_a_small_disk(monkeypatch, errno.EIO)

    with (
        pytest.raises(MachineCannot, match=r"model\.tar\.gz cannot be written: Input/output error"),
        packed(tmp_path / "model.tar.gz", threads) as making,
    ):
        fill(making, Left([file("a", NOISE)]))

    assert list(tmp_path.iterdir()) == []


KILLED = """
import sys
from pathlib import Path

from local_mode.outputs import collect
from tests.left import Left, file


class Endless(Left):
    def fetch(self, path):
        whole = self.tar(path)
        yield whole[: len(whole) // 2]
        print("half", flush=True)
        sys.stdin.read()


collect({"algo-1": Endless([file("a", b"1" * 5_000_000), file("b", b"2" * 5_000_000)])}, Path(sys.argv[1]), COMPRESSED)
"""


@pytest.mark.parametrize("compressed", [True, False])
def test_what_a_killed_process_was_making_is_swept_and_not_before(tmp_path: Path, compressed: bool) -> None:
    script = KILLED.replace("COMPRESSED", str(compressed))
    with subprocess.Popen(
        [sys.executable, "-c", script, tmp_path / "output"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(archives.__file__).parents[1],
    ) as process:
        assert process.stdout.readline() == b"half\n"
        sweep(tmp_path)
        alive = list((tmp_path / "output").iterdir())
        process.send_signal(signal.SIGKILL)
        process.wait()

    killed = list((tmp_path / "output").iterdir())
    sweep(tmp_path)

    assert alive == killed
    assert {path.name.endswith(SUFFIX) for path in killed} == {True}
    assert list((tmp_path / "output").iterdir()) == []


def test_a_folder_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    with written_folder(tmp_path / "made") as folder:
        (folder / "a").write_bytes(b"1")
        before = (tmp_path / "made").exists()

    assert not before
    assert (tmp_path / "made/a").read_bytes() == b"1"
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o755
    assert list(tmp_path.iterdir()) == [tmp_path / "made"]


def test_a_folder_that_is_not_finished_is_gone(tmp_path: Path) -> None:
    def half() -> None:
        with written_folder(tmp_path / "made") as folder:
            (folder / "a").write_bytes(b"1")
            raise KeyError

    with pytest.raises(KeyError):
        half()

    assert list(tmp_path.iterdir()) == []
