"""One rank and two with the same global batch are the same training: so the collectives, and the sharing, are right."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from docker.models.containers import Container

from tests.workloads.conftest import Train, Trained

# Without dropout and batch normalisation, a step depends on its images alone. At this rate the differences of the last
# bit do not grow; at 0.01 they are 1e-3 after 40 steps. Without the all-reduce the losses part by more from step 2 on.
SAME = {"epochs": 1, "width": 8, "dropout": 0, "batch_norm": "false", "scaling": "none", "learning_rate": 0.005}
BATCH = 28
STEPS = 1197 // BATCH


@pytest.fixture(scope="module")
def alone(train: Train) -> Trained:
    return train("train_tf2.py", batch_size=BATCH, **SAME)


@pytest.fixture(scope="module")
def horovod(train: Train) -> Trained:
    return train("train_tf2_horovod.py", ranks=2, batch_size=BATCH // 2, **SAME)


@pytest.fixture(scope="module")
def smddp(train: Train) -> Trained:
    return train("train_tf2_smddp.py", ranks=2, launcher="smddprun", batch_size=BATCH // 2, **SAME)


@pytest.fixture(params=["horovod", "smddp"])
def two(request: pytest.FixtureRequest) -> Trained:
    """Two ranks, by each library."""
    trained: Trained = request.getfixturevalue(request.param)
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


def test_two_ranks_validate_as_one_does(alone: Trained, two: Trained) -> None:
    (one_epoch,), (same_epoch,) = alone.epochs, two.epochs

    assert float(same_epoch["val_loss"]) == pytest.approx(float(one_epoch["val_loss"]), abs=1e-3)
    assert float(same_epoch["val_accuracy"]) == pytest.approx(float(one_epoch["val_accuracy"]), abs=0.01)


def test_a_training_leaves_tensorboards_files_and_a_plot(two: Trained) -> None:
    assert any(name.startswith("tensorboard/events.out.tfevents") for name in two.files)
    assert two.files["curves.svg"].startswith(b"<svg")


@pytest.mark.nightly
def test_a_resumed_training_goes_on_as_if_it_had_not_stopped(train: Train) -> None:
    job = {"ranks": 2, "batch_size": 14, "width": 8, "dropout": 0, "scaling": "linear", "warmup_epochs": 3}
    whole = train("train_tf2_horovod.py", epochs=12, **job)

    train("train_tf2_horovod.py", folder="resumed", kill_at="epoch-2.index", epochs=12, **job)
    resumed = train("train_tf2_horovod.py", folder="resumed", epochs=12, **job)

    assert whole.code == resumed.code == 0, resumed.log
    assert "resumed from " in resumed.log
    assert 0 < len(resumed.steps) < len(whole.steps)
    np.testing.assert_allclose(resumed.steps, whole.steps[-len(resumed.steps) :], rtol=0, atol=1e-5)


@pytest.mark.nightly
def test_what_is_corrupt_is_named_and_left_out_where_the_job_says_so(train: Train, container: Container) -> None:
    spoil = (
        "import pathlib, shutil; shutil.copytree('/data/cifar10/train', '/tmp/bad'); "
        "file = pathlib.Path('/tmp/bad/train-00003-of-00016.tfrecord'); content = bytearray(file.read_bytes()); "
        "content[len(content) // 2] ^= 0xFF; file.write_bytes(content)"
    )
    container.exec_run(["python", "-c", spoil])
    job = {"train": "/tmp/bad", "epochs": 1, "width": 4, "batch_size": 64}

    refused, skipped = (train("train_tf2.py", skip_corrupt=skip, **job) for skip in ("false", "true"))

    named = "train-00003-of-00016.tfrecord is corrupt after"
    assert refused.code != 0
    assert named in refused.log
    assert skipped.code == 0, skipped.log
    assert f"skipped: /tmp/bad/{named}" in skipped.log


@pytest.mark.nightly
def test_a_checkpoint_of_another_model_is_refused_in_words(train: Train) -> None:
    train("train_tf2.py", folder="other", epochs=1, width=4, batch_size=64)

    refused = train("train_tf2.py", folder="other", epochs=2, width=8, batch_size=64)

    assert refused.code != 0
    assert "is a checkpoint of another model" in refused.log
