"""Bad input: one clear message with its place, exit 2 or 3, nothing started and nothing left."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.container.conftest import Ran, Shell

CHANNELS = "\n".join(f'c{number} = "fsx://training-data"' for number in range(21))

CASES = {
    "unknown key": ("instance_typ = 1", 2, "job.toml:6 instance_typ: is not known here; did you mean 'instance_type'?"),
    "wrong type": ('max_run = "long"', 2, "job.toml:6 max_run: must be a whole number, not 'long'"),
    "21 channels": (f"[inputs]\n{CHANNELS}", 2, "job.toml:6 inputs: has 21 entries; 20 are allowed"),
    "hyperparameter": (
        f'[hyperparameters]\nlong = "{"x" * 2501}"',
        2,
        "job.toml:7 hyperparameters.long: has 2,501 characters; 2,500 are allowed",
    ),
    "missing directory": ('[inputs]\na = "fsx://training-data/nowhere"', 2, "fsx/nowhere: there is no such directory"),
    "missing local directory": ('[inputs]\na = "file://nowhere"', 2, "nowhere: there is no such directory"),
    "unmapped file system": (
        '[inputs]\na = "fsx://training-dta/x"',
        2,
        "file system 'training-dta' is not mapped in",
    ),
    "no mount name": (
        '[request]\nInputDataConfig = [{ ChannelName = "a", DataSource = { FileSystemDataSource = { '
        'FileSystemId = "fs-0123456789abcdef0", FileSystemAccessMode = "ro", FileSystemType = "FSxLustre", '
        'DirectoryPath = "/train" } } }]',
        2,
        "DirectoryPath '/train' must begin with the file system's mount name: /lustre/train",
    ),
    "unknown bucket": ('[inputs]\na = "s3://bucket/x"', 2, "bucket 'bucket' is not mapped in"),
    "pipe": ('[inputs]\na = { uri = "fsx://training-data", input_mode = "Pipe" }', 2, "File mode only"),
    "bad regex": ('[[metric_definitions]]\nname = "m"\nregex = "(["', 2, "is no regular expression"),
}


def _nothing_happened(shell: Shell, ran: Ran) -> None:
    assert "Traceback" not in ran.err
    assert "Training" not in ran.out
    assert not (shell.folder / "runs").exists()


@pytest.mark.parametrize("case", CASES)
def test_a_job_that_cannot_be_is_refused(shell: Shell, case: str) -> None:
    more, code, message = CASES[case]
    with (shell.folder / "homeport.toml").open("a") as place:
        place.write('[local.file_systems.lustre]\nid = "fs-0123456789abcdef0"\nmount_name = "lustre"\npath = "fsx"\n')

    ran = shell.train(shell.job(more=more))

    assert (ran.code, message in ran.err) == (code, True), ran.err
    _nothing_happened(shell, ran)


@pytest.mark.parametrize(
    ("setting", "code", "message"),
    [
        ("instance_type=ml.p3.16xlrge", 2, "did you mean 'ml.p3.16xlarge'?"),
        ("image=homeport-test/none:1", 3, "image homeport-test/none:1: not on this machine"),
        ("image=homeport/none", 3, "Build it: make image"),
        ("image=homeport/debian:bookworm", 2, "SageMaker runs `IMAGE train`"),
        ('container_entry_point=["/nope"]', 2, "the container cannot start"),
        ("nonsense", 2, "must be KEY=VALUE"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(shell: Shell, setting: str, code: int, message: str) -> None:
    ran = shell.train(shell.job(), "--set", setting)

    assert (ran.code, message in ran.err) == (code, True), ran.err
    _nothing_happened(shell, ran)


def test_a_bad_job_name_is_refused(shell: Shell) -> None:
    process = shell.start("train", shell.job(), "--name", "no_underscores")
    _, err = process.communicate()

    assert process.returncode == 2
    assert "name: 'no_underscores' must match" in err


def test_several_faults_in_one_file_are_told_together(shell: Shell) -> None:
    ran = shell.train(shell.job(more='max_run = "long"\nfoo = 1\n[inputs]\na = "ftp://x"\n[request]\nTgas = []'))

    assert ran.code == 2
    for place in ("job.toml:6 max_run", "job.toml:7 foo", "job.toml:9 inputs.a.uri", "job.toml:11 request.Tgas"):
        assert place in ran.err
    _nothing_happened(shell, ran)


def test_a_name_that_is_taken_is_refused_and_the_first_run_is_kept(shell: Shell) -> None:
    first = shell.train(shell.job("echo first"))

    process = shell.start("train", shell.job("echo second"), "--name", first.folder.name)
    _, err = process.communicate()

    assert process.returncode == 2
    assert "TrainingJobName: is taken" in err
    assert first.log() == "first\n"


def test_more_gpus_than_there_are_are_refused_with_the_ways_out(shell: Shell) -> None:
    ran = shell.train(shell.job(), "--instance-type", "ml.p3.16xlarge", "--gpus", ",".join(map(str, range(64))))

    assert ran.code == 3
    assert "the job wants 64 GPUs" in ran.err
    assert "--virtual-gpus N" in ran.err
    _nothing_happened(shell, ran)


def test_no_engine_is_told_with_what_was_tried(shell: Shell) -> None:
    ran = shell.train(shell.job(), environ={"DOCKER_HOST": "unix:///nowhere/docker.sock"})

    assert ran.code == 3
    assert "no container engine answers" in ran.err
    assert "/nowhere/docker.sock" in ran.err
    _nothing_happened(shell, ran)


def test_strict_refuses_what_would_change_the_job_in_the_cloud(shell: Shell) -> None:
    job = shell.job(more='checkpoint_s3_uri = "s3://bucket/checkpoints"')

    ran = shell.train(job, "--strict")

    assert ran.code == 6
    assert "CheckpointConfig: bucket bucket is mapped nowhere" in ran.err
    _nothing_happened(shell, ran)
    assert shell.train(job).code == 0


def test_a_disk_with_no_room_to_begin_is_told_before_anything_starts(shell: Shell, small_disk: Path) -> None:
    (small_disk / "full").write_bytes(bytes(40 << 20))

    ran = shell.train(shell.job(), "--runs", str(small_disk))

    assert ran.code == 3
    assert "no room. 67.1 MB are needed there and" in ran.err
    assert [path.name for path in small_disk.iterdir()] == ["full"]


def test_a_disk_that_fills_while_packing_is_told_and_no_half_archive_stays(shell: Shell, small_disk: Path) -> None:
    script = "head -c 120000000 /dev/urandom > /opt/ml/model/weights"

    ran = shell.train(shell.job(script), "--runs", str(small_disk), "--name", "full")

    assert ran.code == 3
    assert "model.tar.gz: no room. 120.0 MB are needed there" in ran.err
    assert not list((small_disk / "full" / "output").iterdir())
