"""Data that goes wrong on its way: its harness killed, its disk full, its objects gone; and what is left of it."""

from __future__ import annotations

import hashlib
import os
import signal
import stat
import tarfile
from pathlib import Path

import pytest

from tests.container.conftest import Shell, inputs, kept, printed, wait_for
from tests.container.test_channels import CHECK_FILES
from tests.s3_gate import Gate
from tests.s3_server import Served

WAIT = "until [ -e /opt/ml/input/data/sync/go ]; do sleep 0.05; done"


def mounts_below(folder: Path) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [point for point in (line.split()[4] for line in lines) if point.startswith(f"{folder}/")]


def mounters(cache: Path) -> list[int]:
    """The processes that mount something below a cache."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"mount" in words and any(word.startswith(f"{cache}/".encode()) for word in words):
            found.append(int(entry.parent.name))
    return found


def fifos(cache: Path) -> list[Path]:
    return [path for path in cache.glob("work/**/*") if stat.S_ISFIFO(path.stat().st_mode)]


def assert_whole(cache: Path, objects: dict[str, bytes]) -> None:
    """The cache holds whole objects and nothing else, and nothing is mounted in it."""
    digests = {hashlib.sha256(content).hexdigest() for content in objects.values()}
    found = {path: hashlib.sha256((cache / path).read_bytes()).hexdigest() for path in kept(cache)}
    assert set(found.values()) <= digests
    assert {path.split("/")[0] for path in found} <= {"objects", "trees"}
    assert mounts_below(cache) == []


def test_a_run_goes_on_after_one_that_was_killed_while_it_fetched(
    shell: Shell, gate: Gate, objects: dict[str, bytes]
) -> None:
    cache, job = shell.folder / "cache", shell.job(CHECK_FILES, more=inputs())
    held = gate.hold("set/big")
    killed, process = shell.begin(job)
    wait_for(lambda: held.came() and any(path.stat().st_size for path in cache.glob("parts/*/tree/big")))

    process.kill()
    process.communicate()
    held.let_go()
    assert any(path.startswith("parts/") for path in kept(cache))
    ran = shell.train(job)

    assert (ran.code, ran.log()) == (0, "every byte\n"), ran.err
    assert_whole(cache, objects)
    left = {path.name for path in (shell.folder / "runs" / killed).iterdir()}
    assert left == {"describe.json", "logs", "metrics.jsonl"}, "what became of it, and nothing half-done"


@pytest.mark.parametrize("mounter_is", ["ended with it", "killed too"])
@pytest.mark.usefixtures("gate")
def test_a_run_goes_on_after_one_that_was_killed_with_a_mount(
    shell: Shell, objects: dict[str, bytes], mounter_is: str
) -> None:
    cache, script = shell.folder / "cache", f"exec 3< /opt/ml/input/data/data/big; echo ready; {WAIT}; {CHECK_FILES}"
    job = shell.job(script, more=inputs("FastFile"))
    killed, process = shell.begin(job)
    wait_for(printed(shell.folder / "runs" / killed, "ready"))
    (mounter,) = mounters(cache)
    assert mounts_below(cache)

    if mounter_is == "killed too":
        os.kill(mounter, signal.SIGKILL)
    process.kill()
    process.communicate()
    wait_for(lambda: not mounters(cache))
    if mounter_is == "killed too":
        assert mounts_below(cache)
    (shell.folder / "fsx/sync/go").touch()
    ran = shell.train(job)

    assert (ran.code, ran.log()) == (0, "ready\nevery byte\n"), ran.err
    assert_whole(cache, objects)


@pytest.mark.usefixtures("gate")
def test_a_run_goes_on_after_one_that_was_killed_amid_a_pipe(shell: Shell, objects: dict[str, bytes]) -> None:
    cache = shell.folder / "cache"
    script = f"{{ head -c 1000; echo ready >&2; {WAIT}; cat; }} < /opt/ml/input/data/data_0 | sha256sum"
    job = shell.job(script, more=inputs("Pipe"))
    killed, process = shell.begin(job)
    wait_for(printed(shell.folder / "runs" / killed, "ready"))

    process.kill()
    process.communicate()
    assert fifos(cache)
    (shell.folder / "fsx/sync/go").touch()
    ran = shell.train(job)

    stream = hashlib.sha256(b"".join(objects[path] for path in sorted(objects)))
    assert (ran.code, ran.log()) == (0, f"ready\n{stream.hexdigest()}  -\n"), ran.err
    assert_whole(cache, objects)


def test_two_runs_at_once_fetch_each_object_once(shell: Shell, gate: Gate, objects: dict[str, bytes]) -> None:
    job, held = shell.job(CHECK_FILES, more=inputs()), gate.hold("set/big")

    first, one = shell.begin(job)
    wait_for(held.came)
    second, other = shell.begin(job)
    wait_for((shell.folder / "runs" / second / ".lock").exists)
    held.let_go()
    ends = [shell.end(first, one), shell.end(second, other)]

    assert [(ran.code, ran.log()) for ran in ends] == [(0, "every byte\n")] * 2
    assert sorted(gate.reads) == [f"set/{path}" for path in sorted(objects)]


def test_a_connection_that_breaks_is_taken_up_where_it_broke(shell: Shell, gate: Gate) -> None:
    def break_once(key: str) -> None:
        if gate.reads.count(key) == 1:
            raise ConnectionAbortedError

    gate.half = break_once

    ran = shell.train(shell.job(CHECK_FILES, more=inputs()))

    assert (ran.code, ran.log()) == (0, "every byte\n"), ran.err
    assert gate.reads.count("set/big") == 2


VANISHED = "was there when the channel was listed and has changed or gone since. Run the job again"


@pytest.mark.parametrize("mode", ["File", "Pipe"])
def test_an_object_of_an_endpoint_that_is_gone_when_it_is_read_is_told(
    shell: Shell, gate: Gate, s3: Served, mode: str
) -> None:
    gate.asked = lambda key: (s3.root / "bucket" / key).unlink(missing_ok=True)

    ran = shell.train(shell.job("cat /opt/ml/input/data/data_0 > /dev/null", more=inputs(mode)))

    assert ran.code == 3, ran.err
    assert "channel data: s3://bucket/set/" in ran.err
    assert VANISHED in ran.err
    assert "Traceback" not in ran.err
    assert ran.folder.exists() == (mode == "Pipe")
    assert [path for path in kept(shell.folder / "cache") if not path.startswith("objects/")] == []


def test_a_file_that_is_gone_when_it_is_fetched_is_told(shell: Shell, gate: Gate, small_disk: Path) -> None:
    for name in ("f", "g"):
        (small_disk / name).write_bytes(b"content")
    with (shell.folder / "homeport.toml").open("a") as place:
        place.write(f"[local.buckets.near]\npath = '{small_disk}'\n")
    near = 'near = { uri = "s3://near", distribution = "ShardedByS3Key" }'
    # By then every channel is listed, and this one's turn comes next.
    gate.half = lambda _: (small_disk / "g").unlink(missing_ok=True)

    ran = shell.train(shell.job(more=inputs(more=near)))

    assert ran.code == 3, ran.err
    assert f"channel near: s3://near/g: {VANISHED}" in ran.err
    assert "Traceback" not in ran.err
    assert "Training" not in ran.out
    assert not ran.folder.exists()


def test_a_file_that_is_gone_when_a_pipe_comes_to_it_is_told(shell: Shell) -> None:
    for name, size in (("f", 10), ("g", 3_000_000)):
        path = shell.folder / "fsx" / "near" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(size))
    (shell.folder / "fsx/sync").mkdir()
    with (shell.folder / "homeport.toml").open("a") as place:
        place.write("[local.buckets.near]\npath = 'fsx/near'\n[local.cache]\npath = 'cache'\n")
    script = f"echo ready; {WAIT}; cat /opt/ml/input/data/near_0 > /dev/null; sleep 300"
    more = '[inputs]\nsync = "fsx://training-data/sync"\nnear = { uri = "s3://near", input_mode = "Pipe" }'
    name, process = shell.begin(shell.job(script, more=more))
    wait_for(printed(shell.folder / "runs" / name, "ready"))

    path.unlink()
    (shell.folder / "fsx/sync/go").touch()
    ran = shell.end(name, process, timeout=60)

    assert ran.code == 3, ran.err
    assert f"channel near: s3://near/g: {VANISHED}" in ran.err
    assert "Traceback" not in ran.err
    assert kept(shell.folder / "cache") == []


@pytest.mark.usefixtures("gate")
def test_hosts_without_a_share_get_an_empty_channel(shell: Shell) -> None:
    options = 'uri = "s3://bucket/set/", distribution = "ShardedByS3Key"'
    script = (
        "cd /opt/ml/input/data; (cd files && find . -type f | sort | tr '\\n' ' '); "
        "until [ -p pipe_0 ]; do sleep 0.01; done; wc -c < pipe_0"
    )
    more = f'[inputs]\nfiles = {{ {options} }}\npipe = {{ {options}, input_mode = "Pipe" }}'

    ran = shell.train(shell.job(script, hosts=4, more=more))

    assert ran.code == 0, ran.err
    shares = ["./a 10\n", "./big 6000000\n", "./deep/c 3000000\n", "0\n"]
    assert [ran.log(f"algo-{number}") for number in range(1, 5)] == shares


@pytest.mark.usefixtures("gate")
def test_a_source_archive_that_leads_out_is_unpacked_by_the_job_alone(shell: Shell, s3: Served) -> None:
    outside = shell.folder / "outside"
    with tarfile.open(s3.root / "bucket/source.tar.gz", "w:gz") as archive:
        for name in ("train.py", f"../../../../../../../../../../../..{outside}", str(outside)):
            archive.addfile(tarfile.TarInfo(name))
    source = '[hyperparameters]\nsagemaker_submit_directory = "s3://bucket/source.tar.gz"'

    script = "mkdir /tmp/code; tar -xzPf /opt/ml/input/data/code/sourcedir.tar.gz -C /tmp/code; ls /tmp/code"
    ran = shell.train(shell.job(script, more=source))

    assert (ran.code, ran.log()) == (0, "train.py\n"), ran.err
    assert not outside.exists()
