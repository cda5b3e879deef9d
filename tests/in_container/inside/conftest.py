"""Runs in the training image: of ours only the scripts of entrypoints/ are here, and docker/, of which `pins` tells."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

RanksResults = list[dict[str, np.ndarray]]


@pytest.fixture(scope="session")
def pins() -> dict[str, str]:
    lines = Path("/docker/versions.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@pytest.fixture(scope="session")
def run_ranks(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., RanksResults]:
    """Run a program of this folder under mpirun, as the toolkit does, and give what each rank saved."""

    def run(program: str, ranks: int, *launcher: str) -> RanksResults:
        directory = tmp_path_factory.mktemp(program)
        mpirun = ["mpirun", "--host", f"localhost:{ranks}", "-np", str(ranks)]
        mpirun += ["-mca", "btl_vader_single_copy_mechanism", "none"]
        done = subprocess.run(
            [*mpirun, *launcher, sys.executable, str(Path(__file__).with_name(program)), str(directory)],
            capture_output=True,
            text=True,
            check=False,
            timeout=150,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return [dict(np.load(directory / f"{rank}.npz")) for rank in range(ranks)]

    return run
