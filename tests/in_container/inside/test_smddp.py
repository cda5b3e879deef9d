"""SMDDP's emulation: every documented name, and collectives that answer as numpy does."""

import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import files
from pathlib import Path

import numpy as np
import pytest
import smddp_documented as documented
from smddp_rank import contribution

Ranks = list[dict[str, np.ndarray]]
SIZE = 2
ALL = np.stack([contribution(rank) for rank in range(SIZE)])


@pytest.fixture(scope="module")
def ranks(run_ranks: Callable[..., Ranks]) -> Ranks:
    return run_ranks("smddp_rank.py", SIZE, "smddprun")


def assert_everywhere(ranks: Ranks, answer: str, expected: np.ndarray, tolerance: float = 1e-6) -> None:
    for answers in ranks:
        np.testing.assert_allclose(answers[answer], expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", documented.TENSORFLOW)
def test_every_documented_name_has_the_documented_signature(name: str) -> None:
    import smdistributed.dataparallel.tensorflow as sdp  # noqa: PLC0415

    space: dict[str, object] = dict(vars(sdp))
    exec(f"def expected({documented.TENSORFLOW[name]}): ...", space)

    found, expected = (inspect.signature(which) for which in (getattr(sdp, name), space["expected"]))
    assert str(found) == str(expected)


def test_the_compressions_and_reductions_have_their_documented_names() -> None:
    import smdistributed.dataparallel.tensorflow as sdp  # noqa: PLC0415

    for owner, names in documented.TENSORFLOW_NAMES.items():
        assert all(hasattr(getattr(sdp, owner), name) for name in names)


def test_keras_has_what_public_programs_import() -> None:
    import smdistributed.dataparallel.tensorflow.keras as sdp  # noqa: PLC0415

    for name in documented.KERAS:
        owner, _, last = name.rpartition(".")
        assert callable(getattr(getattr(sdp, owner) if owner else sdp, last))


def test_each_rank_knows_where_it_is(ranks: Ranks) -> None:
    assert [answers["where"].tolist() for answers in ranks] == [[rank, SIZE, rank, SIZE] for rank in range(SIZE)]


@pytest.mark.parametrize("answer", ["average", "default", "oob", "gradient"])
def test_means_are_those_of_numpy(ranks: Ranks, answer: str) -> None:
    assert_everywhere(ranks, answer, ALL.mean(axis=0))


@pytest.mark.parametrize("answer", ["sum", "min", "max"])
def test_other_reductions_are_those_of_numpy(ranks: Ranks, answer: str) -> None:
    assert_everywhere(ranks, answer, getattr(np, answer)(ALL, axis=0))


def test_compressed_to_16_bits_a_mean_is_nearly_the_same(ranks: Ranks) -> None:
    assert_everywhere(ranks, "fp16", ALL.mean(axis=0), tolerance=5e-3)


def test_a_broadcast_gives_the_roots_tensor_and_the_roots_variables(ranks: Ranks) -> None:
    assert_everywhere(ranks, "broadcast", ALL[-1])
    assert_everywhere(ranks, "variables", ALL[0])
    assert_everywhere(ranks, "hook", ALL[0])


def test_a_sparse_gradient_arrives_dense(ranks: Ranks) -> None:
    expected = np.zeros((4, 2))
    expected[:SIZE] = 1 / SIZE

    assert all(answers["sparse_is_dense"] for answers in ranks)
    assert_everywhere(ranks, "sparse", expected)


def test_overlap_changes_nothing(ranks: Ranks) -> None:
    for rank, answers in enumerate(ranks):
        np.testing.assert_array_equal(answers["overlap"], ALL[rank])


def test_keras_ends_with_the_same_weights_on_every_rank(ranks: Ranks) -> None:
    np.testing.assert_array_equal(ranks[0]["keras"], ranks[1]["keras"])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("init", "SMDDPInitError: init() called more than once. smdistributed.dataparallel is already initialized."),
        ("before_init", "SMDDPInitError: smdistributed.dataparallel is not initialized. Call init() first."),
        ("oob_sum", "only ReduceOp.AVERAGE is"),
        ("tape_sum", "only ReduceOp.AVERAGE is"),
        ("device", "DistributedGradientTape: device_dense is not supported"),
        ("optimizer_device", "DistributedOptimizer: device_sparse is not supported"),
        ("bucket", "must be a multiple of 128"),
        ("global", "RuntimeError: broadcast_global_variables() is for graphs"),
        ("index", "param_index 1 is none of num_params 1"),
    ],
)
def test_what_the_library_does_not_support_is_refused_in_words(ranks: Ranks, call: str, words: str) -> None:
    assert words in str(ranks[0][f"refused_{call}"])


def test_one_rank_says_once_that_it_is_the_emulation() -> None:
    program = "import smdistributed.dataparallel.tensorflow as sdp; sdp.init()"
    command = ["mpirun", "--oversubscribe", "-np", "2", "smddprun", sys.executable, "-c", program]

    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr

    assert said.count("Homeport's emulation over Horovod, not AWS's library") == 1


def test_smddprun_tells_a_rank_what_torch_wants_to_know() -> None:
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    # Text and line end at once: what two ranks print in pieces may meet on one line.
    program = f"import json, os, sys; sys.stdout.write(json.dumps([os.environ[name] for name in {names!r}]) + chr(10))"
    command = ["mpirun", "--oversubscribe", "-np", "2", "smddprun", sys.executable, "-c", program]
    environment = os.environ | {"SMDATAPARALLEL_SERVER_ADDR": "algo-1", "SMDATAPARALLEL_SERVER_PORT": "7000"}

    alone, served = (
        sorted(
            json.loads(line)
            for line in subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout.splitlines()
        )
        for env in (os.environ, environment)
    )

    assert alone == [[str(rank), str(rank), "2", "2", "127.0.0.1", "7592"] for rank in range(2)]
    assert served == [[str(rank), str(rank), "2", "2", "algo-1", "7000"] for rank in range(2)]


def test_smddprun_ends_as_its_program_does_and_names_one_that_is_not_there() -> None:
    ended = subprocess.run(["smddprun", "sh", "-c", "exit 7"], check=False)
    missing = subprocess.run(["smddprun", "no-such-program"], capture_output=True, text=True, check=False)

    assert ended.returncode == 7
    assert missing.returncode == 1
    assert missing.stderr == "smddprun: no-such-program: No such file or directory\n"


def test_where_the_real_library_is_the_emulation_is_not_installed(tmp_path: Path) -> None:
    real = tmp_path / "smdistributed" / "dataparallel"
    real.mkdir(parents=True)
    (real / "__init__.py").touch()
    pip = tmp_path / "bin" / "python"
    pip.parent.mkdir()
    pip.write_text(f'#!/bin/sh\n[ "$1" = -m ] && echo installs && exit\nexec {sys.executable} -S "$@"\n')
    pip.chmod(0o755)
    environment = os.environ | {"PATH": f"{pip.parent}:{os.environ['PATH']}"}
    install = ["bash", "/docker/smdistributed/install.sh", "/nowhere"]

    without, beside_the_real = (
        subprocess.run(install, env=env, capture_output=True, text=True, check=True).stdout
        for env in (environment, environment | {"PYTHONPATH": str(tmp_path)})
    )

    assert without == "installs\n"
    assert beside_the_real == ""


def test_the_emulation_leaves_room_for_another_library_of_smdistributed() -> None:
    installed = {str(file) for file in files("homeport-smdistributed-dataparallel") or ()}

    assert "smdistributed/dataparallel/__init__.py" in installed
    assert "smdistributed/__init__.py" not in installed
