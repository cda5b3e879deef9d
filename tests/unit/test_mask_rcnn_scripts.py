"""What the Mask R-CNN scripts decide without TensorFlow: learning rates, shares, what is sent, how COCO judges."""

import difflib
import json
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from pycocotools import mask

from tests.scripts import imported
from training_job.job_file import read_job
from training_job.model import TrainingJob

FOLDER = Path(__file__).parents[2] / "entrypoints" / "mask_rcnn"
JOBS = sorted(FOLDER.glob("*.toml"))
WORKSHOPS_NAMES = 22
RATE = {
    "base": 0.0025,
    "ranks": 16,
    "policy": "linear",
    "warmup_steps": 500,
    "steps_per_epoch": 100,
    "drops": [16, 20],
    "factor": 0.1,
}


@pytest.fixture
def module(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """The module of the folder that the test names."""
    with imported(FOLDER, request.param) as module:
        yield module


def of(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("module", [name], indirect=True)


def job_of(name: str) -> TrainingJob:
    return read_job(FOLDER / f"{name}.toml", now=datetime(2026, 11, 21, tzinfo=UTC), region="us-west-2")


def test_the_scripts_for_horovod_and_smddp_differ_in_one_import() -> None:
    horovod, smddp = ((FOLDER / f"train_{name}.py").read_text().splitlines() for name in ("horovod", "smddp"))

    changed = [line for line in difflib.ndiff(horovod, smddp) if line[0] in "+-"]

    assert [line.partition("#")[0].strip() for line in changed] == [
        "- import horovod.tensorflow as dist",
        "+ import smdistributed.dataparallel.tensorflow as dist",
    ]


@of("schedule")
def test_the_rate_warms_up_to_the_scaled_one_and_falls_where_it_is_told(module: ModuleType) -> None:
    rates = [module.learning_rate(step, **RATE) for step in range(2400)]

    assert rates[0] == pytest.approx(0.0025 / 3)
    assert rates[250] == pytest.approx((0.0025 / 3 + 0.04) / 2)
    assert rates[500] == rates[1599] == pytest.approx(0.04)
    assert rates[1600] == rates[1999] == pytest.approx(0.004)
    assert rates[2000] == rates[2399] == pytest.approx(0.0004)


@of("schedule")
def test_a_warm_up_longer_than_the_first_epochs_is_not_cut_short(module: ModuleType) -> None:
    rates = [module.learning_rate(step, **{**RATE, "drops": [2]}) for step in (199, 200, 499, 500)]

    assert rates[:3] == sorted(rates[:3])
    assert rates[3] == pytest.approx(0.004)


@of("sharing")
@pytest.mark.parametrize("ranks", range(1, 65))
def test_every_number_of_ranks_up_to_64_shares_coco_fairly(module: ModuleType, ranks: int) -> None:
    shares = [module.Share(rank, ranks) for rank in range(ranks)]

    training = [module.epoch_order(118_287, share, batch_size=4, seed=1, epoch=0).size for share in shares]
    validation = [len(module.validation_order(5_000, share)) for share in shares]

    assert len(set(training)) == 1
    assert 118_287 - sum(training) < 4 * ranks
    assert max(validation) - min(validation) <= 1
    assert sum(validation) == 5_000


@of("packing")
@pytest.mark.parametrize(
    "value", [[], {"ids": [1, 2], "results": [{"score": 0.5, "counts": "PPYo0\\"}]}, list(range(999))]
)
def test_what_is_packed_to_be_sent_is_the_same_again(module: ModuleType, value: Any) -> None:
    packed = module.pack(value)

    assert packed.dtype == np.int32
    assert module.unpack(packed) == value


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    """Two images with a square of 40 pixels each, one of another class."""
    counts = [40 * 128 + 40, *([40, 88] * 39), 40, 128 * 128 - 40 * 128 - 40 - 39 * 128 - 40]
    annotations = [
        {
            "id": number,
            "image_id": number,
            "category_id": number,
            "bbox": [40, 40, 40, 40],
            "area": 1600,
            "iscrowd": 0,
            "segmentation": {"size": [128, 128], "counts": counts},
        }
        for number in (1, 2)
    ]
    images = [{"id": number, "height": 128, "width": 128} for number in (1, 2)]
    path = tmp_path / "instances.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": [{"id": 1}, {"id": 2}]}))
    return path


