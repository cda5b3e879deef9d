"""Each script, on one rank and on two with the same global batch, is the same training: so collectives and sharing are
right; and one that was killed goes on as if it had not been.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import numpy as np
import pytest
from docker.models.containers import Container

from tests.workloads.conftest import Train, Trained

# Without dropout and batch normalisation, a step depends on its images alone. At this rate the differences of the last
# bit do not grow; at 0.01 they are 1e-3 after 40 steps. Without the all-reduce the losses part by more from step 2 on.
SAME = {"epochs": 1, "width": 8, "dropout": 0, "batch_norm": "false", "scaling": "none", "learning_rate": 0.005}
IMAGES = 1197
BATCH = 28
STEPS = IMAGES // BATCH
WAYS: dict[str, dict[str, object]] = {
    "keras": {"script": "train_keras.py", "ranks": 1},
    "horovod": {"script": "train_horovod.py", "ranks": 2},
    "tf2": {"script": "train_tf2.py", "ranks": 1},
    "tf2_horovod": {"script": "train_tf2_horovod.py", "ranks": 2},
    "tf2_smddp": {"script": "train_tf2_smddp.py", "ranks": 2, "launcher": "smddprun"},
}
Way = Callable[[str], Trained]


@pytest.fixture(scope="module")
def trained(train: Train) -> Way:
    """One epoch of a script, on the ranks that it is for."""
    done: dict[str, Trained] = {}

    def once(name: str) -> Trained:
        if name not in done:
            way = WAYS[name]
            done[name] = train(**way, batch_size=BATCH // int(str(way["ranks"])), **SAME)
        assert done[name].code == 0, done[name].log
        return done[name]

    return once


@pytest.fixture
def alone(trained: Way) -> Trained:
    """The loop for one rank, which has nothing of any library in it."""
    return trained("tf2")


@pytest.fixture(
    params=[
        "tf2_smddp",
        "horovod",
        pytest.param("tf2_horovod", marks=pytest.mark.nightly),
        pytest.param("keras", marks=pytest.mark.nightly),
    ]
)
def other(request: pytest.FixtureRequest, trained: Way) -> Trained:
    """Every other script."""
    return trained(request.param)


def test_every_script_has_the_losses_of_the_loop_for_one_rank(alone: Trained, other: Trained) -> None:
    assert len(alone.losses) == len(other.losses) == STEPS
    np.testing.assert_allclose(other.losses[:20], alone.losses[:20], rtol=0, atol=1e-4)


def test_all_ranks_end_with_the_same_weights(other: Trained) -> None:
    ranks = len(other.ranks)

    assert [(report["rank"], report["size"], report["local_rank"]) for report in other.ranks] == [
        (rank, ranks, rank) for rank in range(ranks)
    ]
    assert len({report["weights_sha256"] for report in other.ranks}) == 1


def test_an_epoch_sees_each_image_once_and_on_one_rank(alone: Trained, other: Trained) -> None:
    seen = list(itertools.chain.from_iterable(report["image_ids"] for report in other.ranks))

    assert len(set(seen)) == len(seen) == STEPS * BATCH
    assert sorted(seen) == alone.ranks[0]["image_ids"]


def test_every_script_validates_as_the_loop_for_one_rank_does(alone: Trained, other: Trained) -> None:
    (one_epoch,), (same_epoch,) = alone.epochs, other.epochs

    assert float(same_epoch["val_accuracy"]) == pytest.approx(float(one_epoch["val_accuracy"]), abs=0.01)
    assert float(same_epoch["train_loss"]) == pytest.approx(float(one_epoch["train_loss"]), abs=1e-3)


def test_a_training_leaves_tensorboards_files_and_a_plot(other: Trained) -> None:
    assert any(name.startswith("tensorboard/events.out.tfevents") for name in other.files)
    assert other.files["curves.svg"].startswith(b"<svg")


@pytest.mark.nightly
@pytest.mark.parametrize("name", WAYS)
def test_a_training_killed_at_a_random_step_and_resumed_goes_on_as_if_it_had_not_stopped(
    train: Train, name: str
) -> None:
    job = {**WAYS[name], "epochs": 8, "batch_size": 14, "width": 8, "dropout": 0, "warmup_epochs": 3}
    last = random.randint(1, 5)  # whose checkpoint is written when the last rank is killed, in whichever step it is
    whole = train(**job)

    killed = train(**job, folder=f"resumed-{name}", kill_at=f"epoch-{last}.index")
    resumed = train(**job, folder=f"resumed-{name}")

    assert killed.code != 0, f"killed after epoch {last}: {killed.log}"
    assert whole.code == resumed.code == 0, resumed.log
    assert "resumed from " in resumed.log
    assert 0 < len(resumed.steps) < len(whole.steps)
    np.testing.assert_allclose(resumed.steps, whole.steps[-len(resumed.steps) :], rtol=0, atol=1e-5)


@pytest.mark.nightly
def test_a_checkpoint_without_its_second_file_is_none(train: Train, container: Container) -> None:
    job = {"script": "train_tf2.py", "folder": "torn", "width": 4, "batch_size": 64}
    done = train(**job, epochs=2)
    torn = container.exec_run(["rm", f"{done.folder}/checkpoints/epoch-2.data-00000-of-00001"])
    assert torn.exit_code == 0

    resumed = train(**job, epochs=3)

    assert resumed.code == 0, resumed.log
    assert "epoch-1, 1 epoch(s) done" in resumed.log
    assert [row["epoch"] for row in resumed.epochs] == ["2", "3"]


@pytest.mark.nightly
def test_what_is_corrupt_is_named_and_counted_where_the_job_says_to_leave_it_out(
    train: Train, container: Container
) -> None:
    spoil = (
        "import pathlib, shutil; shutil.copytree('/data/cifar10/train', '/tmp/bad'); "
        "file = pathlib.Path('/tmp/bad/train-00003-of-00016.tfrecord'); content = bytearray(file.read_bytes()); "
        "content[len(content) // 2] ^= 0xFF; file.write_bytes(content)"
    )
    container.exec_run(["python", "-c", spoil])

    skipped = train("train_tf2.py", train="/tmp/bad", epochs=1, width=4, batch_size=64, skip_corrupt="true")

    assert skipped.code == 0, skipped.log
    assert "skipped: /tmp/bad/train-00003-of-00016.tfrecord is corrupt after " in skipped.log
    left_out = int(skipped.log.partition(f" of the {IMAGES} images of /tmp/bad")[0].rpartition(" ")[2])
    assert 0 < left_out < 75  # what a file holds


@pytest.mark.nightly
def test_one_file_is_enough_for_all_ranks(train: Train, container: Container) -> None:
    """A TFRecord file and another one make one; the ranks share images, not files."""
    join = "mkdir /tmp/one && cat /data/cifar10/train/*.tfrecord > /tmp/one/all.tfrecord"
    container.exec_run(["bash", "-c", join])

    ran = train("train_tf2_horovod.py", ranks=2, train="/tmp/one", epochs=1, width=4, batch_size=14)

    seen = [image for report in ran.ranks for image in report["image_ids"]]
    assert ran.code == 0, ran.log
    assert len(set(seen)) == len(seen) == STEPS * BATCH
