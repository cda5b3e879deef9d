"""A heterogeneous cluster: hosts of two groups, each with its own type, channels, GPUs and resources."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.container.conftest import Bucket, Shell

_GROUPS = """
instance_groups = [
    { instance_group_name = "data", instance_type = "ml.t3.medium", instance_count = 1 },
    { instance_group_name = "dnn", instance_type = "ml.p3.2xlarge", instance_count = 2 },
]"""
_CHANNELS = """
[inputs]
everybodys = "s3://bucket/all/"
sharded = { uri = "s3://bucket/shards/", instance_groups = ["dnn"], distribution = "ShardedByS3Key" }
raw = { uri = "s3://bucket/raw/", instance_groups = ["data"] }
"""
_LOOK = (
    "cat /opt/ml/input/config/resourceconfig.json; echo; "
    "cd /opt/ml/input/data; find . -type f ! -name '*-manifest' | sort; "
    "nvidia-smi --list-gpus 2>/dev/null | grep -c '^GPU '; df --output=size -B1 /dev/shm | tail -1; "
    "echo $HOST > /opt/ml/model/$HOST"
)


def _job(shell: Shell, more: str) -> Path:
    path = shell.job(_LOOK, more=more)
    single = 'instance_type = "ml.m5.large"\ninstance_count = 1'
    assert single in path.read_text()
    path.write_text(path.read_text().replace(single, _GROUPS))
    return path


@pytest.mark.effect("ResourceConfig.InstanceGroups", "InputDataConfig.DataSource.S3DataSource")
def test_the_hosts_of_two_groups_are_of_their_own_kind_and_have_their_own_channels(
    shell: Shell, bucket: Bucket
) -> None:
    for key in ("all/a", "shards/1", "shards/2", "raw/r"):
        bucket.put(key, key.encode())

    ran = shell.train(_job(shell, _CHANNELS), "--virtual-gpus", "1")

    assert ran.code == 0, ran.out
    logs = {host: ran.log(host).splitlines() for host in ("algo-1", "algo-2", "algo-3")}
    told = {host: json.loads(lines[0]) for host, lines in logs.items()}
    assert [(config["current_host"], config["current_group_name"]) for config in told.values()] == [
        ("algo-1", "data"),
        ("algo-2", "dnn"),
        ("algo-3", "dnn"),
    ]
    assert [config["current_instance_type"] for config in told.values()] == ["ml.t3.medium"] + ["ml.p3.2xlarge"] * 2
    for config in told.values():
        assert config["hosts"] == ["algo-1", "algo-2", "algo-3"]
        assert config["instance_groups"] == [
            {"instance_group_name": "data", "instance_type": "ml.t3.medium", "hosts": ["algo-1"]},
            {"instance_group_name": "dnn", "instance_type": "ml.p3.2xlarge", "hosts": ["algo-2", "algo-3"]},
        ]
    small = str(2 << 30)  # half of a ml.t3.medium's memory
    assert logs["algo-1"][1:] == ["./everybodys/a", "./raw/r", "0", small]
    assert logs["algo-2"][1:4] == ["./everybodys/a", "./sharded/1", "1"]
    assert logs["algo-3"][1:4] == ["./everybodys/a", "./sharded/2", "1"]
    assert int(logs["algo-2"][4]) > int(small)
    assert ran.packed() == {host: f"{host}\n".encode() for host in logs}
    assert "ml.t3.medium × 1 + ml.p3.2xlarge × 2" in ran.out


def test_a_cluster_of_two_kinds_is_in_no_warm_pool(shell: Shell) -> None:
    ran = shell.train(_job(shell, ""), "--set", "keep_alive_period_in_seconds=60")

    assert ran.code == 2
    assert "KeepAlivePeriodInSeconds: a warm pool keeps no instance groups" in ran.err
    assert not ran.folder.exists()
