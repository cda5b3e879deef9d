"""The image's own code makes way for source that a job sends, and for nothing else."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

CODE = Path("/opt/ml/code")
CONFIG = Path("/opt/ml/input/config")


@pytest.fixture(autouse=True)
def image_as_it_was(tmp_path: Path) -> Iterator[None]:
    shutil.copytree(CODE, tmp_path / "code")
    yield
    shutil.rmtree(CODE)
    shutil.rmtree("/opt/ml/input", ignore_errors=True)
    shutil.copytree(tmp_path / "code", CODE)


@pytest.mark.parametrize(
    ("hyperparameters", "left"),
    [
        (r'{"sagemaker_submit_directory":"\"s3://bucket/job/source/sourcedir.tar.gz\""}', False),
        (r'{"a":"1", "sagemaker_submit_directory": "\"/opt/ml/input/data/code/sourcedir.tar.gz\""}', False),
        (r'{"sagemaker_submit_directory":"s3://bucket/sourcedir.tar.gz"}', False),
        (r'{"sagemaker_submit_directory":"\"/opt/ml/code\""}', True),
        (r'{"sagemaker_program":"\"cifar10/train_horovod.py\""}', True),
        ("{}", True),
    ],
)
def test_source_of_a_jobs_own_takes_the_place_of_the_images_code(hyperparameters: str, left: bool) -> None:
    CONFIG.mkdir(parents=True)
    (CONFIG / "hyperparameters.json").write_text(hyperparameters)

    started = start("train")

    assert any(CODE.iterdir()) is left
    assert started == "started train"


@pytest.mark.parametrize("command", [["bash"], ["train"]])
def test_without_a_job_the_code_stays_and_the_command_starts(command: list[str]) -> None:
    assert start(*command) == f"started {command[0]}"
    assert any(CODE.iterdir())


def start(*command: str) -> str:
    """What the entrypoint starts, told by a base entrypoint that only says so."""
    environment = {"PATH": "/usr/bin:/bin", "HOMEPORT_BASE_ENTRYPOINT": "echo started"}
    program = ["/usr/local/bin/homeport-entrypoint", *command]
    return subprocess.run(program, env=environment, capture_output=True, text=True, check=True).stdout.strip()
