"""One rank and two with the same global batch are the same Mask R-CNN; a checkpoint goes on as if there was no end."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from docker.models.containers import Container

from tests.workloads.conftest import Train, Trained

SMALL = {
    "classes": 4, "image_size": 128, "resnet": 10, "resnet_width": 0.25, "min_level": 3, "max_level": 5, "filters": 32,
    "box_units": 64, "mask_convolutions": 1, "anchor_size": 4, "aspect_ratios": 1, "proposals": 16, "max_objects": 4,
    "rois": 20, "masks": 8, "drop_epochs": "", "gradient_clip": 10, "flip": "false", "weight_decay": 0,
    "eval_batch_size": 25,
}  # fmt: skip
# What would make a step depend on more than its images: batch normalisation, which is frozen, and sampling, of anchors
# and of regions of interest, of which all are taken here: 336 anchors; 16 proposals and 4 objects.
SAME = SMALL | {
    "epochs": 1, "batch_norm": "freeze", "anchors_per_image": 1024, "foreground": 1.0, "scaling": "none",
    "learning_rate": 0.002, "warmup_steps": 10,
}  # fmt: skip
BATCH = 40

pytestmark = pytest.mark.timeout(1800)
STEPS = 800 // BATCH


@pytest.fixture(scope="module")
def alone(train_mask_rcnn: Train) -> Trained:
    return train_mask_rcnn("train_horovod.py", batch_size=BATCH, **SAME)


@pytest.mark.nightly
@pytest.mark.parametrize(("script", "launcher"), [("train_horovod.py", ""), ("train_smddp.py", "smddprun")])
def test_one_rank_and_two_have_the_same_losses_and_saw_the_same_images(
    train_mask_rcnn: Train, alone: Trained, script: str, launcher: str
) -> None:
    two = train_mask_rcnn(script, ranks=2, launcher=launcher, batch_size=BATCH // 2, **SAME)

    assert alone.code == two.code == 0, alone.log + two.log
    assert len(alone.losses) == len(two.losses) == STEPS
    np.testing.assert_allclose(two.losses, alone.losses, rtol=0, atol=1e-4)
    seen = list(itertools.chain.from_iterable(report["image_ids"] for report in two.ranks))
    assert sorted(seen) == alone.ranks[0]["image_ids"] == list(range(1, 801))
    assert len({report["weights_sha256"] for report in two.ranks}) == 1


@pytest.mark.nightly
def test_a_resumed_training_goes_on_with_its_step_and_its_rate(train_mask_rcnn: Train) -> None:
    job = SAME | {
        "ranks": 2,
        "batch_size": 10,
        "checkpoint_steps": 15,
        "epochs": 2,
        "scaling": "linear",
        "drop_epochs": "1",
    }
    whole = train_mask_rcnn("train_horovod.py", **job)

    train_mask_rcnn("train_horovod.py", folder="resumed", kill_at="step-15.index", **job)
    resumed = train_mask_rcnn("train_horovod.py", folder="resumed", **job)

    assert whole.code == resumed.code == 0, whole.log + resumed.log
    assert "resumed from " in resumed.log
    assert 0 < len(resumed.steps) < len(whole.steps) == 80
    np.testing.assert_allclose(resumed.steps, whole.steps[-len(resumed.steps) :], rtol=0, atol=1e-3)


@pytest.mark.nightly
def test_what_is_corrupt_is_named_and_left_out_where_the_job_says_so(
    train_mask_rcnn: Train, container: Container
) -> None:
    spoil = (
        "import pathlib, shutil; shutil.copytree('/data/mask_rcnn/train', '/tmp/bad-coco'); "
        "file = pathlib.Path('/tmp/bad-coco/train-00003-of-00064.tfrecord'); content = bytearray(file.read_bytes()); "
        "content[100] ^= 0xFF; file.write_bytes(content)"
    )
    container.exec_run(["python", "-c", spoil])
    job = SMALL | {"train": "/tmp/bad-coco", "epochs": 1, "batch_size": 40, "batch_norm": "train", "warmup_steps": 0}

    refused, skipped = (train_mask_rcnn("train_horovod.py", skip_corrupt=skip, **job) for skip in ("false", "true"))

    named = "the record at byte 0 of /tmp/bad-coco/train-00003-of-00064.tfrecord is corrupt"
    assert refused.code != 0
    assert named in refused.log
    assert skipped.code == 0, skipped.log
    assert f"skipped: {named}" in skipped.log
    assert "skipped 1 of 800 images of /tmp/bad-coco" in skipped.log


@pytest.mark.nightly
def test_a_checkpoint_of_another_model_is_refused_in_words(train_mask_rcnn: Train) -> None:
    job = SMALL | {"epochs": 1, "batch_size": 400, "batch_norm": "train", "warmup_steps": 0}
    train_mask_rcnn("train_horovod.py", folder="other", **job)

    refused = train_mask_rcnn("train_horovod.py", folder="other", **{**job, "filters": 16})

    assert refused.code != 0
    assert "is a checkpoint of another model" in refused.log


@pytest.mark.nightly
def test_float16_trains(train_mask_rcnn: Train) -> None:
    job = SMALL | {"epochs": 1, "batch_size": 40, "batch_norm": "train", "warmup_steps": 5, "amp": "true"}

    trained = train_mask_rcnn("train_horovod.py", **job)

    assert trained.code == 0, trained.log
    assert trained.losses[-1] < trained.losses[0]
