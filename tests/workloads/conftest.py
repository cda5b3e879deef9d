"""The training programs: in one container by mpirun, where only what they compute matters, and as jobs."""

from __future__ import annotations

import csv
import io
import json
import os
import shlex
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.containers import Container

from local_mode.docker_engine import DockerEngine
from local_mode.engine_address import find_engine
from tests.container.conftest import ROOT, TENSORFLOW, Shell
from training_job.errors import NoEngine

IMAGE = os.environ.get("HOMEPORT_TEST_IMAGE", TENSORFLOW)
CIFAR10 = ROOT / "entrypoints" / "cifar10"
MASK_RCNN = ROOT / "entrypoints" / "mask_rcnn"


@dataclass(frozen=True)
class Trained:
    """How a script ended, and what it left in its output directory."""

    code: int
    log: str
    files: dict[str, bytes]

    @property
    def steps(self) -> list[list[float]]:
        """Number, loss and learning rate of every step."""
        rows = csv.reader(io.StringIO(self.files["steps.csv"].decode()))
        return [[float(value) for value in row] for row in rows if row[0] != "step"]

    @property
    def losses(self) -> list[float]:
        """The loss of every step."""
        return [loss for _, loss, _ in self.steps]

    @property
    def epochs(self) -> list[dict[str, str]]:
        """The metrics of every epoch."""
        return list(csv.DictReader(io.StringIO(self.files["epochs.csv"].decode())))

    @property
    def ranks(self) -> list[dict[str, Any]]:
        """Each rank's own report."""
        found = (json.loads(content) for name, content in self.files.items() if name.startswith("ranks/"))
        return sorted(found, key=lambda report: report["rank"])


Train = Callable[..., Trained]


@pytest.fixture(scope="session")
def client() -> Iterator[docker.DockerClient]:
    """The engine; without one, or without the image, a laptop skips and CI fails."""
    try:
        DockerEngine.connect()
    except NoEngine as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    client = docker.DockerClient(base_url=find_engine(os.environ, Path.home()).address, version="auto")
    assert client.images.list(IMAGE), f"{IMAGE} is not built: make image"
    yield client
    client.close()


@pytest.fixture(scope="session")
def fsx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that stands for an FSx."""
    return tmp_path_factory.mktemp("fsx")


@pytest.fixture(scope="session")
def digits(fsx: Path) -> Path:
    """The handwritten digits on the FSx."""
    return _prepared(CIFAR10, fsx / "cifar10", "--source", "digits")


@pytest.fixture(scope="session")
def shapes(fsx: Path) -> Path:
    """The drawn shapes on the FSx."""
    return _prepared(MASK_RCNN, fsx / "coco", "--sample")


def _prepared(program: Path, directory: Path, *arguments: str) -> Path:
    prepare = [sys.executable, program / "prepare.py", directory, *arguments]
    subprocess.run(prepare, check=True, stdout=subprocess.DEVNULL)
    return directory


@pytest.fixture(scope="session")
def container(client: docker.DockerClient, fsx: Path) -> Iterator[Container]:
    """The image, with the scripts as they are here and the FSx under /data."""
    mounts = {str(fsx): {"bind": "/data", "mode": "ro"}, str(CIFAR10.parent): {"bind": "/code", "mode": "ro"}}
    options = {"network_mode": "none", "init": True, "detach": True, "volumes": mounts, "entrypoint": ""}
    running = client.containers.run(IMAGE, "sleep infinity", **options)
    try:
        yield running
    finally:
        running.remove(force=True)


@pytest.fixture(scope="session")
def train(container: Container, digits: Path) -> Train:
    """Run a CIFAR-10 script."""
    return _runner(container, CIFAR10, digits)


@pytest.fixture(scope="session")
def train_mask_rcnn(container: Container, shapes: Path) -> Train:
    """Run a Mask R-CNN script."""
    return _runner(container, MASK_RCNN, shapes)


def _runner(container: Container, program: Path, data: Path) -> Train:
    """Run a script on so many ranks, without the toolkit: what it computes is the same."""
    number = iter(range(1000))

    def run(
        script: str,
        *,
        ranks: int = 1,
        folder: str = "",
        launcher: str = "",
        kill_at: str | None = None,
        **arguments: object,
    ) -> Trained:
        out = f"/tmp/{program.name}-{folder or f'run-{next(number)}'}"
        given = {
            "train": f"/data/{data.name}/train",
            "validation": f"/data/{data.name}/validation",
            "model-dir": f"{out}/model",
            "output-data-dir": f"{out}/output",
            "checkpoint-dir": f"{out}/checkpoints",
            **{name.replace("_", "-"): value for name, value in arguments.items()},
        }
        words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
        mpirun = f"mpirun --oversubscribe -np {ranks} -mca btl_vader_single_copy_mechanism none {launcher}"
        command = [*shlex.split(mpirun if ranks > 1 or launcher else ""), "python", "-m", "mpi4py", script, *words]
        if kill_at:
            ready = f"until [ -e {out}/checkpoints/{kill_at}.index ] || ! kill -0 $!; do sleep 0.1; done"
            command = ["bash", "-c", f"{shlex.join(command)} & {ready}; pkill -KILL -n -f {script}; wait $!"]
        environment = {"TF_CPP_MIN_LOG_LEVEL": "1"}
        done = container.exec_run(command, workdir=f"/code/{program.name}", environment=environment)
        return Trained(done.exit_code, done.output.decode(errors="replace"), _files(container, f"{out}/output"))

    return run


def _files(container: Container, directory: str) -> dict[str, bytes]:
    try:
        chunks, _ = container.get_archive(f"{directory}/.")
    except docker.errors.NotFound:
        return {}
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
        members = ((member.name.removeprefix("./"), archive.extractfile(member)) for member in archive)
        return {name: content.read() for name, content in members if content is not None}


@pytest.fixture
def place(container: Container, tmp_path: Path, digits: Path) -> Shell:
    """A folder in which jobs are run, the digits on its FSx."""
    return place_of(container, tmp_path, digits.parent)


@pytest.fixture
def place_of_shapes(container: Container, tmp_path: Path, shapes: Path) -> Shell:
    """A folder in which jobs are run, the shapes on its FSx."""
    return place_of(container, tmp_path, shapes.parent)


def place_of(container: Container, folder: Path, fsx: Path) -> Shell:
    """A folder in which jobs are run, and what is its FSx."""
    shell = Shell(folder, container.attrs["Config"]["Image"])
    (folder / "homeport.toml").write_text(f'[local.file_systems.training-data]\nmount_name = "fsx"\npath = "{fsx}"\n')
    return shell
