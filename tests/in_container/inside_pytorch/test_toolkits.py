"""The PyTorch image: the toolkits are the versions we say and start as in SageMaker; torch and Horovod are whole."""

import importlib
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import distributions, entry_points
from pathlib import Path


def pins(path: str) -> dict[str, str]:
    """Distributions and versions of a constraints file."""
    return dict(re.findall(r"^([^#=\s]+)==(\S+)$", Path(path).read_text(), re.MULTILINE))


def test_every_distribution_is_the_version_that_docker_pins() -> None:
    lines = Path("/docker/versions.env").read_text().splitlines()
    versions = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    decided = {
        "horovod": versions["HOROVOD_VERSION"],
        "mpi4py": versions["MPI4PY_VERSION"],
        "sagemaker-training": versions["SAGEMAKER_TRAINING_VERSION"],
        "sagemaker-pytorch-training": versions["SAGEMAKER_PYTORCH_TRAINING_VERSION"],
    }
    ours = tomllib.loads(Path("/docker/smdistributed/pyproject.toml").read_text())["project"]

    image = [each for each in distributions() if str(each.locate_file("")).startswith("/opt/venv")]
    installed = {re.sub(r"[-_.]+", "-", each.name).lower(): each.version for each in image}

    pinned = pins("/docker/constraints.txt") | pins("/docker/pytorch/constraints.txt") | decided
    pinned |= {ours["name"]: ours["version"]}
    assert {name: pinned.get(name) for name in installed} == installed
    assert decided.keys() <= installed.keys()


def test_train_is_the_console_script_of_sagemaker_training() -> None:
    (train,) = entry_points(group="console_scripts", name="train")

    assert train.value == "sagemaker_training.cli.train:main"
    assert subprocess.run(["which", "train"], capture_output=True, check=False).returncode == 0


def test_the_framework_module_that_the_image_names_can_be_called() -> None:
    module, function = os.environ["SAGEMAKER_TRAINING_MODULE"].split(":")

    assert module == "sagemaker_pytorch_container.training"
    assert callable(getattr(importlib.import_module(module), function))


def test_python_and_torchrun_are_those_that_hold_the_toolkits(tmp_path: Path) -> None:
    where = tmp_path / "where.py"
    where.write_text("import sagemaker_training, torchvision, sys; print(sys.prefix)")

    for starter in ("python", "python3", os.environ["PYTHON"], "torchrun"):
        found = subprocess.run([starter, str(where)], capture_output=True, text=True, check=True)
        assert found.stdout.strip() == "/opt/venv"


def test_torch_has_gloo_and_its_numpy() -> None:
    check = "import torch; print(torch.distributed.is_gloo_available(), torch.zeros(2).numpy().sum())"
    found = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)

    assert found.stdout.split() == ["True", "0.0"]


def test_horovod_is_built_with_mpi_and_gloo_and_adds_up_over_two_ranks(tmp_path: Path) -> None:
    program = tmp_path / "add.py"
    program.write_text(
        "import os, horovod.torch as hvd, torch; hvd.init(); total = hvd.allreduce(torch.ones(1), op=hvd.Sum).item(); "
        # In one write: print makes several, between which the other rank's come.
        "os.write(1, f'{hvd.mpi_built()} {hvd.gloo_built()} {hvd.size()} {total}\\n'.encode())"
    )
    mpirun = ["mpirun", "--oversubscribe", "-np", "2", "-mca", "btl_vader_single_copy_mechanism", "none"]

    said = subprocess.run([*mpirun, sys.executable, program], capture_output=True, text=True, check=True).stdout

    assert said.splitlines() == ["True True 2 2.0"] * 2
