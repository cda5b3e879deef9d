"""The Mask R-CNN jobs through the real SageMaker toolkits, with drawn shapes, on this machine's cores."""

from __future__ import annotations

import io
import itertools
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from docker import DockerClient
from docker.models.containers import Container

from tests.container.conftest import Ran, Shell
from tests.unit.test_prepare_coco import read_split
from tests.workloads.conftest import IMAGE, MASK_RCNN, fails_by_name_when_killed, place_of

IMAGES = {"train": 800, "validation": 100}

pytestmark = pytest.mark.timeout(1800)  # two minutes on two cores that do nothing else


def _train(place: Shell, job: str, *arguments: str) -> Ran:
    ran = place.train(MASK_RCNN / f"{job}.toml", "--set", f"image={IMAGE}", *arguments, timeout=1800)
    assert ran.code == 0, ran.out + ran.err
    return ran


def _metrics(ran: Ran) -> dict[str, float]:
    """The last value of each, as the job's own regular expressions found them."""
    return {entry["MetricName"]: entry["Value"] for entry in ran.description["FinalMetricDataList"]}


def _ranks(ran: Ran) -> list[dict[str, Any]]:
    packed = ran.packed("output.tar.gz")
    return sorted((json.loads(packed[name]) for name in packed if name.startswith("ranks/")), key=lambda r: r["rank"])


def _assert_ranks_agree(ran: Ran, *, hosts: int, processes: int, batch: int, mpi: bool = True) -> None:
    """Each is where it belongs, all have the same weights, and they saw every image of an epoch's batches once."""
    reports = _ranks(ran)
    size = hosts * processes
    seen = list(itertools.chain.from_iterable(report["image_ids"] for report in reports))
    told = [(each["rank"], each["size"], each["local_rank"]) for each in reports]
    assert told == [(rank, size, rank % processes) for rank in range(size)]
    if mpi:  # whose ranks have their host's name, and others the instance's
        assert [each["host"] for each in reports] == [f"algo-{rank // processes + 1}" for rank in range(size)]
    assert len({each["weights_sha256"] for each in reports}) == 1
    assert len(set(seen)) == len(seen) == IMAGES["train"] // batch * batch
    assert set(seen) <= set(range(1, IMAGES["train"] + 1))


def _assert_is_served_as_it_was_trained(ran: Ran, container: Container, shapes: Path) -> None:
    """The artifact, loaded where no script of ours has trained, finds in three images what the training found."""
    trained = json.loads(ran.packed("output.tar.gz")["detections.json"])
    chosen = read_split(shapes / "mask_rcnn" / "validation")[:3]
    files = {f"served/{example['image/source_id'][0].decode()}": example["image/encoded"][0] for example in chosen}
    files |= {f"served/model/{name}": content for name, content in ran.packed().items()}
    container.exec_run(["rm", "-rf", "/tmp/served"])
    container.put_archive("/tmp", _tar(files))
    images = [f"/tmp/served/{int(example['image/source_id'][0])}" for example in chosen]
    predict = ["python", "predict.py", "/tmp/served/model/1", *images]
    environment = {"TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONWARNINGS": "ignore"}
    said = container.exec_run(predict, workdir="/entrypoints/mask_rcnn", environment=environment, demux=True)
    assert said.exit_code == 0, said.output[1].decode()
    for line in said.output[0].decode().splitlines():
        served = json.loads(line)
        expected = [each for each in trained if each["image_id"] == int(Path(served["image"]).name)]
        assert len(served["objects"]) == len(expected) > 0
        for mine, theirs in zip(served["objects"], expected, strict=True):
            assert mine["category_id"] == theirs["category_id"]
            assert mine["score"] == pytest.approx(theirs["score"], abs=1e-4)
            np.testing.assert_allclose(mine["bbox"], theirs["bbox"], atol=0.05)