def found(image: int, *, left: int = 40) -> dict[str, Any]:
    pixels = np.zeros((128, 128), np.uint8, order="F")
    pixels[40:80, left : left + 40] = 1
    counts = mask.encode(pixels)["counts"].decode()
    box = [float(left), 40.0, 40.0, 40.0]
    segmentation = {"size": [128, 128], "counts": counts}
    return {"image_id": image, "category_id": image, "score": 0.9, "bbox": box, "segmentation": segmentation}


@of("precision")
def test_finding_all_is_a_precision_of_1_and_half_of_it_a_half(module: ModuleType, truth: Path) -> None:
    whole = module.coco_metrics(truth, [1, 2], [found(1), found(2)])
    half = module.coco_metrics(truth, [1, 2], [found(1)])

    assert whole["mAP(bbox)/IoU=0.5:0.95"] == whole["mAP(segm)/IoU=0.5:0.95"] == whole["bbox_AP"] == pytest.approx(1.0)
    assert half["mAP(bbox)/IoU=0.5"] == half["mAP(segm)/IoU=0.5"] == pytest.approx(0.5)


@of("precision")
def test_an_object_found_beside_its_place_counts_where_the_overlap_suffices(module: ModuleType, truth: Path) -> None:
    judged = module.coco_metrics(truth, [1, 2], [found(1, left=50), found(2, left=50)])

    assert judged["mAP(bbox)/IoU=0.5"] == pytest.approx(1.0)
    assert judged["mAP(bbox)/IoU=0.75"] == 0.0


@of("precision")
def test_finding_nothing_is_a_precision_of_0(module: ModuleType, truth: Path) -> None:
    assert set(module.coco_metrics(truth, [1, 2], []).values()) == {0.0}


@of("precision")
def test_a_jobs_regular_expressions_each_find_the_metric_of_its_name(module: ModuleType, truth: Path) -> None:
    metrics = module.coco_metrics(truth, [1, 2], [found(1), found(2, left=50)])
    line = "epoch 1/2  " + "  ".join(f"{name}: {value:.4f}" for name, value in metrics.items())

    definitions = job_of("horovod").algorithm_specification.metric_definitions or ()
    scraped = {each.name: re.search(each.regex, line) for each in definitions if each.name.startswith("mAP")}

    assert len([each for each in definitions if "/" in each.name]) == WORKSHOPS_NAMES
    assert len(scraped) == 12
    for name, match in scraped.items():
        assert match is not None, name
        assert float(match.group(1)) == pytest.approx(metrics[name], abs=1e-4), name


@of("arguments")
@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_every_job_starts_a_script_that_is_there_with_arguments_that_it_knows(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch, path: Path
) -> None:
    given = job_of(path.stem).hyper_parameters or {}
    own = {name: value.strip('"') for name, value in given.items() if not name.startswith("sagemaker_")}
    monkeypatch.setattr(sys, "argv", ["train.py", *(word for name in own for word in (f"--{name}", own[name]))])

    args = module.parse_args("x")

    assert (FOLDER / Path(given["sagemaker_program"].strip('"')).name).is_file()
    assert args.epochs == int(own["epochs"])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--image-size", "1000"], "--image-size must be a multiple of 64, which is 2 to the --max-level"),
        (["--proposals", "16", "--max-objects", "4", "--rois", "21"], "--rois must be from --masks, 128, to 20"),
        (["--masks", "513"], "--rois must be from --masks, 513, to 1100"),
        (["--epochs", "many"], "argument --epochs: invalid positive value: 'many'"),
        (["--drop-epochs", "20,16"], "argument --drop-epochs: must rise, not '20,16'"),
    ],
)
@of("arguments")
def test_what_no_model_could_be_is_refused_in_words(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch, given: list[str], words: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", *given])

    with pytest.raises(ValueError, match="--") as refused:
        module.parse_args("x")

    assert words in str(refused.value)
    assert refused.value.__suppress_context__  # as the toolkit tells the first of errors that led to each other


@pytest.mark.parametrize("stem", ["horovod", "smddp"])
def test_a_distributed_job_comes_in_three_sizes(stem: str) -> None:
    sizes = [job_of(f"{stem}{size}") for size in ("", "_p3", "_2xp3")]

    resources = [job.resource_config for job in sizes]
    assert [(each.instance_type, each.instance_count) for each in resources] == [
        ("ml.p3.16xlarge", 1),
        ("ml.p3.16xlarge", 1),
        ("ml.p3.16xlarge", 2),
    ]
    assert len({tuple(d.name for d in job.algorithm_specification.metric_definitions or ()) for job in sizes}) == 1
    assert {(job.hyper_parameters or {})["sagemaker_program"] for job in sizes} == {f'"mask_rcnn/train_{stem}.py"'}
