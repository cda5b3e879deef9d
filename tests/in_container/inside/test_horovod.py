"""Horovod: how it was built, what its operations answer, and that it trains Keras 2 models."""

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from collectives import contribution, total

Ranks = list[dict[str, np.ndarray]]
SINGLE = 1e-6


@pytest.fixture(scope="module", params=[1, 2, 3, 4], ids="{}-ranks".format)
def ranks(request: pytest.FixtureRequest, run_ranks: Callable[[str, int], Ranks]) -> Ranks:
    """Every operation's answer on every rank, for jobs of one to four ranks."""
    results = run_ranks("collectives.py", request.param)
    assert [int(answers["size"]) for answers in results] == [request.param] * request.param
    return results


def assert_everywhere(ranks: Ranks, operation: str, expected: np.ndarray) -> None:
    for answers in ranks:
        np.testing.assert_allclose(answers[operation], expected, rtol=SINGLE, atol=SINGLE)


def test_horovod_is_built_with_mpi_gloo_and_tensorflow() -> None:
    check = "import horovod.tensorflow as hvd; print(hvd.mpi_built(), hvd.gloo_built())"
    built = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)

    assert built.stdout.split() == ["True", "True"]


@pytest.mark.parametrize("operation", ["mean", "sum", "min", "max"])
def test_allreduce_answers_what_numpy_does(ranks: Ranks, operation: str) -> None:
    by_numpy = getattr(np, operation)

    assert_everywhere(ranks, operation, by_numpy([total(rank) for rank in range(len(ranks))], axis=0))


def test_a_grouped_allreduce_answers_each_of_its_tensors(ranks: Ranks) -> None:
    summed = np.sum([total(rank) for rank in range(len(ranks))], axis=0)

    assert_everywhere(ranks, "grouped_0", summed)
    assert_everywhere(ranks, "grouped_1", 2 * summed)


def test_allgather_concatenates_unequal_first_dimensions_in_rank_order(ranks: Ranks) -> None:
    assert_everywhere(ranks, "allgather", np.concatenate([contribution(rank) for rank in range(len(ranks))]))


def test_a_broadcast_from_the_last_rank_reaches_every_rank(ranks: Ranks) -> None:
    assert_everywhere(ranks, "broadcast", total(len(ranks) - 1))


def test_alltoall_hands_each_rank_its_share_of_every_other(ranks: Ranks) -> None:
    for rank, answers in enumerate(ranks):
        np.testing.assert_array_equal(answers["alltoall"], rank + 10 * np.arange(len(ranks)))


def test_a_training_step_leaves_the_same_weights_on_every_rank(run_ranks: Callable[[str, int], Ranks]) -> None:
    first, second = run_ranks("training_step.py", 2)

    assert not np.array_equal(first["untrained"], second["untrained"])
    for way in ("keras", "tape"):
        np.testing.assert_array_equal(first[way], second[way])
        assert not np.array_equal(first[way], first["untrained"])
