"""The Pets jobs through the real SageMaker toolkit for PyTorch, with the drawn pets, on this machine's cores."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from docker import DockerClient
from docker.models.containers import Container

from tests.container.conftest import Ran, Shell
from tests.workloads.conftest import PETS, fails_by_name_when_killed

METRICS = {"Train_Time", "Train_Speed", "Train_Loss", "Train_Prec@1", "Test_Loss", "Test_Prec@1", "Test_Prec@5"}
# Loaded without any of our code, as a server would.
SERVE = """
import json, numpy as np, torch
from PIL import Image
folder = "/data/pets/validation"
model, entries = torch.jit.load("/tmp/served/model.pt"), json.load(open(f"{folder}/split.json"))["images"]
def best(entry):
    image = torch.from_numpy(np.array(Image.open(f"{folder}/{entry['file']}")))
    return int(model(image[None]).argmax())
print("accuracy", 100 * sum(best(entry) == entry["label"] for entry in entries) / len(entries))
"""
# The launcher's own words in a host's log.
LAUNCHED = {"ddp": "torchrun --nnodes 1 --nproc_per_node 2", "smddp": " smddprun ", "horovod": "mpirun "}


def _train(place: Shell, job: Path, *arguments: str) -> Ran:
    ran = place.train(job, *arguments)
    assert ran.code == 0, ran.out + ran.err
    return ran


def _metrics(ran: Ran) -> dict[str, float]:
    """The last value of each, as the job's own regular expressions found them."""
    return {entry["MetricName"]: entry["Value"] for entry in ran.description["FinalMetricDataList"]}


def _ranks(ran: Ran) -> list[dict[str, Any]]:
    packed = ran.packed("output.tar.gz")
    return sorted((json.loads(packed[name]) for name in packed if name.startswith("ranks/")), key=lambda r: r["rank"])


