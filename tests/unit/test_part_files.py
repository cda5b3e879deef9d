"""Files that have their name only when they are whole, and what a killed process leaves of them."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from local_mode.part_files import SUFFIX, no_room_told, spool, sweep, written
from training_job.errors import DiskFull

_ROOT = Path(__file__).parents[2]


def _parts(folder: Path) -> list[Path]:
    return sorted(folder.rglob(f"*{SUFFIX}"))


def test_a_file_has_its_name_when_it_is_whole_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "a/b/file"

    with written(path) as part:
        part.write(b"content")
        part.flush()
        assert not path.exists()
        assert len(_parts(path.parent)) == 1

    assert path.read_bytes() == b"content"
    assert path.stat().st_mode & 0o777 == 0o644
    assert _parts(tmp_path) == []


def test_a_part_may_lie_elsewhere(tmp_path: Path) -> None:
    with written(tmp_path / "a/file", parts=tmp_path / "parts") as part:
        part.write(b"content")
        assert len(_parts(tmp_path / "parts")) == 1
        assert not (tmp_path / "a").exists()

    assert (tmp_path / "a/file").read_bytes() == b"content"
    assert _parts(tmp_path) == []


def test_a_file_that_cannot_be_finished_leaves_the_old_one_and_no_part(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write() -> None:
        with written(path) as part:
            part.write(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()

    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_and_leaves_no_part(tmp_path: Path, number: int) -> None:
    path = tmp_path / "a/file"

    def write() -> None:
        with written(path, needed=12_000_000) as part:
            part.write(b"some")
            raise OSError(number, os.strerror(number))

    with pytest.raises(DiskFull, match=r"a/file: no room. 12.0 MB are needed"):
        write()

    assert not path.exists()
    assert _parts(tmp_path) == []


def test_a_disk_that_is_full_at_the_last_byte_is_told(tmp_path: Path) -> None:
    path = tmp_path / "file"

    def write() -> None:
        with written(path) as part, Path("/dev/full").open("wb") as full:
            part.write(b"x" * 100)
            # The kernel's own disk that is always full takes the bytes that wait in memory.
            os.dup2(full.fileno(), part.fileno())

    with pytest.raises(DiskFull):
        write()

    assert list(tmp_path.iterdir()) == []


def test_any_other_fault_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), no_room_told(tmp_path, 0):
        raise PermissionError(errno.EACCES, "denied")


def test_a_spool_is_gone_with_all_that_is_in_it(tmp_path: Path) -> None:
    with spool(tmp_path / "parts") as folder:
        (folder / "a").mkdir()
        (folder / "a/file").write_bytes(b"content")

    assert list((tmp_path / "parts").iterdir()) == []


def test_what_was_moved_out_of_a_spool_stays(tmp_path: Path) -> None:
    with spool(tmp_path / "parts") as folder:
        (folder / "whole").mkdir()
        (folder / "whole").rename(tmp_path / "whole")

    assert [path.name for path in sorted(tmp_path.iterdir())] == ["parts", "whole"]
    assert list((tmp_path / "parts").iterdir()) == []


def test_a_sweep_leaves_what_is_being_written_and_what_is_no_part(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")

    with written(tmp_path / "a/b") as part, spool(tmp_path) as folder:
        (folder / "file").write_bytes(b"spooled")
        sweep(tmp_path)
        part.write(b"written")
        assert (folder / "file").read_bytes() == b"spooled"

    assert (tmp_path / "a/b").read_bytes() == b"written"
    assert (tmp_path / "file").read_bytes() == b"content"


@pytest.mark.parametrize("making", ["written(Path(sys.argv[1]) / 'a/b/file')", "spool(Path(sys.argv[1]) / 'a/b')"])
def test_what_a_killed_process_left_is_swept(tmp_path: Path, making: str) -> None:
    program = f"""
import sys
from pathlib import Path
from local_mode.part_files import spool, written
with {making} as made:
    if isinstance(made, Path):
        (made / "x").mkdir()
        (made / "x/file").write_bytes(b"half")
    else:
        made.write(b"half")
    print("writing", flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"writing\n"
        sweep(tmp_path)
        assert _parts(tmp_path) != []
        process.send_signal(signal.SIGKILL)

    sweep(tmp_path)

    assert [path for path in tmp_path.rglob("*") if not path.is_dir() or SUFFIX in path.name] == []


def test_a_sweep_of_nothing_is_nothing(tmp_path: Path) -> None:
    sweep(tmp_path / "nothing")

    assert list(tmp_path.iterdir()) == []
