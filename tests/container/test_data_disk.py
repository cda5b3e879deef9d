"""The cache's disk full, before data is fetched and amid it: what was there stays, what was begun goes."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.container.conftest import Ran, Shell, inputs, kept, wait_for
from tests.container.test_channels import CHECK_FILES
from tests.s3_gate import Gate
from tests.s3_server import Served


@pytest.fixture
def full_cache(shell: Shell, gate: Gate, small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache of 80 MB that a job has used; at the end it holds what it held, and the job runs without fetching."""
    monkeypatch.setenv("HOMEPORT_CACHE", str(small_disk))
    job = shell.job(CHECK_FILES, more=inputs()).rename(shell.folder / "earlier.toml")
    assert shell.train(job).code == 0
    before = kept(small_disk)
    gate.reads.clear()

    yield small_disk

    (small_disk / "other").unlink(missing_ok=True)
    assert kept(small_disk) == before
    gate.reads.clear()
    ran = shell.train(job)
    assert (ran.code, ran.log(), gate.reads) == (0, "every byte\n", [])


def fill(disk: Path) -> None:
    """Leave no byte free."""
    with (disk / "other").open("wb", buffering=0) as other, suppress(OSError):
        while True:
            other.write(bytes(1 << 20))
    assert shutil.disk_usage(disk).free == 0


def assert_no_room(ran: Ran, cache: Path, needed: str) -> None:
    assert ran.code == 3, ran.err
    assert f"channel data: the cache {cache}: no room. {needed} MB are to be fetched and" in ran.err
    assert "HOMEPORT_CACHE" in ran.err
    assert "Traceback" not in ran.err
    assert "Training" not in ran.out
    assert not ran.folder.exists()


def test_a_channel_larger_than_the_disk_is_told_before_anything_is_fetched(
    shell: Shell, gate: Gate, s3: Served, full_cache: Path
) -> None:
    s3.put("bucket", "large/f", b"")
    os.truncate(s3.root / "bucket/large/f", 100_000_000)

    ran = shell.train(shell.job(more=inputs(uri="s3://bucket/large/")))

    assert_no_room(ran, full_cache, "100.0")
    assert gate.reads == []


def test_a_disk_that_fills_amid_a_channel_loses_what_it_had_of_it(
    shell: Shell, gate: Gate, s3: Served, full_cache: Path
) -> None:
    for number in range(3):
        s3.put("bucket", f"more/{number}", random.Random(number).randbytes(8_000_000))
    before, held = len(kept(full_cache)), gate.hold("more/1")
    name, process = shell.begin(shell.job(more=inputs(uri="s3://bucket/more/")))
    wait_for(lambda: held.came() and len([*full_cache.glob("objects/*/*")]) == 3 + 2)
    assert len(kept(full_cache)) > before

    fill(full_cache)
    held.let_go()
    ran = shell.end(name, process)

    assert_no_room(ran, full_cache, "24.0")


@pytest.mark.parametrize("mode", ["FastFile", "Pipe"])
def test_data_that_is_read_as_it_comes_needs_no_room(shell: Shell, s3: Served, full_cache: Path, mode: str) -> None:
    s3.put("bucket", "more/f", random.Random(1).randbytes(8_000_000))
    fill(full_cache)

    where = "/opt/ml/input/data/data" + ("_0" if mode == "Pipe" else "/f")
    ran = shell.train(shell.job(f"sha256sum < {where}", more=inputs(mode, "s3://bucket/more/")))

    assert ran.code == 0, ran.err
    digest = hashlib.sha256((s3.root / "bucket/more/f").read_bytes()).hexdigest()
    assert ran.log() == f"{digest}  -\n"


def test_a_full_disk_is_told_where_only_a_manifest_has_to_be_written(shell: Shell, full_cache: Path) -> None:
    (shell.folder / "near").mkdir()
    (shell.folder / "near/f").touch()
    with (shell.folder / "homeport.toml").open("a") as place:
        place.write("[local.buckets.near]\npath = 'near'\n")
    fill(full_cache)

    ran = shell.train(shell.job("true", more=inputs("Pipe", more='near = "s3://near"')))

    assert ran.code == 3, ran.err
    assert f"{full_cache}" in ran.err
    assert "HOMEPORT_CACHE" in ran.err
    assert "Traceback" not in ran.err
    assert not ran.folder.exists()