def _served(ran: Ran, container: Container) -> float:
    """The accuracy of the artifact in percent, loaded anew."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for name, content in ran.packed().items():
            entry = tarfile.TarInfo(f"served/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    container.put_archive("/tmp", plain.getvalue())
    said = container.exec_run(["python", "-c", SERVE], workdir="/tmp")
    return float(said.output.decode().rpartition("accuracy")[2])


def _learned(ran: Ran, container: Container, ranks: int) -> None:
    metrics, reports = _metrics(ran), _ranks(ran)
    assert metrics.keys() == METRICS
    assert metrics["Test_Prec@1"] >= 90
    assert [(report["rank"], report["size"], report["local_rank"]) for report in reports] == [
        (rank, ranks, rank) for rank in range(ranks)
    ]
    assert len({report["weights_sha256"] for report in reports}) == 1
    assert set(ran.packed()) == {"model.pt", "model.onnx", "classes.txt"}
    assert _served(ran, container) == pytest.approx(metrics["Test_Prec@1"], abs=1e-3)


def test_the_ddp_job_learns_the_drawn_breeds_by_the_toolkits_torchrun(pets_place: Shell, pytorch: Container) -> None:
    ran = _train(pets_place, PETS / "ddp.toml", "--virtual-gpus", "2")

    assert LAUNCHED["ddp"] in ran.log()
    _learned(ran, pytorch, ranks=2)


@pytest.mark.nightly
@pytest.mark.parametrize("way", ["smddp", "horovod"])
def test_the_other_ways_learn_them_too(pets_place: Shell, pytorch: Container, way: str) -> None:
    ran = _train(pets_place, PETS / f"{way}.toml", "--virtual-gpus", "2")

    assert LAUNCHED[way] in ran.log()
    assert ran.log().count("Homeport's emulation over gloo, not AWS's library") == (way == "smddp")
    _learned(ran, pytorch, ranks=2)


@pytest.mark.nightly
@pytest.mark.parametrize("way", ["one", "smddp", "horovod"])
def test_one_process_learns_them_too(pets_place: Shell, pytorch: Container, way: str) -> None:
    _learned(_train(pets_place, PETS / f"{way}.toml", "--virtual-gpus", "1"), pytorch, ranks=1)


@pytest.mark.nightly
def test_pytorchddp_is_two_ranks_by_smddps_runner(pets_place: Shell, pytorch: Container) -> None:
    job = pets_place.folder / "pytorchddp.toml"
    job.write_text(
        f'extends = "{PETS / "one.toml"}"\nentry_point = "pets/train_ddp.py"\ninstance_type = "ml.p3.16xlarge"\n'
        "[distribution.pytorchddp]\nenabled = true\n"
    )

    ran = _train(pets_place, job, "--virtual-gpus", "2")

    assert "Invoking SMDataParallel for native PT DDP job" in ran.log()
    _learned(ran, pytorch, ranks=2)


@pytest.mark.nightly
@pytest.mark.parametrize("way", ["ddp", "smddp", "horovod"])
def test_two_hosts_of_two_processes_are_four_ranks_with_the_same_weights(pets_place: Shell, way: str) -> None:
    few = ("--set", "hyperparameters.epochs=1", "--set", "hyperparameters.batch-size=8")
    ran = _train(pets_place, PETS / f"{way}.toml", "--instance-count", "2", "--virtual-gpus", "2", *few)

    ranks = _ranks(ran)
    seen = [image for rank in ranks for image in rank["image_ids"]]
    assert [(rank["rank"], rank["size"], rank["local_rank"]) for rank in ranks] == [
        (0, 4, 0),
        (1, 4, 1),
        (2, 4, 0),
        (3, 4, 1),
    ]
    assert len({rank["host"] for rank in ranks}) == 2
    assert len({rank["weights_sha256"] for rank in ranks}) == 1
    assert len(set(seen)) == len(seen) == 1184 // 32 * 32


@pytest.mark.nightly
@pytest.mark.parametrize("way", ["ddp", "smddp", "horovod"])
def test_a_rank_killed_in_whichever_step_it_is_fails_the_job_by_its_name(
    pets_place: Shell, client: DockerClient, way: str
) -> None:
    fails_by_name_when_killed(pets_place, client, PETS / f"{way}.toml", "--set", "hyperparameters.epochs=50")


@pytest.fixture
def bad(pets_place: Shell, sample: Path, tmp_path: Path) -> Path:
    """The drawn pets, to be spoilt."""
    copy = tmp_path / "bad"
    shutil.copytree(sample, copy)
    (pets_place.folder / "homeport.toml").write_text(
        f'[local.file_systems.training-data]\nmount_name = "fsx"\npath = "{copy}"\n'
    )
    return copy / "pets" / "train"


def _first(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The listing of a split, and its first entry."""
    listing = json.loads((folder / "split.json").read_text())
    return listing, listing["images"][0]


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ("no listing", "there is no split.json in the channel /opt/ml/input/data/train"),
        ("empty channel", "/opt/ml/input/data/train holds no image"),
        ("corrupt image", "1 of 1184 images can't be decoded: /opt/ml/input/data/train/plain_00/"),
        ("class out of range", "has the label 37: there are 37 classes"),
        ("too large a batch", "1184 images are too few for one step: 2 rank(s) of batch-size 2000 take 4000"),
    ],
)
def test_bad_input_is_a_failure_reason_in_words(pets_place: Shell, bad: Path, spoil: str, words: str) -> None:
    listing, entry = _first(bad)
    if spoil == "no listing":
        (bad / "split.json").unlink()
    if spoil == "corrupt image":
        content = (bad / entry["file"]).read_bytes()
        (bad / entry["file"]).write_bytes(content[: len(content) // 2])
    if spoil in ("empty channel", "class out of range"):
        entry["label"] = 37
        listing["images"] = [] if spoil == "empty channel" else listing["images"]
        (bad / "split.json").write_text(json.dumps(listing))
    batch = 2000 if spoil == "too large a batch" else 16

    job = ("--virtual-gpus", "2", "--set", f"hyperparameters.batch-size={batch}")
    ran = pets_place.train(PETS / "ddp.toml", *job)

    assert ran.code == 1
    assert words in ran.description["FailureReason"]


@pytest.mark.nightly
def test_what_is_corrupt_is_named_counted_and_left_out_where_the_job_says_so(pets_place: Shell, bad: Path) -> None:
    _, entry = _first(bad)
    (bad / entry["file"]).write_bytes(b"no image")

    few = ("--set", "hyperparameters.epochs=1", "--set", "hyperparameters.skip-corrupt=true")
    ran = _train(pets_place, PETS / "ddp.toml", "--virtual-gpus", "2", *few)

    assert ran.log().count("skipped: 1 of 1184 images can't be decoded: /opt/ml/input/data/train/plain_00/") == 1
    assert entry["id"] not in [image for rank in _ranks(ran) for image in rank["image_ids"]]


@pytest.mark.nightly
def test_compare_runs_the_ways_one_after_the_other_and_prints_a_table(pets_place: Shell) -> None:
    few = ("--virtual-gpus", "2", "--set", "hyperparameters.epochs=1")
    command = [sys.executable, PETS / "compare.py", PETS / "compare.toml", *few]
    done = subprocess.run(command, cwd=pets_place.folder, capture_output=True, text=True, check=False)

    head, *rows = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert head.split() == ["way", "status", "hosts", "seconds", "accuracy", "%", "loss", "images/s"]
    assert [row.split()[:3] for row in rows] == [[way, "Completed", "1"] for way in ("ddp", "smddp", "horovod")]
