"""What the CIFAR-10 scripts decide without TensorFlow: who takes which image when, and at which learning rate."""

import difflib
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from tests.scripts import imported
from training_job.job_file import read_job

FOLDER = Path(__file__).parents[2] / "entrypoints" / "cifar10"
JOBS = sorted(FOLDER.glob("*.toml"))
DISTRIBUTED = ("horovod", "tf2_horovod", "tf2_smddp")
ALONE = ("keras", "keras_script_mode", "tf2")


@pytest.fixture
def sharing() -> Iterator[ModuleType]:
    with imported(FOLDER, "sharing") as module:
        yield module


@pytest.fixture
def augmentation() -> Iterator[ModuleType]:
    with imported(FOLDER, "augmentation") as module:
        yield module


@pytest.fixture
def schedule() -> Iterator[ModuleType]:
    with imported(FOLDER, "schedule") as module:
        yield module


@pytest.fixture
def plot() -> Iterator[ModuleType]:
    with imported(FOLDER, "plot") as module:
        yield module


@pytest.fixture
def arguments() -> Iterator[ModuleType]:
    with imported(FOLDER, "arguments") as module:
        yield module


def test_the_scripts_for_horovod_and_smddp_differ_in_one_import() -> None:
    horovod, smddp = ((FOLDER / f"train_tf2_{name}.py").read_text().splitlines() for name in ("horovod", "smddp"))

    changed = [line for line in difflib.ndiff(horovod, smddp) if line[0] in "+-"]

    assert [line.partition("#")[0].strip() for line in changed] == [
        "- import horovod.tensorflow as dist",
        "+ import smdistributed.dataparallel.tensorflow as dist",
    ]


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 8, 16])
def test_an_epoch_gives_no_image_twice_and_every_rank_as_many_steps(sharing: ModuleType, ranks: int) -> None:
    orders = [
        sharing.epoch_order(40_000, sharing.Share(rank, ranks), batch_size=64, seed=1, epoch=3) for rank in range(ranks)
    ]

    seen = np.concatenate([order.ravel() for order in orders])
    assert {order.shape for order in orders} == {(40_000 // (64 * ranks), 64)}
    assert len(set(seen)) == len(seen) > 40_000 - 64 * ranks


def test_where_the_batches_divide_the_images_an_epoch_has_them_all(sharing: ModuleType) -> None:
    orders = [sharing.epoch_order(96, sharing.Share(rank, 4), batch_size=8, seed=1, epoch=0) for rank in range(4)]

    assert sorted(np.concatenate(orders).ravel()) == list(range(96))


def test_a_step_has_the_same_images_on_any_number_of_ranks(sharing: ModuleType) -> None:
    alone = sharing.epoch_order(1000, sharing.Share(), batch_size=32, seed=5, epoch=2)
    shared = [sharing.epoch_order(1000, sharing.Share(rank, 4), batch_size=8, seed=5, epoch=2) for rank in range(4)]

    together = np.concatenate(shared, axis=1)
    assert [sorted(step) for step in alone] == [sorted(step) for step in together]


def test_every_epoch_and_every_seed_has_an_order_of_its_own_and_always_the_same(sharing: ModuleType) -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return list(sharing.epoch_order(64, sharing.Share(), batch_size=8, seed=seed, epoch=epoch).ravel())

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)


def test_every_epoch_moves_each_image_by_up_to_four_pixels_and_mirrors_half(augmentation: ModuleType) -> None:
    moves = augmentation.epoch_moves(9000, seed=1, epoch=0)

    assert (moves.min(axis=0).tolist(), moves.max(axis=0).tolist()) == ([0, 0, 0], [8, 8, 1])
    assert moves[:, 2].mean() == pytest.approx(0.5, abs=0.03)
    np.testing.assert_array_equal(moves, augmentation.epoch_moves(9000, seed=1, epoch=0))
    assert (moves != augmentation.epoch_moves(9000, seed=1, epoch=1)).any()


def test_a_moved_image_is_black_where_nothing_was_and_a_mirrored_one_is_reversed(augmentation: ModuleType) -> None:
    batch = np.arange(1, 1 + 3 * 6 * 5 * 2, dtype=np.uint8).reshape(3, 6, 5, 2)
    wide = augmentation.bordered(batch)

    still, down, mirrored = augmentation.moved(wide, np.arange(3), np.array([[4, 4, 0], [1, 6, 0], [4, 4, 1]]))

    np.testing.assert_array_equal(still, batch[0])
    np.testing.assert_array_equal(down[3:, :3], batch[1, :3, 2:])
    assert not down[:3].any()
    assert not down[:, 3:].any()
    np.testing.assert_array_equal(mirrored, batch[2, :, ::-1])


def test_too_few_images_for_a_step_are_refused_in_words(sharing: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"100 images are too few for one step: 8 rank\(s\) of batch-size 16 take 128"):
        sharing.steps_per_epoch(100, sharing.Share(0, 8), 16)


def test_the_ranks_together_validate_every_image_once(sharing: ModuleType) -> None:
    orders = [sharing.validation_order(301, sharing.Share(rank, 4)) for rank in range(4)]

    assert sorted(np.concatenate(orders)) == list(range(301))
    with pytest.raises(ValueError, match="3 images to validate are fewer than the 4 ranks"):
        sharing.validation_order(3, sharing.Share(0, 4))


@pytest.mark.parametrize(("policy", "expected"), [("linear", 0.16), ("sqrt", 0.04), ("none", 0.01)])
def test_a_policy_says_how_the_rate_grows_with_the_ranks(schedule: ModuleType, policy: str, expected: float) -> None:
    assert schedule.scaled(0.01, 16, policy) == pytest.approx(expected)


def test_the_rate_begins_with_one_ranks_reaches_the_scaled_one_and_ends_at_nothing(schedule: ModuleType) -> None:
    job = {"base": 0.01, "ranks": 16, "policy": "linear", "warmup_steps": 10, "total_steps": 110}
    rates = [schedule.learning_rate(step, **job) for step in range(111)]

    assert rates[0] == pytest.approx(0.01)
    assert rates[5] == pytest.approx(0.085)
    assert rates[10] == max(rates) == pytest.approx(0.16)
    assert rates[60] == pytest.approx(0.08)
    assert rates[110] == pytest.approx(0.0)
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_without_a_warm_up_the_rate_begins_scaled(schedule: ModuleType) -> None:
    job = {"base": 0.01, "ranks": 4, "policy": "linear", "warmup_steps": 0, "total_steps": 100}

    assert schedule.learning_rate(0, **job) == pytest.approx(0.04)


class _Gpus(ModuleType):
    """As much of TensorFlow as asks for GPUs, on a host that has so many; keeps what is made visible."""

    def __init__(self, count: int) -> None:
        super().__init__("tensorflow")
        self.visible: list[str] = []
        self.threads: list[int] = []
        self.config = SimpleNamespace(
            list_physical_devices=lambda kind: [f"{kind}:{number}" for number in range(count)],
            set_visible_devices=lambda gpu, _: self.visible.append(gpu),
            experimental=SimpleNamespace(set_memory_growth=lambda *_: None),
            threading=SimpleNamespace(set_intra_op_parallelism_threads=self.threads.append),
        )


@pytest.mark.parametrize(("gpus", "visible"), [(8, ["GPU:3"]), (0, [])])
def test_a_rank_takes_the_gpu_of_its_own_number_or_a_part_of_the_cores(
    monkeypatch: pytest.MonkeyPatch, gpus: int, visible: list[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", tensorflow := _Gpus(gpus))

    with imported(FOLDER, "machine") as machine:
        machine.use_own_share(3, 8)

    assert tensorflow.visible == visible
    assert len(tensorflow.threads) == (0 if gpus else 1)


def test_a_rank_without_a_gpu_of_its_own_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", _Gpus(2))

    with (
        imported(FOLDER, "machine") as machine,
        pytest.raises(ValueError, match=r"this host has 2 GPU\(s\) for its 4 ranks: each needs its own"),
    ):
        machine.use_own_share(2, 4)


def test_the_plot_draws_training_and_validation_of_every_epoch(plot: ModuleType) -> None:
    rows = [
        {"epoch": epoch, "train_loss": 2 / epoch, "train_accuracy": 0.5, "val_loss": 3 / epoch, "val_accuracy": 0.4}
        for epoch in (1, 2, 3)
    ]

    drawn = ET.fromstring(plot.curves(rows))

    lines = drawn.findall(".//{http://www.w3.org/2000/svg}polyline")
    assert [len(line.attrib["points"].split()) for line in lines] == [3, 3, 3, 3]


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_every_job_starts_a_script_that_is_there_with_arguments_that_it_knows(
    arguments: ModuleType, monkeypatch: pytest.MonkeyPatch, path: Path
) -> None:
    job = read_job(path, now=datetime(2026, 11, 21, tzinfo=UTC), region="us-west-2")
    given = job.hyper_parameters or {}
    script = FOLDER / Path(given["sagemaker_program"].strip('"')).name
    own = {name: value.strip('"') for name, value in given.items() if not name.startswith("sagemaker_")}
    monkeypatch.setattr(sys, "argv", ["train.py", *(word for name in own for word in (f"--{name}", own[name]))])

    args = arguments.parse_args("x")

    assert script.is_file()
    assert args.epochs == int(own["epochs"])


@pytest.mark.parametrize("stem", DISTRIBUTED)
def test_a_distributed_job_comes_in_three_sizes(stem: str) -> None:
    sizes = [
        read_job(FOLDER / f"{stem}{size}.toml", now=datetime(2026, 11, 21, tzinfo=UTC), region="us-west-2")
        for size in ("", "_p3", "_2xp3")
    ]

    resources = [job.resource_config for job in sizes]
    assert [(each.instance_type, each.instance_count) for each in resources] == [
        ("ml.p3.16xlarge", 1),
        ("ml.p3.16xlarge", 1),
        ("ml.p3.16xlarge", 2),
    ]
    assert len({tuple(d.name for d in job.algorithm_specification.metric_definitions or ()) for job in sizes}) == 1


@pytest.mark.parametrize("stem", ALONE)
def test_a_job_for_one_gpu_comes_in_two_sizes(stem: str) -> None:
    for size in ("", "_p3"):
        job = read_job(FOLDER / f"{stem}{size}.toml", now=datetime(2026, 11, 21, tzinfo=UTC), region="us-west-2")
        assert (job.resource_config.instance_type, job.resource_config.instance_count) == ("ml.p3.2xlarge", 1)
