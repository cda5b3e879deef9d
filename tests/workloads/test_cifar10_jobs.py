"""The CIFAR-10 jobs through the real SageMaker toolkits, with the digits, on this machine's cores."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest
from docker.models.containers import Container

from tests.container.conftest import Ran, Shell
from tests.workloads.conftest import CIFAR10, IMAGE

METRICS = {"train:loss", "train:accuracy", "validation:loss", "validation:accuracy", "images_per_second"}
# Loaded without any of our code, as a server would.
PREDICT = """
import sys, tensorflow as tf
sys.path.insert(0, "/code/cifar10")
from data import load
images = load("/data/cifar10/validation")
model = tf.keras.models.load_model("/tmp/served/1")
print("accuracy", float((model.predict(images.pixels, verbose=0).argmax(1) == images.labels).mean()))
"""


def _train(place: Shell, job: str, *arguments: str) -> Ran:
    ran = place.train(CIFAR10 / f"{job}.toml", "--set", f"image={IMAGE}", *arguments)
    assert ran.code == 0, ran.out + ran.err
    return ran


def _metrics(ran: Ran) -> dict[str, float]:
    """The last value of each, as the job's own regular expressions found them."""
    return {entry["MetricName"]: entry["Value"] for entry in ran.description["FinalMetricDataList"]}


def _ranks(ran: Ran) -> list[dict[str, Any]]:
    packed = ran.packed("output.tar.gz")
    return sorted((json.loads(packed[name]) for name in packed if name.startswith("ranks/")), key=lambda r: r["rank"])


def _served(ran: Ran, container: Container) -> float:
    """The accuracy of the artifact, loaded anew."""
    container.exec_run(["rm", "-rf", "/tmp/served"])
    container.exec_run(["mkdir", "/tmp/served"])
    archive = ran.folder / "output" / "model.tar.gz"
    with tarfile.open(archive) as packed:
        packed.extractall(archive.parent / "served", filter="data")
    with tarfile.open(archive.parent / "served.tar", "w") as plain:
        plain.add(archive.parent / "served" / "1", "1")
    container.put_archive("/tmp/served", (archive.parent / "served.tar").read_bytes())
    said = container.exec_run(["python", "-c", PREDICT], environment={"TF_CPP_MIN_LOG_LEVEL": "2"})
    return float(said.output.decode().rpartition("accuracy")[2])


def test_the_smddp_job_learns_the_digits_by_the_toolkits_own_runner(place: Shell, container: Container) -> None:
    ran = _train(place, "tf2_smddp")

    metrics, ranks = _metrics(ran), _ranks(ran)
    assert "-x SMDATAPARALLEL_USE_SINGLENODE=1" in ran.log()
    assert " smddprun " in ran.log()
    assert ran.log().count("Homeport's emulation over Horovod, not AWS's library") == 1
    assert "HyperParameters" in {
        entry["field"]
        for entry in json.loads((ran.folder / "plan.json").read_text())["ledger"]
        if entry["kind"] == "emulated"
    }
    assert metrics.keys() == METRICS
    assert metrics["validation:accuracy"] >= 0.95
    assert [(rank["rank"], rank["size"], rank["local_rank"]) for rank in ranks] == [(0, 2, 0), (1, 2, 1)]
    assert len({rank["weights_sha256"] for rank in ranks}) == 1
    assert _served(ran, container) == pytest.approx(metrics["validation:accuracy"], abs=1e-4)


@pytest.mark.nightly
@pytest.mark.parametrize("job", ["keras", "keras_script_mode", "tf2", "tf2_horovod", "horovod"])
def test_every_other_job_learns_the_digits(place: Shell, container: Container, job: str) -> None:
    ran = _train(place, job)

    metrics, ranks = _metrics(ran), _ranks(ran)
    assert metrics.keys() == METRICS
    assert metrics["validation:accuracy"] >= (0.95 if job.startswith("tf2") else 0.90)
    assert len(ranks) == (2 if "horovod" in job else 1)
    assert len({rank["weights_sha256"] for rank in ranks}) == 1
    assert _served(ran, container) == pytest.approx(metrics["validation:accuracy"], abs=1e-4)


@pytest.mark.nightly
@pytest.mark.parametrize("job", ["tf2_smddp", "tf2_horovod"])
def test_two_hosts_of_two_processes_are_four_ranks_with_the_same_weights(place: Shell, job: str) -> None:
    ran = _train(place, job, "--instance-count", "2", "--virtual-gpus", "2", "--set", "hyperparameters.epochs=2")

    ranks = _ranks(ran)
    seen = [image for rank in ranks for image in rank["image_ids"]]
    assert [(rank["rank"], rank["size"], rank["local_rank"], rank["host"]) for rank in ranks] == [
        (0, 4, 0, "algo-1"),
        (1, 4, 1, "algo-1"),
        (2, 4, 0, "algo-2"),
        (3, 4, 1, "algo-2"),
    ]
    assert len({rank["weights_sha256"] for rank in ranks}) == 1
    assert len(set(seen)) == len(seen) == 1197 // 64 * 64


@pytest.fixture
def bad(place: Shell, digits: Path, tmp_path: Path) -> Path:
    """The digits, to be spoilt."""
    copy = tmp_path / "bad"
    shutil.copytree(digits, copy / "cifar10")
    (place.folder / "homeport.toml").write_text(
        f'[local.file_systems.training-data]\nmount_name = "fsx"\npath = "{copy}"\n'
    )
    return copy / "cifar10" / "train"


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ("empty channel", "there is no .tfrecord file in the channel /opt/ml/input/data/train"),
        ("corrupt record", "train-00003-of-00016.tfrecord is corrupt after"),
        ("too large a batch", "1197 images are too few for one step: 2 rank(s) of batch-size 2000 take 4000"),
    ],
)
def test_bad_input_is_a_failure_reason_in_words(place: Shell, bad: Path, spoil: str, words: str) -> None:
    files = sorted(bad.glob("*.tfrecord"))
    batch = 2000 if spoil == "too large a batch" else 16
    if spoil == "corrupt record":
        content = bytearray(files[3].read_bytes())
        content[len(content) // 2] ^= 0xFF
        files[3].write_bytes(content)
    if spoil == "empty channel":
        for file in files:
            file.unlink()

    settings = ["--set", f"image={IMAGE}", "--set", f"hyperparameters.batch-size={batch}"]
    ran = place.train(CIFAR10 / "tf2_smddp.toml", *settings)

    assert ran.code == 1
    assert words in ran.description["FailureReason"]
