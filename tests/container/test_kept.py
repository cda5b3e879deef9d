"""Checkpoints and their like: kept in step with a bucket while real hosts run, and put back before they start."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.container.conftest import Bucket, Ran, Shell, half_done, hosts_of, printed, wait_for

HOSTS = (1, 3)
URI = 'checkpoint_s3_uri = "s3://bucket/ck"'
# Waits for a file beside the job; the test puts it there.
SYNC = '[inputs]\nsync = "fsx://training-data"\n'
AWAIT = "await() { until [ -e /opt/ml/input/data/sync/$1 ]; do sleep 0.02; done; }; "
# What a host finds before it has written anything: every file by its digest, and no file more.
CHECK = (
    "sha256sum --quiet -c /opt/ml/input/data/sync/expected "
    "&& [ $(find . -type f | wc -l) = $(wc -l < /opt/ml/input/data/sync/expected) ] && echo every file; "
)
LARGE = 100_000_000


def by_host(count: int, *named: tuple[str, str]) -> dict[str, bytes]:
    """Objects that each host has: a key with the host in it, and a content."""
    return {key.format(host): f"{text}\n".encode() for host in hosts_of(count) for key, text in named}


def test_while_the_job_runs_the_bucket_follows_every_change_and_holds_the_last(shell: Shell, bucket: Bucket) -> None:
    count = 3
    script = AWAIT + (
        "cd /opt/ml/checkpoints; mkdir deep; echo one > deep/$HOST; echo old > old-$HOST; await change; "
        "echo two > deep/$HOST; rm old-$HOST; await end; echo last > last-$HOST"
    )
    name, process = shell.begin(shell.job(script, hosts=count, more=f"{URI}\n{SYNC}"))
    written = by_host(count, ("ck/deep/{}", "one"), ("ck/old-{}", "old"))
    changed = by_host(count, ("ck/deep/{}", "two"))

    wait_for(lambda: bucket.objects == written)
    bucket.put("ck/somebody-elses", b"1")
    (shell.folder / "fsx/change").touch()
    wait_for(lambda: bucket.objects == changed | {"ck/somebody-elses": b"1"})
    (shell.folder / "fsx/end").touch()
    ran = shell.end(name, process)

    assert ran.code == 0, ran.err
    assert bucket.objects == changed | by_host(count, ("ck/last-{}", "last")) | {"ck/somebody-elses": b"1"}
    assert f"/opt/ml/checkpoints: {4 * count} files kept" in ran.out


@pytest.mark.effect("CheckpointConfig")
@pytest.mark.parametrize("count", HOSTS)
def test_every_host_of_the_next_job_has_what_the_first_left_before_it_begins(
    shell: Shell, bucket: Bucket, count: int
) -> None:
    leave = (
        "cd /opt/ml/checkpoints; mkdir -p deep/er; head -c 3000000 /dev/urandom > deep/er/$HOST; "
        "echo 1 > step-1-$HOST; : > 'an ü%20 empty one-'$HOST; find . -type f -exec sha256sum {} +"
    )
    first = shell.train(shell.job(leave, hosts=count, more=URI))
    (shell.folder / "fsx/expected").write_text("".join(first.log(host) for host in hosts_of(count)))

    again = shell.train(shell.job(f"cd /opt/ml/checkpoints; {CHECK} rm step-1-*", hosts=count, more=f"{URI}\n{SYNC}"))

    assert (first.code, again.code) == (0, 0), first.log() + again.log() + again.out
    assert "checkpoints  none at s3://bucket/ck yet: the job begins anew" in first.out
    assert [again.log(host) for host in hosts_of(count)] == ["every file\n"] * count
    told = f"restored from s3://bucket/ck: {3 * count} files, {3 * count:.1f} MB, the newest step-1-algo-{count}"
    assert told in again.out
    assert f"/opt/ml/checkpoints: 0 files kept, 0.0 MB, {count} deleted" in again.out
    assert sorted(bucket.objects) == sorted(
        f"ck/{name}{host}" for host in hosts_of(count) for name in ("deep/er/", "an ü%20 empty one-")
    )


def test_checkpoints_may_lie_elsewhere(shell: Shell, bucket: Bucket) -> None:
    bucket.put("ck/from-before", b"1\n")
    more = f'{URI}\ncheckpoint_local_path = "/data/ck/"'

    ran = shell.train(shell.job("cd /data/ck; cat from-before; echo 2 > new", more=more))

    assert (ran.code, ran.log()) == (0, "1\n"), ran.err
    assert bucket.objects == {"ck/from-before": b"1\n", "ck/new": b"2\n"}


@pytest.mark.parametrize(
    ("bucket", "stop", "code"),
    [("a directory", signal.SIGINT, 130), ("an endpoint", signal.SIGTERM, 4)],
    indirect=["bucket"],
)
def test_a_stopped_job_keeps_its_last_checkpoint(shell: Shell, bucket: Bucket, stop: signal.Signals, code: int) -> None:
    script = "trap 'echo last > /opt/ml/checkpoints/$HOST; exit 0' TERM; echo ready; sleep 300 & wait"
    name, process = shell.begin(shell.job(script, hosts=2, more=URI))
    wait_for(lambda: all(printed(shell.folder / "runs" / name, "ready", host)() for host in hosts_of(2)))

    os.killpg(process.pid, stop)
    ran = shell.end(name, process)

    assert (ran.code, ran.description["SecondaryStatus"]) == (code, "Stopped")
    assert bucket.objects == by_host(2, ("ck/{}", "last"))


def test_a_failed_job_keeps_its_checkpoints_and_no_link(shell: Shell, bucket: Bucket) -> None:
    script = AWAIT + (
        "cd /opt/ml/checkpoints; ln -s /etc/passwd $HOST-link; echo half > $HOST; touch /opt/ml/input/data/sync/$HOST; "
        "[ $HOST = algo-1 ] || exec sleep 300; await algo-2; await algo-3; exit 7"
    )
    more = f'{URI}\n[inputs]\nsync = {{ uri = "fsx://training-data", access = "rw" }}'

    ran = shell.train(shell.job(script, hosts=3, more=more))

    assert ran.code == 1, ran.err
    assert bucket.objects == by_host(3, ("ck/{}", "half"))
    assert "/opt/ml/checkpoints/algo-1-link is a symbolic link: it is not uploaded" in ran.out


@pytest.mark.effect("TensorBoardOutputConfig")
def test_tensorboards_and_intermediate_files_are_kept_in_step(shell: Shell, bucket: Bucket) -> None:
    script = AWAIT + (
        "cd /opt/ml/output; mkdir -p tensorboard/run intermediate/deep intermediate/.tmp.sagemaker_s3_sync; "
        "echo 1 > tensorboard/run/$HOST; echo 2 > intermediate/deep/$HOST; "
        "echo no > intermediate/.tmp.sagemaker_s3_sync/x; await end; rm tensorboard/run/* intermediate/deep/*; "
        "echo 3 > tensorboard/$HOST; echo 4 > intermediate/$HOST"
    )
    more = (
        f'hyperparameters = {{ sagemaker_s3_output = "s3://bucket/im" }}\n{SYNC}[request]\n'
        'TensorBoardOutputConfig = { S3OutputPath = "s3://bucket/tb" }'
    )
    name, process = shell.begin(shell.job(script, hosts=2, more=more))
    board, between = f"tb/{name}/tensorboard-output", f"im/{name}/output/intermediate"

    wait_for(lambda: bucket.objects == by_host(2, (f"{board}/run/{{}}", "1"), (f"{between}/deep/{{}}", "2")))
    (shell.folder / "fsx/end").touch()
    ran = shell.end(name, process)

    assert ran.code == 0, ran.err
    # The toolkit's own uploader deletes nothing.
    assert bucket.objects == by_host(2, (f"{board}/{{}}", "3"), (f"{between}/deep/{{}}", "2"), (f"{between}/{{}}", "4"))


def test_what_is_meant_for_a_bucket_that_nobody_knows_is_kept_in_the_runs_folder_and_told(shell: Shell) -> None:
    more = f'{URI}\n[request]\nTensorBoardOutputConfig = {{ S3OutputPath = "s3://bucket/tb" }}'
    script = "cd /opt/ml; echo 1 > checkpoints/$HOST; mkdir output/tensorboard; echo 2 > output/tensorboard/$HOST"

    ran = shell.train(shell.job(script, hosts=2, more=more))

    assert ran.code == 0, ran.err
    assert Bucket(ran.folder / "checkpoints").objects == by_host(2, ("{}", "1"))
    assert Bucket(ran.folder / "output/tensorboard").objects == by_host(2, ("{}", "2"))
    told = f"bucket bucket is mapped nowhere: kept in {ran.folder}/checkpoints, and nothing is restored"
    assert f"  checkpoints  {told}" in ran.out


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with no room for a byte; only root can mount one."""
    if os.getuid() != 0:
        pytest.skip("only root can mount a small file system to fill")
    disk = tmp_path / "full"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], check=True)
    (disk / "full").write_bytes(bytes(64 << 10))
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.fixture
def read_only(full_disk: Path) -> Path:
    """A directory that not even root can write to."""
    subprocess.run(["mount", "-o", "remount,ro", full_disk], check=True)
    return full_disk


