"""Fields of the request whose effect on a real host no other test shows."""

from __future__ import annotations

import json

import pytest

from tests.container.conftest import Bucket, Shell, wait_for

_FILE_SYSTEM_ID = "fs-0123456789abcdef0"


@pytest.mark.effect("TrainingJobName", "HyperParameters", "InputDataConfig.ChannelName", "InputDataConfig.ContentType")
def test_a_host_finds_its_jobs_name_hyperparameters_and_channels(shell: Shell) -> None:
    script = (
        "echo $TRAINING_JOB_NAME ${TRAINING_JOB_ARN##*/}; cd /opt/ml/input/config; cat hyperparameters.json; echo; "
        "cat inputdataconfig.json; ls ../data"
    )
    more = (
        'hyperparameters = { epochs = 3 }\n[inputs]\ntrain = { uri = "fsx://training-data", content_type = "text/csv" }'
    )

    ran = shell.train(shell.job(script, more=more))

    name, hyperparameters, channels = ran.log().splitlines()
    assert name == f"{ran.folder.name} {ran.folder.name}"
    assert json.loads(hyperparameters)["epochs"] == "3"
    assert channels == (
        '{"train":{"ContentType":"text/csv","TrainingInputMode":"File","S3DistributionType":"FullyReplicated",'
        '"RecordWrapperType":"None"}}train'
    )


@pytest.mark.effect("InputDataConfig.DataSource.FileDataSource")
def test_a_directory_of_this_machine_is_a_channel_that_nobody_writes_to(shell: Shell) -> None:
    (shell.folder / "own").mkdir()
    (shell.folder / "own" / "a").write_text("data\n")
    script = "cat /opt/ml/input/data/train/a; touch /opt/ml/input/data/train/b || exit 7"

    ran = shell.train(shell.job(script, more='[inputs]\ntrain = "file://own"'))

    assert (ran.code, ran.description["FailureReason"]) == (1, "AlgorithmError: , exit code: 7")
    assert "data\n" in ran.log()
    assert [path.name for path in (shell.folder / "own").iterdir()] == ["a"]


@pytest.mark.effect("InputDataConfig.DataSource.FileSystemDataSource.FileSystemId")
def test_a_file_system_goes_by_its_id(shell: Shell) -> None:
    (shell.folder / "fsx" / "train").mkdir()
    (shell.folder / "fsx" / "train" / "a").write_text("data\n")
    with (shell.folder / "homeport.toml").open("a") as place:
        place.write(f'[local.file_systems.lustre]\nid = "{_FILE_SYSTEM_ID}"\nmount_name = "fsx"\npath = "fsx"\n')
    source = f'FileSystemId = "{_FILE_SYSTEM_ID}", FileSystemAccessMode = "ro", FileSystemType = "FSxLustre"'
    channel = f'ChannelName = "train", DataSource.FileSystemDataSource = {{ {source}, DirectoryPath = "/fsx/train" }}'

    ran = shell.train(
        shell.job("cat /opt/ml/input/data/train/a", more=f"[request]\nInputDataConfig = [{{ {channel} }}]")
    )

    assert (ran.code, ran.log()) == (0, "data\n"), ran.err


@pytest.mark.effect("AlgorithmSpecification.TrainingInputMode")
@pytest.mark.parametrize(
    ("mode", "read"),
    [
        ("Pipe", "until [ -p data_0 ]; do sleep 0.01; done; cat data_0"),
        ("FastFile", "cat data/a; ! touch data/b 2>/dev/null"),
        ("File", "cat data/a; test -f data-manifest"),
    ],
)
def test_the_jobs_input_mode_is_that_of_its_channels(shell: Shell, bucket: Bucket, mode: str, read: str) -> None:
    bucket.put("set/a", b"data\n")
    more = f'input_mode = "{mode}"\n[inputs]\ndata = "s3://bucket/set/"'

    ran = shell.train(shell.job(f"cd /opt/ml/input/data; {read}", more=more))

    assert (ran.code, ran.log()) == (0, "data\n"), ran.out


@pytest.mark.effect("DebugHookConfig", "ProfilerConfig")
def test_what_the_hook_and_the_profiler_save_is_kept_in_step(shell: Shell, bucket: Bucket) -> None:
    script = (
        "cd /opt/ml/output; mkdir -p tensors profiler; echo t > tensors/$HOST; echo p > profiler/$HOST; "
        "cat ../input/config/debughookconfig.json ../input/config/profilerconfig.json; "
        "until [ -e /opt/ml/input/data/sync/end ]; do sleep 0.02; done"
    )
    more = (
        '[inputs]\nsync = "fsx://training-data"\n[request]\nDebugHookConfig = { S3OutputPath = "s3://bucket/dbg" }\n'
        'ProfilerConfig = { S3OutputPath = "s3://bucket/prof" }'
    )
    name, process = shell.begin(shell.job(script, more=more))

    wait_for(lambda: sorted(bucket.objects.values()) == [b"p\n", b"t\n"])
    (shell.folder / "fsx/end").touch()
    ran = shell.end(name, process)

    assert ran.code == 0, ran.err
    assert {key.split("/")[0]: content for key, content in bucket.objects.items()} == {"dbg": b"t\n", "prof": b"p\n"}
    assert '"LocalPath":"/opt/ml/output/tensors"' in ran.log()
    assert '"DisableProfiler":false' in ran.log()
