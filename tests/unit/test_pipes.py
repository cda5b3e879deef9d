"""Pipe channels: real FIFOs, read by threads and programs as a job reads them."""

import fcntl
import os
import stat
import subprocess
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from time import monotonic
from typing import IO

import pytest

from local_mode.object_store import ObjectVanished
from local_mode.pipes import Feed, Feeders, Piece, feeding
from training_job.errors import MachineCannot

MEBIBYTE = 1 << 20
PATIENCE = 10  # seconds after which a test that waits for nothing fails

Pieces = Callable[[int], Generator[Piece, None, None]]


class Failures(list[BaseException]):
    """The errors that feeders told of."""


@pytest.fixture
def failures() -> Iterator[Failures]:
    """What failed, and the proof that no test leaves a thread behind."""
    yield Failures()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pipe ")]


def the_same(*pieces: Piece) -> Pieces:
    """Every epoch writes these."""

    def epoch(_: int) -> Generator[Piece, None, None]:
        yield from pieces

    return epoch


def numbered(epoch: int) -> Generator[Piece, None, None]:
    yield f"epoch {epoch}".encode()


def endless(_: int) -> Generator[Piece, None, None]:
    while True:
        yield bytes(MEBIBYTE)


def fed(tmp_path: Path, pieces: Pieces, failures: Failures) -> AbstractContextManager[Feeders]:
    return feeding(tmp_path, [Feed("algo-1", "train", pieces)], failures.append)


def fifo(tmp_path: Path, epoch: int, host: str = "algo-1", channel: str = "train") -> Path:
    return tmp_path / host / f"{channel}_{epoch}"


def opened_once_it_is_there(path: Path) -> IO[bytes]:
    """As SageMaker asks of jobs: the next FIFO may not be there yet."""
    deadline = monotonic() + PATIENCE
    while not path.exists():
        assert monotonic() < deadline, f"{path} was never made"
    return path.open("rb")


def left(tmp_path: Path) -> list[Path]:
    return [path for path in tmp_path.rglob("*") if not path.is_dir()]


def test_the_first_fifo_is_there_before_any_container_starts(tmp_path: Path, failures: Failures) -> None:
    with fed(tmp_path, numbered, failures):
        assert stat.S_ISFIFO(fifo(tmp_path, 0).stat().st_mode)


def test_any_user_of_a_container_may_read_it(tmp_path: Path, failures: Failures) -> None:
    before = os.umask(0o077)
    try:
        with fed(tmp_path, numbered, failures):
            assert fifo(tmp_path, 0).stat().st_mode & 0o777 == 0o644
            assert (tmp_path / "algo-1").stat().st_mode & 0o777 == 0o755
    finally:
        os.umask(before)


def test_an_epoch_is_its_pieces_one_after_another_and_then_the_end(tmp_path: Path, failures: Failures) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(3 * MEBIBYTE + 5))
    large = os.urandom(2 * MEBIBYTE + 1)
    with source.open("rb") as file, fed(tmp_path, the_same(b"", b"head", file, b"tail", large), failures):
        read = fifo(tmp_path, 0).read_bytes()

    assert read == b"head" + source.read_bytes() + b"tail" + large


def test_a_file_is_written_from_where_it_stands(tmp_path: Path, failures: Failures) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"0123456789")
    with source.open("rb") as file:
        file.seek(4)
        with fed(tmp_path, the_same(file), failures):
            assert fifo(tmp_path, 0).read_bytes() == b"456789"


def test_a_file_whose_file_system_gives_no_pages_is_copied(tmp_path: Path, failures: Failures) -> None:
    unmovable = Path("/proc/self/environ")
    with unmovable.open("rb", buffering=0) as file, fed(tmp_path, the_same(file), failures):
        assert fifo(tmp_path, 0).read_bytes() == unmovable.read_bytes()


def test_many_short_pieces_arrive_whole_and_in_order(tmp_path: Path, failures: Failures) -> None:
    pieces = [f"{number},".encode() for number in range(50_000)]
    with fed(tmp_path, the_same(*pieces), failures):
        assert fifo(tmp_path, 0).read_bytes() == b"".join(pieces)


def test_the_next_fifo_is_there_at_the_end_of_the_one_before(tmp_path: Path, failures: Failures) -> None:
    with fed(tmp_path, numbered, failures):
        read = [fifo(tmp_path, epoch).read_bytes() for epoch in range(50)]

    assert read == [f"epoch {epoch}".encode() for epoch in range(50)]


def test_a_program_reads_epochs_as_a_job_does(tmp_path: Path, failures: Failures) -> None:
    with fed(tmp_path, numbered, failures):
        script = "cat train_0 && cat train_1 && cat train_2"
        read = subprocess.run(
            ["sh", "-c", script], cwd=tmp_path / "algo-1", capture_output=True, timeout=PATIENCE, check=False
        )

    assert (read.stdout, read.stderr) == (b"epoch 0epoch 1epoch 2", b"")


def test_an_epoch_without_pieces_is_empty(tmp_path: Path, failures: Failures) -> None:
    with fed(tmp_path, the_same(), failures):
        assert [fifo(tmp_path, epoch).read_bytes() for epoch in (0, 1)] == [b"", b""]


def test_a_fifo_that_was_read_cannot_be_opened_again(tmp_path: Path, failures: Failures) -> None:
    with fed(tmp_path, numbered, failures):
        fifo(tmp_path, 0).read_bytes()

        with pytest.raises(FileNotFoundError):
            fifo(tmp_path, 0).open("rb")


