"""S3 channels in every mode, on one host and on three: each host checks every byte that it reads."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.container.conftest import Shell
from tests.s3_server import KEYS, REGION, Served

HOSTS = (1, 3)
# Every file by its digest, and no file more.
CHECK_FILES = (
    "cd /opt/ml/input/data/data && sha256sum --quiet -c ../expected/$HOST "
    "&& [ $(find -L . -type f | wc -l) = $(wc -l < ../expected/$HOST) ] && echo every byte"
)
# Each epoch's stream by its digest; a pipe may not be there yet.
CHECK_PIPES = (
    "cd /opt/ml/input/data; n=0; while read wanted; do until [ -p data_$n ]; do sleep 0.01; done; "
    '[ "$(sha256sum < data_$n | cut -d" " -f1)" = $wanted ] && echo epoch $n; n=$((n+1)); done < expected/$HOST'
)


@dataclass(frozen=True)
class Data:
    """Objects below s3://bucket/set/, and where the hosts find what they should read."""

    objects: dict[str, bytes]
    expected: Path

    def expect_files(self, host: str, objects: dict[str, bytes]) -> None:
        lines = (f"{hashlib.sha256(content).hexdigest()}  {path}\n" for path, content in objects.items())
        (self.expected / host).write_text("".join(lines))

    def expect_streams(self, host: str, streams: list[bytes]) -> None:
        (self.expected / host).write_text("".join(f"{hashlib.sha256(stream).hexdigest()}\n" for stream in streams))


def channel(options: str, expected: str = "fsx://training-data/expected") -> str:
    return f'[inputs]\nexpected = "{expected}"\ndata = {{ {options} }}\n'


@pytest.fixture(params=["a directory", "an endpoint"])
def data(request: pytest.FixtureRequest, shell: Shell, s3: Served, monkeypatch: pytest.MonkeyPatch) -> Data:
    """A set of objects in a bucket that is a directory, and in one behind an S3 endpoint."""
    chance = random.Random(7)
    objects = {f"f{n}": chance.randbytes(n * 40_000) for n in range(6)} | {
        "deep/er/g": chance.randbytes(3_000_000),
        "deep/h i%20ü": b"hello\n",
    }
    for path, content in objects.items():
        s3.put("bucket", f"set/{path}", content)
    where = f'path = "{s3.root}/bucket"' if request.param == "a directory" else f'endpoint = "{s3.url}"'
    with (shell.folder / "homeport.toml").open("a") as place:
        place.write(f"[local.buckets.bucket]\n{where}\n[local.cache]\npath = 'cache'\n")
    for name, value in (KEYS | {"AWS_REGION": REGION}).items():
        monkeypatch.setenv(name, value)
    expected = shell.folder / "fsx" / "expected"
    expected.mkdir()
    return Data(objects, expected)


def hosts_of(count: int) -> list[str]:
    return [f"algo-{number + 1}" for number in range(count)]


@pytest.mark.effect("InputDataConfig.DataSource.S3DataSource", "InputDataConfig.InputMode")
@pytest.mark.parametrize("count", HOSTS)
@pytest.mark.parametrize("mode", ["File", "FastFile"])
def test_every_host_reads_every_object(shell: Shell, data: Data, mode: str, count: int) -> None:
    for host in hosts_of(count):
        data.expect_files(host, data.objects)

    more = channel(f'uri = "s3://bucket/set/", input_mode = "{mode}"')
    ran = shell.train(shell.job(CHECK_FILES, hosts=count, more=more))

    assert ran.code == 0, ran.out
    assert [ran.log(host) for host in hosts_of(count)] == ["every byte\n"] * count


@pytest.mark.effect("InputDataConfig.DataSource.S3DataSource")
@pytest.mark.parametrize("count", HOSTS)
@pytest.mark.parametrize("mode", ["File", "FastFile"])
def test_shards_are_disjoint_and_whole(shell: Shell, data: Data, mode: str, count: int) -> None:
    for number, host in enumerate(hosts_of(count)):
        data.expect_files(host, dict(sorted(data.objects.items())[number::count]))

    more = channel(f'uri = "s3://bucket/set/", distribution = "ShardedByS3Key", input_mode = "{mode}"')
    ran = shell.train(shell.job(CHECK_FILES, hosts=count, more=more))

    assert ran.code == 0, ran.out
    assert [ran.log(host) for host in hosts_of(count)] == ["every byte\n"] * count


@pytest.mark.parametrize("count", HOSTS)
def test_a_manifest_names_the_objects(shell: Shell, data: Data, s3: Served, count: int) -> None:
    s3.put("bucket", "list.manifest", json.dumps([{"prefix": "s3://bucket/set/"}, "f1", "deep/er/g"]).encode())
    for host in hosts_of(count):
        data.expect_files(host, {path: data.objects[path] for path in ("f1", "deep/er/g")})

    more = channel('uri = "s3://bucket/list.manifest", s3_data_type = "ManifestFile"')
    ran = shell.train(shell.job(f"{CHECK_FILES}; cat ../data-manifest", hosts=count, more=more))

    assert ran.code == 0, ran.out
    told = '[{"prefix":"s3://bucket/set/"},"f1","deep/er/g"]'
    assert [ran.log(host) for host in hosts_of(count)] == [f"every byte\n{told}"] * count


def test_a_prefix_is_the_beginning_of_keys(shell: Shell, data: Data) -> None:
    data.expect_files("algo-1", {path.removeprefix("f"): data.objects[path] for path in data.objects if path[0] == "f"})

    ran = shell.train(shell.job(CHECK_FILES, more=channel('uri = "s3://bucket/set/f"')))

    assert ran.code == 0, ran.out
    assert ran.log() == "every byte\n"