UNWRITABLE: dict[str, tuple[Callable[[pytest.FixtureRequest, Path], Path], str]] = {
    "a file": (lambda _, folder: folder / "job.toml", "there is no such directory"),
    "nothing": (lambda _, folder: folder / "nowhere", "there is no such directory"),
    "a full disk": (lambda request, _: request.getfixturevalue("full_disk"), "no room"),
    "read-only": (lambda request, _: request.getfixturevalue("read_only"), "Read-only file system"),
}


@pytest.mark.parametrize("uri", ["s3://bucket/ck", "s3://bucket"])
@pytest.mark.parametrize("what", UNWRITABLE)
def test_checkpoints_that_cannot_be_kept_are_told_before_the_job(
    shell: Shell, request: pytest.FixtureRequest, what: str, uri: str
) -> None:
    job = shell.job("true", more=f'checkpoint_s3_uri = "{uri}"')
    folder_of, why = UNWRITABLE[what]
    folder = folder_of(request, shell.folder)
    shell.map(f'path = "{folder}"')

    ran = shell.train(job)

    assert (ran.code, why in ran.err, str(folder) in ran.err) == (3, True, True), ran.err
    assert f"{uri}/: what the job writes cannot be kept there" in ran.err
    nothing_began(shell, ran)


@pytest.mark.parametrize("bucket", ["an endpoint"], indirect=True)
@pytest.mark.usefixtures("bucket")
def test_an_endpoint_that_refuses_is_told_before_the_job(shell: Shell) -> None:
    ran = shell.train(shell.job("true", more=URI), environ={"AWS_SECRET_ACCESS_KEY": "wrong"})

    assert (ran.code, "access denied" in ran.err) == (3, True), ran.err
    assert "s3://bucket/ck/: what the job writes cannot be kept there" in ran.err
    nothing_began(shell, ran)