def _tar(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as packed:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def _assert_has_learned(ran: Ran) -> None:
    metrics, left = _metrics(ran), ran.packed("output.tar.gz")
    assert left["curves.svg"].startswith(b"<svg")
    assert any(name.startswith("tensorboard/events.out.tfevents") for name in left)
    assert metrics["mAP(bbox)/IoU=0.5"] >= 0.5
    assert metrics["mAP(segm)/IoU=0.5:0.95"] > 0.3


def test_the_smddp_job_learns_the_shapes_by_the_toolkits_own_runner(
    place_of_shapes: Shell, container: Container, shapes: Path
) -> None:
    ran = _train(place_of_shapes, "smddp")

    assert " smddprun " in ran.log()
    assert _metrics(ran).keys() == {each["Name"] for each in _definitions(ran)}
    _assert_has_learned(ran)
    _assert_ranks_agree(ran, hosts=1, processes=2, batch=8)
    _assert_is_served_as_it_was_trained(ran, container, shapes)


@pytest.mark.nightly
@pytest.mark.parametrize(("job", "size"), [("mask_rcnn", 1), ("smddp", 1), ("horovod", 2)])
def test_every_other_job_learns_the_shapes(
    place_of_shapes: Shell, container: Container, shapes: Path, job: str, size: int
) -> None:
    ran = _train(place_of_shapes, job, "--virtual-gpus", str(size))

    _assert_has_learned(ran)
    _assert_ranks_agree(ran, hosts=1, processes=size, batch=4 * size, mpi=job != "mask_rcnn")
    _assert_is_served_as_it_was_trained(ran, container, shapes)


@pytest.mark.nightly
@pytest.mark.parametrize("job", ["smddp", "horovod"])
def test_two_hosts_of_two_processes_are_four_ranks_with_the_same_weights(place_of_shapes: Shell, job: str) -> None:
    hosts = ["--instance-count", "2", "--virtual-gpus", "2"]
    ran = _train(place_of_shapes, job, *hosts, "--set", "hyperparameters.epochs=1")

    _assert_ranks_agree(ran, hosts=2, processes=2, batch=16)
    found = json.loads(ran.packed("output.tar.gz")["detections.json"])
    assert {each["image_id"] for each in found} <= set(range(801, 901))


@pytest.mark.nightly
@pytest.mark.parametrize("job", ["smddp", "horovod"])
def test_a_rank_killed_in_whichever_step_it_is_fails_the_job_by_its_name(
    place_of_shapes: Shell, client: DockerClient, job: str
) -> None:
    fails_by_name_when_killed(
        place_of_shapes, client, MASK_RCNN / f"{job}.toml", *_settings("hyperparameters.checkpoint-steps=1")
    )


def test_an_object_of_an_unknown_class_is_a_failure_reason_in_words(place_of_shapes: Shell) -> None:
    """Classes 1 and 2 alone: a triangle, of class 3, is more than such a model knows."""
    ran = place_of_shapes.train(MASK_RCNN / "mask_rcnn.toml", *_settings("hyperparameters.classes=3"))

    assert ran.code == 1
    assert "has an object of class 3: they go from 1 to 2" in ran.description["FailureReason"]


@pytest.mark.nightly
def test_an_empty_channel_is_a_failure_reason_in_words(container: Container, tmp_path: Path) -> None:
    for split in IMAGES:
        (tmp_path / "fsx" / "mask_rcnn" / split).mkdir(parents=True)
    (tmp_path / "jobs").mkdir()
    place = place_of(container, tmp_path / "jobs", tmp_path / "fsx")

    ran = place.train(MASK_RCNN / "smddp.toml", *_settings())

    assert ran.code == 1
    assert "there is no .tfrecord file in the channel /opt/ml/input/data/train" in ran.description["FailureReason"]


def _settings(*settings: str) -> list[str]:
    return [word for setting in (f"image={IMAGE}", *settings) for word in ("--set", setting)]


def _definitions(ran: Ran) -> list[dict[str, str]]:
    request = json.loads((ran.folder / "request.json").read_text())
    found: list[dict[str, str]] = request["AlgorithmSpecification"]["MetricDefinitions"]
    return found