def test_a_reader_that_closes_early_ends_that_epoch_and_nothing_else(tmp_path: Path, failures: Failures) -> None:
    closed = []

    def pieces(epoch: int) -> Generator[Piece, None, None]:
        try:
            yield from endless(epoch) if epoch == 0 else numbered(epoch)
        finally:
            closed.append(epoch)

    with fed(tmp_path, pieces, failures):
        with fifo(tmp_path, 0).open("rb") as pipe:
            pipe.read(10)
        read = fifo(tmp_path, 1).read_bytes()
        closed_by_then = list(closed)

    assert (read, closed_by_then[0], failures) == (b"epoch 1", 0, [])


def test_a_reader_that_closes_a_file_early_ends_that_epoch_too(tmp_path: Path, failures: Failures) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(8 * MEBIBYTE))
    with source.open("rb") as file, fed(tmp_path, the_same(file), failures):
        with fifo(tmp_path, 0).open("rb") as pipe:
            pipe.read(10)
        fifo(tmp_path, 1).read_bytes()

    assert failures == []


def test_a_reader_that_only_looks_whether_it_can_open_has_used_the_epoch_up(tmp_path: Path, failures: Failures) -> None:
    with fed(tmp_path, endless, failures):
        fifo(tmp_path, 0).open("rb").close()

        with opened_once_it_is_there(fifo(tmp_path, 1)) as pipe:
            assert pipe.read(1) == b"\0"


def test_channels_and_hosts_are_fed_side_by_side(tmp_path: Path, failures: Failures) -> None:
    feeds = [
        Feed(host, channel, the_same(f"{host} {channel}".encode() * 100_000))
        for host in ("algo-1", "algo-2")
        for channel in ("train", "validation")
    ]
    with feeding(tmp_path, feeds, failures.append), ThreadPoolExecutor(len(feeds)) as readers:
        pipes = [fifo(tmp_path, 0, feed.host, feed.channel).open("rb") for feed in feeds]
        # The last is read first: none waits for another.
        read = list(readers.map(lambda pipe: pipe.read(), reversed(pipes)))
        for pipe in pipes:
            pipe.close()

    assert read == [f"{feed.host} {feed.channel}".encode() * 100_000 for feed in reversed(feeds)]


def test_a_pipe_buffers_a_mebibyte(tmp_path: Path, failures: Failures) -> None:
    with fed(tmp_path, endless, failures), fifo(tmp_path, 0).open("rb") as pipe:
        pipe.read(1)

        assert fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ) == MEBIBYTE


def test_a_reader_that_never_comes_holds_nothing_up_and_is_named(tmp_path: Path, failures: Failures) -> None:
    feeds = [Feed("algo-1", "train", numbered), Feed("algo-2", "train", numbered)]
    with feeding(tmp_path, feeds, failures.append) as feeders:
        fifo(tmp_path, 0, "algo-2").read_bytes()

    assert (feeders.unread, left(tmp_path), failures) == ((("algo-1", "train"),), [], [])


def test_a_reader_that_stops_but_keeps_its_end_open_holds_nothing_up(tmp_path: Path, failures: Failures) -> None:
    is_full = threading.Event()

    def pieces(_: int) -> Generator[Piece, None, None]:
        yield bytes(MEBIBYTE)
        is_full.set()
        yield from endless(0)

    pipe = None
    with fed(tmp_path, pieces, failures) as feeders:
        pipe = fifo(tmp_path, 0).open("rb", buffering=0)
        assert is_full.wait(PATIENCE)

    pipe.close()
    assert (feeders.unread, left(tmp_path), failures) == ((), [], [])


def test_a_reader_that_reads_on_holds_nothing_up(tmp_path: Path, failures: Failures) -> None:
    reads = threading.Event()

    def read_on() -> int:
        total = 0
        with fifo(tmp_path, 0).open("rb", buffering=0) as pipe:
            while piece := pipe.read(MEBIBYTE):
                total += len(piece)
                reads.set()
        return total

    with ThreadPoolExecutor(1) as pool:
        with fed(tmp_path, endless, failures):
            reader = pool.submit(read_on)
            assert reads.wait(PATIENCE)
        assert reader.result(PATIENCE) > 0

    assert left(tmp_path) == []


def test_nothing_is_left_when_the_run_itself_fails(tmp_path: Path, failures: Failures) -> None:
    with pytest.raises(RuntimeError, match="engine"), fed(tmp_path, numbered, failures):
        raise RuntimeError("the engine is gone")

    assert left(tmp_path) == []


def test_an_error_is_told_before_its_reader_sees_the_end(tmp_path: Path, failures: Failures) -> None:
    error = ObjectVanished("s3://my-bucket/train/3")

    def pieces(_: int) -> Generator[Piece, None, None]:
        yield b"some"
        yield bytes(MEBIBYTE)
        raise error

    with fed(tmp_path, pieces, failures):
        fifo(tmp_path, 0).read_bytes()
        told = list(failures)
        no_more = left(tmp_path)

    assert (told, no_more) == ([error], [])


def test_an_error_of_the_system_names_the_channel(tmp_path: Path, failures: Failures) -> None:
    def pieces(_: int) -> Generator[Piece, None, None]:
        with Path("/nowhere/to/be/found").open("rb") as file:
            yield file

    with fed(tmp_path, pieces, failures):
        fifo(tmp_path, 0).read_bytes()

    assert [type(error) for error in failures] == [MachineCannot]
    assert "channel train of algo-1 cannot be read" in str(failures[0])


def test_a_broken_pipe_that_is_not_the_readers_is_an_error(tmp_path: Path, failures: Failures) -> None:
    def pieces(_: int) -> Generator[Piece, None, None]:
        yield b"some"
        raise BrokenPipeError("the endpoint hung up")

    with fed(tmp_path, pieces, failures):
        fifo(tmp_path, 0).read_bytes()

    assert "the endpoint hung up" in str(failures[0])
