"""One rank and two with the same global batch are the same training of the Pets network, by each library."""

from __future__ import annotations

import io
import itertools
import tarfile
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from docker.models.containers import Container

from tests.workloads.conftest import Train, Trained

SAME = {"model": "small", "size": 32, "epochs": 1, "optimizer": "sgd", "scaling": "none", "learning_rate": 0.005}
BATCH = 32
STEPS = 1184 // BATCH
WAYS = {
    "ddp": ("train_ddp.py", "torchrun"),
    "smddp": ("train_smddp.py", "smddprun"),
    "horovod": ("train_horovod.py", ""),
}
# The trained network as its last checkpoint has it, beside what was exported, on images of other sizes than it saw.
PREDICT = """
import sys, types
import numpy as np, torch
from model import Served, build_model
folder = sys.argv[1]
model = build_model(types.SimpleNamespace(model="small", weights=""), 37)
model.load_state_dict(torch.load(f"{folder}/checkpoints/epoch-001.pt")["model"])
images = np.random.default_rng(0).integers(0, 256, (3, 71, 130, 3), dtype=np.uint8)
with torch.no_grad():
    trained = Served(model, 32).eval()(torch.from_numpy(images)).numpy()
    exported = torch.jit.load(f"{folder}/model/model.pt")(torch.from_numpy(images)).numpy()
np.savez(f"{folder}/model/predicted.npz", images=images, trained=trained, exported=exported)
"""


@pytest.fixture(scope="module")
def alone(train_pets: Train) -> Trained:
    return train_pets("train_ddp.py", batch_size=BATCH, **SAME)


