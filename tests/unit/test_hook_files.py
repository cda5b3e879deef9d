"""The files that tell Debugger's hook, the profiler and the script where to save."""

from typing import Any

import pytest

from tests.fakes import a_job
from training_job.container import host_contents
from training_job.hook_files import hook_files


def test_a_job_that_asks_for_none_has_none() -> None:
    assert hook_files(a_job()) == {}


@pytest.mark.effect("DebugHookConfig", "ProfilerConfig")
@pytest.mark.parametrize(
    ("asked", "name", "content"),
    [
        (
            {"DebugHookConfig": {"S3OutputPath": "s3://b/debug", "CollectionConfigurations": []}},
            "debughookconfig.json",
            b'{"LocalPath":"/opt/ml/output/tensors","HookParameters":null,"CollectionConfigurations":[],'
            b'"S3OutputPath":"s3://b/debug"}',
        ),
        (
            {
                "DebugHookConfig": {
                    "S3OutputPath": "s3://b",
                    "LocalPath": "/tmp/tensors",
                    "HookParameters": {"save_all": "true"},
                    "CollectionConfigurations": [{"CollectionName": "losses"}],
                }
            },
            "debughookconfig.json",
            b'{"LocalPath":"/tmp/tensors","HookParameters":{"save_all":"true"},"CollectionConfigurations":'
            b'[{"CollectionName":"losses","CollectionParameters":null}],"S3OutputPath":"s3://b"}',
        ),
        (
            {"ProfilerConfig": {"S3OutputPath": "s3://b", "ProfilingIntervalInMilliseconds": 500}},
            "profilerconfig.json",
            b'{"ProfilingParameters":{},"ProfilingIntervalInMilliseconds":500,"S3OutputPath":"s3://b",'
            b'"DisableProfiler":false}',
        ),
        (
            {"ProfilerConfig": {"ProfilingParameters": {"DataloaderProfilingConfig": "{}"}}},
            "profilerconfig.json",
            b'{"ProfilingParameters":{"LocalPath":"/opt/ml/output/profiler","DataloaderProfilingConfig":"{}"},'
            b'"ProfilingIntervalInMilliseconds":null,"S3OutputPath":null,"DisableProfiler":false}',
        ),
        (
            {"CheckpointConfig": {"S3Uri": "s3://b/c"}},
            "checkpointconfig.json",
            b'{"LocalPath":"/opt/ml/checkpoints"}',
        ),
        (
            {"TensorBoardOutputConfig": {"S3OutputPath": "s3://b", "LocalPath": "/opt/tensorboard"}},
            "tensorboardoutputconfig.json",
            b'{"LocalPath":"/opt/tensorboard"}',
        ),
    ],
)
def test_every_host_finds_what_the_job_asks_for(asked: dict[str, Any], name: str, content: bytes) -> None:
    hosts = host_contents(a_job(hosts=2, **asked), region="us-west-2")

    assert [host.files[name] for host in hosts] == [content] * 2