def nothing_began(shell: Shell, ran: Ran) -> None:
    assert "Traceback" not in ran.err
    assert "Training" not in ran.out
    assert not (shell.folder / "runs").exists()
    assert not (shell.folder / "nowhere").exists()
    assert half_done(shell) == []


@pytest.mark.parametrize(
    ("bucket", "moment"),
    [("a directory", "while the job runs"), ("a directory", "after its end"), ("an endpoint", "after its end")],
    indirect=["bucket"],
)
def test_what_a_harness_that_was_killed_uploading_left_is_gone_after_the_next_run(
    shell: Shell, bucket: Bucket, moment: str
) -> None:
    write = f"cd /opt/ml/checkpoints; head -c {LARGE} /dev/zero > large"
    then = "; sleep 300" if moment == "while the job runs" else ""
    _, process = shell.begin(shell.job(write + then, more=URI))
    wait_for(lambda: is_uploading(shell, bucket), every=0.002)
    process.kill()
    process.communicate()
    assert half_done(shell)

    ran = shell.train(shell.job(f"{write}; echo 1 > small", more=URI))

    assert ran.code == 0, ran.err
    assert {key: len(content) for key, content in bucket.objects.items()} == {"ck/large": LARGE, "ck/small": 2}
    assert half_done(shell) == []


def is_uploading(shell: Shell, bucket: Bucket) -> bool:
    """Whether some of the large file is in the bucket's folder, or all of it waits to go to another."""
    begun = any(size > 1000 for size in sizes(bucket.folder, "ck/*"))
    return begun or (shell.is_elsewhere and LARGE in sizes(shell.folder, "cache/work/*/.*/*"))


def sizes(folder: Path, pattern: str) -> list[int]:
    found = []
    for path in folder.glob(pattern):
        with suppress(FileNotFoundError):
            found += [path.stat().st_size] * path.is_file()
    return found
