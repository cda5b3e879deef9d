"""The CIFAR-10 jobs through the real SageMaker toolkits, with the digits, on this machine's cores."""

from __future__ import annotations

import importlib.util
import json
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from docker import DockerClient
from docker.models.containers import Container

from tests.container.conftest import Ran, Shell
from tests.workloads.conftest import CIFAR10, IMAGE, fails_by_name_when_killed

IMAGES = 1197
BATCH = 16  # of a rank, as tf2.toml and horovod.toml have it
METRICS = {"train:loss", "train:accuracy", "validation:loss", "validation:accuracy", "images_per_second"}
# Loaded without any of our code, as a server would.
PREDICT = """
import json, sys, tensorflow as tf
sys.path.insert(0, "/entrypoints/cifar10")
from data import load
images = load("/data/cifar10/validation")
model = tf.keras.models.load_model("/tmp/served/1")
said = model.predict(images.pixels, verbose=0)
print(json.dumps({"accuracy": float((said.argmax(1) == images.labels).mean()),
                  "probabilities": {str(image): row.tolist() for image, row in zip(images.ids, said)}}))
"""
IMPORTED = importlib.util.spec_from_file_location("tfrecords", CIFAR10 / "tfrecords.py")
assert IMPORTED
assert IMPORTED.loader
tfrecords = importlib.util.module_from_spec(IMPORTED)
IMPORTED.loader.exec_module(tfrecords)


@dataclass(frozen=True)
class Size:
    """A job on so many hosts of so many ranks, and the accuracy that it reaches."""

    job: str
    hosts: int
    ranks: int
    accuracy: float

    @property
    def arguments(self) -> list[str]:
        """What the command line says to have it so; two hosts are for two epochs, as they share two cores."""
        fewer = ["--set", "hyperparameters.epochs=2"] if self.hosts > 1 else []
        return ["--instance-count", str(self.hosts), "--virtual-gpus", str(self.ranks), *fewer]

    @property
    def places(self) -> list[tuple[int, int, int]]:
        """Every rank: its number, how many there are, its number on its host."""
        world = self.hosts * self.ranks
        return [(rank, world, rank % self.ranks) for rank in range(world)]

    @property
    def host_of_ranks(self) -> list[str]:
        """The host of every rank, which mpirun's ranks take for its name."""
        return [f"algo-{host + 1}" for host in range(self.hosts) for _ in range(self.ranks)]


def _sizes() -> list[Any]:
    in_ci = {("tf2_smddp", 1, 2), ("horovod", 1, 1), ("horovod", 2, 2)}
    sizes = [Size("keras", 1, 1, 0.90), Size("keras_script_mode", 1, 1, 0.90), Size("tf2", 1, 1, 0.95)]
    for job, accuracy in (("horovod", 0.90), ("tf2_horovod", 0.95), ("tf2_smddp", 0.95)):
        sizes += [Size(job, 1, 1, accuracy), Size(job, 1, 2, accuracy), Size(job, 2, 2, 0.2)]
    return [
        pytest.param(
            size,
            marks=() if (size.job, size.hosts, size.ranks) in in_ci else pytest.mark.nightly,
            id=f"{size.job}-{size.hosts}x{size.ranks}",
        )
        for size in sizes
    ]


def _train(place: Shell, job: str, *arguments: str) -> Ran:
    return place.train(CIFAR10 / f"{job}.toml", "--set", f"image={IMAGE}", *arguments)


def _metrics(ran: Ran) -> dict[str, float]:
    """The last value of each, as the job's own regular expressions found them."""
    return {entry["MetricName"]: entry["Value"] for entry in ran.description["FinalMetricDataList"]}


def _ranks(ran: Ran) -> list[dict[str, Any]]:
    packed = ran.packed("output.tar.gz")
    return sorted((json.loads(packed[name]) for name in packed if name.startswith("ranks/")), key=lambda r: r["rank"])