@pytest.fixture(scope="module", params=WAYS)
def two(request: pytest.FixtureRequest, train_pets: Train) -> Trained:
    """Two ranks, by each library."""
    script, launcher = WAYS[request.param]
    trained = train_pets(script, ranks=2, launcher=launcher, batch_size=BATCH // 2, **SAME)
    assert trained.code == 0, trained.log
    return trained


def test_one_rank_and_two_have_the_same_losses(alone: Trained, two: Trained) -> None:
    assert alone.code == 0, alone.log
    assert len(alone.losses) == len(two.losses) == STEPS
    np.testing.assert_allclose(two.losses[:20], alone.losses[:20], rtol=0, atol=1e-4)


def test_two_ranks_end_with_the_same_weights(two: Trained) -> None:
    assert [(report["rank"], report["size"], report["local_rank"]) for report in two.ranks] == [(0, 2, 0), (1, 2, 1)]
    assert len({report["weights_sha256"] for report in two.ranks}) == 1


def test_an_epoch_sees_each_image_once_and_on_one_rank(alone: Trained, two: Trained) -> None:
    seen = list(itertools.chain.from_iterable(report["image_ids"] for report in two.ranks))

    assert len(set(seen)) == len(seen) == STEPS * BATCH
    assert sorted(seen) == alone.ranks[0]["image_ids"]


def test_two_ranks_validate_every_image_as_one_does(alone: Trained, two: Trained) -> None:
    (one_epoch,), (same_epoch,) = alone.epochs, two.epochs

    assert float(same_epoch["val_loss"]) == pytest.approx(float(one_epoch["val_loss"]), abs=1e-3)
    assert float(same_epoch["val_accuracy"]) == pytest.approx(float(one_epoch["val_accuracy"]), abs=0.01)


def test_a_training_leaves_tensorboards_files_and_a_plot(two: Trained) -> None:
    assert any(name.startswith("tensorboard/events.out.tfevents") for name in two.files)
    assert two.files["curves.svg"].startswith(b"<svg")


def test_what_is_exported_predicts_as_the_trained_network_on_images_of_any_size(
    alone: Trained, pytorch: Container, tmp_path: Path
) -> None:
    said = pytorch.exec_run(["python", "-c", PREDICT, alone.folder], workdir="/entrypoints/pets")
    assert said.exit_code == 0, said.output.decode()
    chunks, _ = pytorch.get_archive(f"{alone.folder}/model")
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
        archive.extractall(tmp_path, filter="data")

    predicted = np.load(tmp_path / "model" / "predicted.npz")
    session = onnxruntime.InferenceSession(tmp_path / "model" / "model.onnx")
    (by_onnx,) = session.run(None, {"images": predicted["images"]})

    assert predicted["trained"].shape == (3, 37)
    np.testing.assert_allclose(predicted["exported"], predicted["trained"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(by_onnx, predicted["trained"], rtol=0, atol=1e-4)
    assert len((tmp_path / "model" / "classes.txt").read_text().splitlines()) == 37


@pytest.mark.nightly
@pytest.mark.parametrize("way", WAYS)
def test_a_resumed_training_goes_on_as_if_it_had_not_stopped(train_pets: Train, way: str) -> None:
    script, launcher = WAYS[way]
    job = {**SAME, "epochs": 5, "batch_size": 16, "scaling": "linear", "optimizer": "adam", "learning_rate": 0.001}
    whole = train_pets(script, ranks=2, launcher=launcher, **job)

    killed = train_pets(script, ranks=2, launcher=launcher, folder=f"resumed-{way}", kill_at="epoch-002.pt", **job)
    resumed = train_pets(script, ranks=2, launcher=launcher, folder=f"resumed-{way}", **job)

    assert killed.code != 0
    assert whole.code == resumed.code == 0, resumed.log
    assert "resumed from " in resumed.log
    assert 0 < len(resumed.steps) < len(whole.steps)
    np.testing.assert_allclose(resumed.steps, whole.steps[-len(resumed.steps) :], rtol=0, atol=1e-5)


@pytest.mark.nightly
def test_a_checkpoint_of_another_model_is_refused_in_words(train_pets: Train) -> None:
    job = SAME | {"batch_size": 64}
    train_pets("train_ddp.py", folder="other", **job)

    refused = train_pets("train_ddp.py", folder="other", **(job | {"epochs": 2, "model": "resnet18"}))

    assert refused.code != 0
    assert "epoch-001.pt is a checkpoint of another model" in refused.log


@pytest.mark.nightly
def test_images_are_read_by_processes_of_their_own_with_the_same_result(train_pets: Train, alone: Trained) -> None:
    trained = train_pets("train_smddp.py", ranks=2, launcher="smddprun", batch_size=BATCH // 2, workers=2, **SAME)

    assert trained.code == 0, trained.log
    np.testing.assert_allclose(trained.losses[:20], alone.losses[:20], rtol=0, atol=1e-4)


@pytest.mark.nightly
def test_a_torchvision_network_begins_with_the_weights_of_a_file(train_pets: Train, pytorch: Container) -> None:
    make = (
        "import hashlib, os, torch, torchvision; torch.manual_seed(0); os.makedirs('/tmp/weights', exist_ok=True); "
        "torch.save(torchvision.models.resnet18().state_dict(), '/tmp/weights/x.pth'); "
        "digest = hashlib.sha256(open('/tmp/weights/x.pth', 'rb').read()).hexdigest()[:8]; "
        "os.rename('/tmp/weights/x.pth', f'/tmp/weights/resnet18-{digest}.pth'); print(f'resnet18-{digest}.pth')"
    )
    name = pytorch.exec_run(["python", "-c", make], workdir="/entrypoints/pets").output.decode().split()[-1]
    job = SAME | {"model": "resnet18", "batch_size": 64, "weights_dir": "/tmp/weights"}

    ranks = train_pets("train_ddp.py", ranks=2, launcher="torchrun", weights=name, **job)
    another = train_pets("train_ddp.py", weights=name, **(job | {"model": "resnet50"}))
    missing = train_pets("train_ddp.py", weights="no.pth", **job)

    assert ranks.code == 0, ranks.log
    assert len({report["weights_sha256"] for report in ranks.ranks}) == 1
    assert f"{name} holds the weights of another network than resnet50" in another.log
    assert "there are no weights /tmp/weights/no.pth" in missing.log
