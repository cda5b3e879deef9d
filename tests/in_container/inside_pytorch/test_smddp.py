"""SMDDP's emulation over torch, by two ranks that mpirun and smddprun start."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).with_name("smddp_torch_rank.py")
SIZE = 2

Ranks = list[dict[str, Any]]


def _ranks(way: str, folder: Path) -> Ranks:
    """What each rank found."""
    mpirun = ["mpirun", "--oversubscribe", "-np", str(SIZE), "-mca", "btl_vader_single_copy_mechanism", "none"]
    command = [*mpirun, "smddprun", sys.executable, "-m", "mpi4py", str(PROGRAM), way, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Homeport's emulation over gloo, not AWS's library") == 1
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(SIZE)]


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Ranks:
    """Answers through torch.distributed's backend smddp."""
    return _ranks("backend", tmp_path_factory.mktemp("backend"))


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Ranks:
    """Answers through the module of SMDDP 1.3."""
    return _ranks("module", tmp_path_factory.mktemp("module"))


def test_each_rank_knows_where_it_is(backend: Ranks, module: Ranks) -> None:
    for ranks in (backend, module):
        assert [answers["where"] for answers in ranks] == [[rank, SIZE, rank] for rank in range(SIZE)]
    assert [answers["name"] for answers in backend] == ["smddp"] * SIZE


def test_the_backends_collectives_answer(backend: Ranks) -> None:
    for answers in backend:
        assert answers["sum"] == [3.0, 10.0]
        assert answers["gathered"] == [[1.0, 0.0], [2.0, 10.0]]


def test_torchs_own_ddp_leaves_the_same_weights_on_every_rank(backend: Ranks) -> None:
    assert backend[0]["weights"] == backend[1]["weights"]


def test_every_rank_refuses_groups_of_ranks_of_any_backend(backend: Ranks) -> None:
    for answers in backend:
        for asked in ("new_group", "gloo_group"):
            assert answers[asked].startswith("SMDDPNotSupportedError: torch.distributed.new_group is not supported by")


def test_without_smddp_torch_itself_answers_new_group(backend: Ranks) -> None:
    assert "SMDDP" not in backend[0]["after"]


def test_every_rank_refuses_a_barrier_of_devices(backend: Ranks) -> None:
    for answers in backend:
        assert "device_ids not supported for the selected backend smddp" in answers["barrier"]


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        ("AVERAGE", [1.5, 5.0]),
        ("SUM", [3.0, 10.0]),
        ("MIN", [1.0, 0.0]),
        ("MAX", [2.0, 10.0]),
        ("default", [3.0, 10.0]),
        ("later", [1.5, 5.0]),
        ("broadcast", [2.0, 10.0]),
    ],
)
def test_the_modules_collectives_answer(module: Ranks, op: str, expected: list[float]) -> None:
    assert [answers[op] for answers in module] == [expected] * SIZE


def test_the_modules_ddp_leaves_the_same_weights_on_every_rank(module: Ranks) -> None:
    assert module[0]["weights"] == module[1]["weights"]
    assert module[0]["no_sync"]


def test_the_module_says_what_it_is_and_refuses_groups(module: Ranks) -> None:
    answers = module[0]

    assert (answers["available"], answers["initialized"]) == (True, True)
    assert answers["before"].endswith("Call init_process_group() first.")
    assert "group.WORLD is the only one" in answers["group"]
    assert "group.WORLD is the only one" in answers["ddp_group"]