def _served(ran: Ran, container: Container) -> dict[str, Any]:
    """The accuracy of the artifact, loaded anew, and what it says of each image."""
    container.exec_run(["rm", "-rf", "/tmp/served"])
    container.exec_run(["mkdir", "/tmp/served"])
    archive = ran.folder / "output" / "model.tar.gz"
    with tarfile.open(archive) as packed:
        packed.extractall(archive.parent / "served", filter="data")
    with tarfile.open(archive.parent / "served.tar", "w") as plain:
        plain.add(archive.parent / "served" / "1", "1")
    container.put_archive("/tmp/served", (archive.parent / "served.tar").read_bytes())
    said = container.exec_run(["python", "-c", PREDICT], environment={"TF_CPP_MIN_LOG_LEVEL": "2"})
    served: dict[str, Any] = json.loads(said.output.decode().splitlines()[-1])
    return served


@pytest.mark.parametrize("size", _sizes())
def test_a_job_learns_on_every_rank_and_its_artifact_says_what_the_trained_model_said(
    place: Shell, container: Container, size: Size
) -> None:
    ran = _train(place, size.job, *size.arguments)
    assert ran.code == 0, ran.out + ran.err

    metrics, ranks, served = _metrics(ran), _ranks(ran), _served(ran, container)
    assert [(rank["rank"], rank["size"], rank["local_rank"]) for rank in ranks] == size.places
    if size.job in ("horovod", "tf2_horovod", "tf2_smddp"):
        assert [rank["host"] for rank in ranks] == size.host_of_ranks
    assert len({rank["weights_sha256"] for rank in ranks}) == 1
    seen = [image for rank in ranks for image in rank["image_ids"]]
    step = BATCH * len(ranks)
    assert len(set(seen)) == len(seen) == IMAGES // step * step
    assert metrics.keys() == METRICS
    assert metrics["validation:accuracy"] >= size.accuracy
    assert served["accuracy"] == pytest.approx(metrics["validation:accuracy"], abs=1e-4)
    for rank in ranks:
        for image, probabilities in rank["probabilities"].items():
            np.testing.assert_allclose(served["probabilities"][image], probabilities, rtol=0, atol=1e-5)
    left = ran.packed("output.tar.gz")
    assert left["curves.svg"].startswith(b"<svg")
    assert any(name.startswith("tensorboard/events.out.tfevents") for name in left)
    if size.job == "tf2_smddp":
        _is_the_emulation_by_the_toolkits_own_runner(ran, size)


def _is_the_emulation_by_the_toolkits_own_runner(ran: Ran, size: Size) -> None:
    several = "-x SMDATAPARALLEL_USE_HOMOGENEOUS=1" in ran.log() and "SMDATAPARALLEL_SERVER_ADDR=algo-1" in ran.log()
    assert several == (size.hosts > 1)
    assert ("-x SMDATAPARALLEL_USE_SINGLENODE=1" in ran.log()) == (size.hosts == 1)
    assert " smddprun " in ran.log()
    assert ran.log().count("Homeport's emulation over Horovod, not AWS's library") == 1
    assert "HyperParameters" in {
        entry["field"]
        for entry in json.loads((ran.folder / "plan.json").read_text())["ledger"]
        if entry["kind"] == "emulated"
    }


@pytest.mark.nightly
def test_the_smddp_runner_starts_eight_ranks_of_the_emulation_on_one_host(place: Shell) -> None:
    source = place.folder / "source"
    source.mkdir()
    (source / "train.py").write_text(
        "import os, tensorflow as tf, smdistributed.dataparallel.tensorflow as sdp\n"
        "sdp.init()\n"
        "mean = float(sdp.oob_allreduce(tf.constant(float(sdp.rank()))))\n"
        "path = os.path.join(os.environ['SM_OUTPUT_DATA_DIR'], f'{sdp.rank()}')\n"
        "open(path, 'w').write(repr((sdp.size(), sdp.local_rank(), sdp.local_size(), mean)))\n"
    )
    job = place.folder / "eight.toml"
    job.write_text(
        f'name = "eight"\nimage = "{IMAGE}"\nentry_point = "train.py"\nsource_dir = "source"\n'
        'instance_type = "ml.p3.16xlarge"\n[distribution.smdistributed.dataparallel]\nenabled = true\n'
    )

    ran = place.train(job, "--virtual-gpus", "8")

    assert ran.code == 0, ran.out
    found = {int(name): content.decode() for name, content in ran.packed("output.tar.gz").items()}
    assert found == {rank: repr((8, rank, 8, 3.5)) for rank in range(8)}
    assert ran.log().count("Homeport's emulation over Horovod, not AWS's library") == 1


