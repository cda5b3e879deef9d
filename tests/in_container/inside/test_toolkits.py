"""The SageMaker toolkits: they are the versions we say, and the image starts them as SageMaker does."""

import importlib
import os
import re
import subprocess
import tomllib
from importlib.metadata import distributions, entry_points
from pathlib import Path


def test_every_distribution_is_the_version_that_docker_pins(pins: dict[str, str]) -> None:
    decided = {
        "tensorflow-cpu": pins["TENSORFLOW_VERSION"],
        "tf-keras": pins["TF_KERAS_VERSION"],
        "horovod": pins["HOROVOD_VERSION"],
        "mpi4py": pins["MPI4PY_VERSION"],
        "sagemaker-training": pins["SAGEMAKER_TRAINING_VERSION"],
        "sagemaker-tensorflow-training": pins["SAGEMAKER_TENSORFLOW_TRAINING_VERSION"],
    }
    ours = tomllib.loads(Path("/docker/smdistributed/pyproject.toml").read_text())["project"]
    files = (Path("/docker/constraints.txt"), Path("/docker/tensorflow/model_garden.txt"))
    constraints = re.findall(r"^([^#=\s]+)==(\S+)$", "".join(file.read_text() for file in files), re.MULTILINE)

    image = [each for each in distributions() if str(each.locate_file("")).startswith("/opt/venv")]
    installed = {re.sub(r"[-_.]+", "-", each.name).lower(): each.version for each in image}

    pinned = dict(constraints) | decided | {ours["name"]: ours["version"]}
    assert {name: pinned.get(name) for name in installed} == installed
    assert decided.keys() <= installed.keys()


def test_model_gardens_mask_rcnn_runs_beside_this_tensorflow() -> None:
    factory = importlib.import_module("official.vision.modeling.factory")

    assert callable(factory.build_maskrcnn)


def test_train_is_the_console_script_of_sagemaker_training() -> None:
    (train,) = entry_points(group="console_scripts", name="train")

    assert train.value == "sagemaker_training.cli.train:main"
    assert subprocess.run(["which", "train"], capture_output=True, check=False).returncode == 0


def test_the_framework_module_that_the_image_names_can_be_called() -> None:
    module, function = os.environ["SAGEMAKER_TRAINING_MODULE"].split(":")

    assert callable(getattr(importlib.import_module(module), function))


def test_python_is_the_python_that_holds_the_toolkits() -> None:
    where = "import sagemaker_training, sys; print(sys.prefix)"
    for name in ("python", "python3", os.environ["PYTHON"]):
        found = subprocess.run([name, "-c", where], capture_output=True, text=True, check=True)
        assert found.stdout.strip() == "/opt/venv"
