"""TensorFlow's own readers on channels of every mode, inside the training image."""

from __future__ import annotations

from pathlib import Path

import pytest
from docker import APIClient

from tests.container.conftest import TENSORFLOW, Shell
from tests.s3_server import KEYS, REGION, Served

RECORDS = 3000
FILES = 4

WRITE = """
import sys, tensorflow as tf
for number in range({files}):
    with tf.io.TFRecordWriter(f"/opt/ml/model/part-{{number}}.tfrecord") as writer:
        for record in range(number, {records}, {files}):
            writer.write(record.to_bytes(4, "little") * (record % 50 + 1))
"""
READ = """
import os, tensorflow as tf
WANTED = [record.to_bytes(4, "little") * (record % 50 + 1) for record in range({records})]

def number(record):
    return int.from_bytes(record[:4], "little")

for channel in ("file", "fast", "fsx"):
    directory = os.environ[f"SM_CHANNEL_{{channel.upper()}}"]
    paths = tf.io.gfile.glob(f"{{directory}}/*.tfrecord")
    data = tf.data.TFRecordDataset(tf.data.Dataset.from_tensor_slices(paths), num_parallel_reads=4)
    read = sorted(data.as_numpy_iterator(), key=number)
    assert read == WANTED, (channel, len(read))
    print(channel, len(paths), "files,", len(read), "records")

def frames(path):
    # A pipe cannot be sought in, which TFRecordDataset wants to: its frames, one after another.
    with open(path, "rb") as pipe:
        while length := pipe.read(12):
            size = int.from_bytes(length[:8], "little")
            yield pipe.read(size + 4)[:size]

for epoch in range(3):
    path = f"{{os.environ['SM_CHANNEL_PIPE']}}_{{epoch}}"
    data = tf.data.Dataset.from_generator(lambda: frames(path), output_signature=tf.TensorSpec((), tf.string))
    assert sorted(data.as_numpy_iterator(), key=number) == WANTED, epoch
    print("pipe, epoch", epoch)
"""


def a_job(shell: Shell, name: str, script: str, more: str = "") -> Path:
    source = shell.folder / name
    source.mkdir()
    (source / "train.py").write_text(script.format(records=RECORDS, files=FILES))
    path = shell.folder / f"{name}.toml"
    path.write_text(
        f'name = "{name}"\nimage = "{TENSORFLOW}"\nentry_point = "train.py"\nsource_dir = "{name}"\n'
        f'instance_type = "ml.m5.xlarge"\n{more}\n'
    )
    return path


def test_tensorflow_reads_every_record_in_every_mode(
    api: APIClient, tmp_path: Path, s3: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert api.images(TENSORFLOW), f"{TENSORFLOW} is not built: make image"
    shell = Shell(tmp_path, TENSORFLOW)
    for name, value in (KEYS | {"AWS_REGION": REGION}).items():
        monkeypatch.setenv(name, value)
    written = shell.train(a_job(shell, "write", WRITE))
    assert written.code == 0, written.out
    for name, content in written.packed().items():
        s3.put("bucket", f"records/{name}", content)
        (shell.folder / "fsx" / name).write_bytes(content)
    with (shell.folder / "homeport.toml").open("a") as place:
        place.write(f'[local.buckets.bucket]\nendpoint = "{s3.url}"\n[local.cache]\npath = "cache"\n')

    uri = "s3://bucket/records/"
    more = (
        f'[inputs]\nfile = "{uri}"\nfsx = "fsx://training-data"\nfast = {{ uri = "{uri}", input_mode = "FastFile" }}\n'
        f'pipe = {{ uri = "{uri}", input_mode = "Pipe" }}\n'
    )
    ran = shell.train(a_job(shell, "read", READ, more))

    assert ran.code == 0, ran.out
    # The toolkit may break a line of print() wherever it was written in pieces.
    log = " ".join(ran.log().split())
    for mode in ("file", "fast", "fsx"):
        assert f"{mode} {FILES} files, {RECORDS} records" in log
    assert "pipe, epoch 2" in log