@pytest.mark.parametrize("job", ["horovod", pytest.param("tf2_smddp", marks=pytest.mark.nightly)])
def test_a_rank_killed_in_whichever_step_it_is_fails_the_job_by_its_name(
    place: Shell, client: DockerClient, job: str
) -> None:
    long = ("--set", f"image={IMAGE}", "--set", "hyperparameters.epochs=50")
    fails_by_name_when_killed(place, client, CIFAR10 / f"{job}.toml", *long)


@pytest.fixture
def bad(place: Shell, digits: Path, tmp_path: Path) -> Path:
    """The training split of the digits, to be spoilt."""
    copy = tmp_path / "bad"
    shutil.copytree(digits, copy)
    (tmp_path / "s3").mkdir()
    (place.folder / "homeport.toml").write_text(
        f'[local.file_systems.training-data]\nmount_name = "fsx"\npath = "{copy}"\n'
        '[local.buckets.bucket]\npath = "s3"\n'
    )
    return copy / "cifar10" / "train"


def _empty(train: Path) -> None:
    for file in train.glob("*.tfrecord"):
        file.unlink()


def _corrupt(train: Path) -> None:
    file = train / "train-00003-of-00016.tfrecord"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)


def _short(train: Path) -> None:
    (train / "train-00003-of-00016.tfrecord").unlink()


def _labelled_ten(train: Path) -> None:
    file = train / "train-00003-of-00016.tfrecord"
    file.write_bytes(tfrecords.record(tfrecords.example(image=bytes(3072), label=10, image_id=5)))


def _sound(train: Path) -> None:
    assert train.is_dir()


# tf2_horovod is tf2_smddp but for an import.
DISTINCT = ["tf2", "keras", "horovod", "tf2_smddp"]
# What is spoilt, how the job is called then, and what it says.
FAULTS: dict[str, tuple[Callable[[Path], None], list[str], str]] = {
    "an empty channel": (_empty, [], "there is no .tfrecord file in the channel /opt/ml/input/data/train"),
    "a corrupt record": (_corrupt, [], "train-00003-of-00016.tfrecord is corrupt after "),
    "a file too few": (_short, [], "/opt/ml/input/data/train holds 1122 images, and its split.json says 1197"),
    "a class out of range": (
        _labelled_ten,
        [],
        "image 5 of /opt/ml/input/data/train/train-00003-of-00016.tfrecord has the label 10: there are 10 classes",
    ),
    "too large a batch": (
        _sound,
        ["--set", "hyperparameters.batch-size=2000"],
        "1197 images are too few for one step: ",
    ),
    "a word for a number": (_sound, ["--set", "hyperparameters.epochs=many"], "argument --epochs: invalid "),
}


@pytest.mark.nightly
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("job", DISTINCT)
def test_bad_input_is_a_failure_reason_in_words(place: Shell, bad: Path, job: str, fault: str) -> None:
    spoil, arguments, words = FAULTS[fault]
    spoil(bad)

    ran = _train(place, job, *arguments)

    assert ran.code == 1
    assert words in ran.description["FailureReason"]


@pytest.mark.usefixtures("bad")
@pytest.mark.nightly
@pytest.mark.parametrize("job", DISTINCT)
def test_a_checkpoint_of_another_model_is_a_failure_reason_in_words(place: Shell, job: str) -> None:
    kept = ["--set", "checkpoint_s3_uri=s3://bucket/other", "--set", "hyperparameters.epochs=1"]
    first = _train(place, job, *kept, "--set", "hyperparameters.width=4")
    assert first.code == 0, first.out

    ran = _train(place, job, *kept, "--set", "hyperparameters.width=8")

    assert ran.code == 1
    assert "/opt/ml/checkpoints/epoch-1 is a checkpoint of another model" in ran.description["FailureReason"]