def test_a_prefix_that_is_one_key_is_that_file(shell: Shell, data: Data) -> None:
    data.expect_files("algo-1", {"g": data.objects["deep/er/g"]})

    ran = shell.train(shell.job(CHECK_FILES, more=channel('uri = "s3://bucket/set/deep/er/g"')))

    assert ran.code == 0, ran.out


def in_order(objects: dict[str, bytes], wrap: Callable[[bytes], bytes] = bytes) -> bytes:
    return b"".join(wrap(objects[path]) for path in sorted(objects))


def record(content: bytes) -> bytes:
    return struct.pack("<II", 0xCED7230A, len(content)) + content + bytes(-len(content) % 4)


@pytest.mark.effect("InputDataConfig.InputMode", "InputDataConfig.RecordWrapperType")
@pytest.mark.parametrize("count", HOSTS)
@pytest.mark.parametrize("wrapping", ["None", "RecordIO"])
def test_a_pipe_is_one_pass_an_epoch(shell: Shell, data: Data, wrapping: str, count: int) -> None:
    stream = in_order(data.objects, record if wrapping == "RecordIO" else bytes)
    for host in hosts_of(count):
        data.expect_streams(host, [stream] * 3)

    more = channel(f'uri = "s3://bucket/set", input_mode = "Pipe", record_wrapping = "{wrapping}"')
    ran = shell.train(shell.job(CHECK_PIPES, hosts=count, more=more))

    assert ran.code == 0, ran.out
    assert [ran.log(host) for host in hosts_of(count)] == ["epoch 0\nepoch 1\nepoch 2\n"] * count


@pytest.mark.parametrize("count", HOSTS)
def test_a_pipes_shards_are_disjoint_and_whole(shell: Shell, data: Data, count: int) -> None:
    for number, host in enumerate(hosts_of(count)):
        shard = dict(sorted(data.objects.items())[number::count])
        data.expect_streams(host, [in_order(shard)] * 2)

    more = channel('uri = "s3://bucket/set", input_mode = "Pipe", distribution = "ShardedByS3Key"')
    ran = shell.train(shell.job(CHECK_PIPES, hosts=count, more=more))

    assert ran.code == 0, ran.out
    assert [ran.log(host) for host in hosts_of(count)] == ["epoch 0\nepoch 1\n"] * count


@pytest.mark.effect("InputDataConfig.CompressionType")
def test_gzip_is_decompressed_on_the_stream(shell: Shell, data: Data, s3: Served) -> None:
    for path, content in data.objects.items():
        s3.put("bucket", f"zipped/{path}", gzip.compress(content[:1000]) + gzip.compress(content[1000:]))
    data.expect_streams("algo-1", [in_order(data.objects)])

    more = channel('uri = "s3://bucket/zipped", input_mode = "Pipe", compression = "Gzip"')
    ran = shell.train(shell.job(CHECK_PIPES, more=more))

    assert ran.code == 0, ran.out
    assert ran.log() == "epoch 0\n"


@pytest.mark.parametrize("count", HOSTS)
def test_an_augmented_manifest_is_a_record_for_each_attribute(shell: Shell, data: Data, s3: Served, count: int) -> None:
    rows = [{"image-ref": f"s3://bucket/set/{path}", "class": path, "id": n} for n, path in enumerate(data.objects)]
    s3.put("bucket", "rows.manifest", "".join(f"{json.dumps(row)}\n" for row in rows).encode())
    stream = b"".join(
        record(data.objects[row["class"]]) + record(str(row["id"]).encode()) + record(row["class"].encode())
        for row in rows
    )
    for host in hosts_of(count):
        data.expect_streams(host, [stream] * 2)

    options = (
        'uri = "s3://bucket/rows.manifest", input_mode = "Pipe", s3_data_type = "AugmentedManifestFile", '
        'record_wrapping = "RecordIO", attribute_names = ["image-ref", "id", "class"]'
    )
    ran = shell.train(shell.job(CHECK_PIPES, hosts=count, more=channel(options)))

    assert ran.code == 0, ran.out
    assert [ran.log(host) for host in hosts_of(count)] == ["epoch 0\nepoch 1\n"] * count


@pytest.mark.effect("InputDataConfig.ShuffleConfig")
@pytest.mark.usefixtures("data")
def test_a_seed_shuffles_every_epoch_anew_and_a_reader_may_leave_early(shell: Shell) -> None:
    more = channel('uri = "s3://bucket/set", input_mode = "Pipe", shuffle_seed = 5')
    script = (
        "cd /opt/ml/input/data; for n in 0 1 2 3; do until [ -p data_$n ]; do sleep 0.01; done; "
        "[ $n = 1 ] && head -c 10 data_$n >/dev/null || sha256sum < data_$n; done"
    )
    first, again = (shell.train(shell.job(script, more=more)) for _ in range(2))

    assert first.code == 0, first.out
    digests = first.log().splitlines()
    assert len(digests) == 3
    assert len(set(digests)) > 1
    assert again.log().splitlines() == digests


@pytest.mark.usefixtures("data")
def test_a_pipe_that_nobody_opens_hinders_no_job_and_is_told(shell: Shell) -> None:
    ran = shell.train(shell.job("true", more=channel('uri = "s3://bucket/set", input_mode = "Pipe"')), timeout=60)

    assert ran.code == 0, ran.out
    assert "algo-1 never opened data_0" in ran.out
