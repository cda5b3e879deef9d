"""SMDDP's emulation over torch, by two processes. torch is too heavy a thing to install for it: TORCH_PYTHON names an
interpreter that has it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = os.environ.get("TORCH_PYTHON", sys.executable)
SIZE = 2

Ranks = list[dict[str, Any]]


@pytest.fixture(scope="module", autouse=True)
def _torch() -> None:
    """Whether that interpreter has torch."""
    asked = subprocess.run(
        [PYTHON, "-c", "import torch; print(torch.__version__)"], capture_output=True, text=True, check=False
    )
    if asked.returncode:
        pytest.skip(f"{PYTHON} has no torch: set TORCH_PYTHON to an interpreter that has (pip install torch)")


def _ranks(way: str, folder: Path) -> Ranks:
    """What each of two ranks found, started as smddprun starts them."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    processes = [
        subprocess.Popen(
            [PYTHON, "-m", "smdistributed.dataparallel.launch", PYTHON, _PROGRAM, way, str(folder)],
            env=os.environ
            | {
                "PYTHONPATH": str(ROOT / "docker" / "smdistributed"),
                "OMPI_COMM_WORLD_RANK": str(rank),
                "OMPI_COMM_WORLD_LOCAL_RANK": str(rank),
                "OMPI_COMM_WORLD_SIZE": str(SIZE),
                "OMPI_COMM_WORLD_LOCAL_SIZE": str(SIZE),
                "SMDATAPARALLEL_SERVER_ADDR": "127.0.0.1",
                "SMDATAPARALLEL_SERVER_PORT": str(port),
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(SIZE)
    ]
    errors = [process.communicate(timeout=240)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * SIZE, errors
    assert "".join(errors).count("Homeport's emulation over gloo, not AWS's library") == 1
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(SIZE)]


_PROGRAM = str(Path(__file__).with_name("smddp_torch_rank.py"))


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


def test_the_backend_refuses_what_smddp_does_not_support(backend: Ranks) -> None:
    assert "new_group is not supported by the backend smddp" in backend[0]["new_group"]


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
