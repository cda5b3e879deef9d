"""The training programs: in one container by mpirun, where only what they compute matters, and as jobs."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import re
import shlex
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.containers import Container

from container_engine.address import find_engine
from local_mode.docker_engine import DockerEngine
from tests.container.conftest import PYTORCH, ROOT, TENSORFLOW, Shell, wait_for
from training_job.errors import NoEngine

IMAGE = os.environ.get("HOMEPORT_TEST_IMAGE", TENSORFLOW)
CIFAR10 = ROOT / "entrypoints" / "cifar10"
MASK_RCNN = ROOT / "entrypoints" / "mask_rcnn"
PETS = ROOT / "entrypoints" / "pets"
MPIRUN = "mpirun --oversubscribe -np {ranks} -mca btl_vader_single_copy_mechanism none"
# A rank that a launcher started is found by its variable, a script alone by being the shell's last child.
KILL_RANK = (
    "kill -KILL $(grep -lzxE '(OMPI_COMM_WORLD_)?RANK={}' /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3 || true)"
)
KILL_LAST_RANK = f"{KILL_RANK} 2>/dev/null || kill -KILL $!"


@dataclass(frozen=True)
class Trained:
    """How a script ended, the folder it wrote to, and what it left in its output directory."""

    code: int
    log: str
    folder: str
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
    """The engine; without one a laptop skips and CI fails."""
    try:
        DockerEngine.connect()
    except NoEngine as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    client = docker.DockerClient(base_url=find_engine(os.environ, Path.home()).address, version="auto")
    yield client
    client.close()


@pytest.fixture(scope="session")
def fsx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that stands for an FSx; what is on it is in folders called as the programs are."""
    return tmp_path_factory.mktemp("fsx")


@pytest.fixture(scope="session")
def digits(fsx: Path) -> Path:
    """An FSx that has the handwritten digits."""
    return _prepared(CIFAR10, fsx, "--source", "digits")


@pytest.fixture(scope="session")
def shapes(fsx: Path) -> Path:
    """An FSx that has the drawn shapes."""
    return _prepared(MASK_RCNN, fsx, "--sample")


@pytest.fixture(scope="session")
def sample(fsx: Path) -> Path:
    """An FSx that has the drawn pets."""
    return _prepared(PETS, fsx, "--sample")


def _prepared(scripts: Path, fsx: Path, *arguments: str) -> Path:
    prepare = [sys.executable, scripts / "prepare.py", fsx / scripts.name, *arguments]
    subprocess.run(prepare, check=True, stdout=subprocess.DEVNULL)
    return fsx


@pytest.fixture(scope="session")
def container(client: docker.DockerClient, fsx: Path) -> Iterator[Container]:
    """The TensorFlow image, with the scripts as they are here and the FSx under /data."""
    with _running(client, IMAGE, fsx) as running:
        yield running


@pytest.fixture(scope="session")
def pytorch(client: docker.DockerClient, fsx: Path) -> Iterator[Container]:
    """The PyTorch image, with the scripts as they are here and the FSx under /data."""
    with _running(client, PYTORCH, fsx) as running:
        yield running


@contextmanager
def _running(client: docker.DockerClient, image: str, fsx: Path) -> Iterator[Container]:
    assert client.images.list(image), f"{image} is not built: make images"
    mounts = {str(fsx): {"bind": "/data", "mode": "ro"}, str(CIFAR10.parent): {"bind": "/entrypoints", "mode": "ro"}}
    options = {"network_mode": "none", "init": True, "detach": True, "volumes": mounts, "entrypoint": ""}
    running = client.containers.run(image, "sleep infinity", **options)
    try:
        yield running
    finally:
        running.remove(force=True)


@pytest.fixture(scope="session")
def train(container: Container, digits: Path) -> Train:  # noqa: ARG001 - the data that it trains on
    """Run a CIFAR-10 script on so many ranks, without the toolkit: what it computes is the same."""
    return _trainer(container, CIFAR10.name)


@pytest.fixture(scope="session")
def train_mask_rcnn(container: Container, shapes: Path) -> Train:  # noqa: ARG001 - the data that it trains on
    """Run a Mask R-CNN script on so many ranks, without the toolkit."""
    return _trainer(container, MASK_RCNN.name)


@pytest.fixture(scope="session")
def train_pets(pytorch: Container, sample: Path) -> Train:  # noqa: ARG001 - the data that it trains on
    """Run a Pets script on so many ranks, without the toolkit."""
    return _trainer(pytorch, PETS.name)


def _trainer(container: Container, program: str) -> Train:
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
        out = f"/tmp/{program}-{folder or f'run-{next(number)}'}"
        given = {
            "train": f"/data/{program}/train",
            "validation": f"/data/{program}/validation",
            "model-dir": f"{out}/model",
            "output-data-dir": f"{out}/output",
            "checkpoint-dir": f"{out}/checkpoints",
            **{name.replace("_", "-"): value for name, value in arguments.items()},
        }
        words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
        command = [*_launch(launcher, ranks), script, *words]
        if kill_at:
            ready = f"until [ -e {out}/checkpoints/{kill_at} ] || ! kill -0 $!; do sleep 0.1; done"
            command = ["bash", "-c", f"{shlex.join(command)} & {ready}; {KILL_LAST_RANK.format(ranks - 1)}; wait $!"]
        environment = {"TF_CPP_MIN_LOG_LEVEL": "1"}
        done = container.exec_run(command, workdir=f"/entrypoints/{program}", environment=environment)
        return Trained(done.exit_code, done.output.decode(errors="replace"), out, _files(container, f"{out}/output"))

    return run


def _launch(launcher: str, ranks: int) -> list[str]:
    """What stands before a script: torchrun, or mpirun with smddprun or nothing between it and Python."""
    if launcher == "torchrun":
        return ["torchrun", "--nproc_per_node", str(ranks)]
    mpirun = f"{MPIRUN.format(ranks=ranks)} {launcher}" if ranks > 1 or launcher else ""
    return [*shlex.split(mpirun), "python", "-m", "mpi4py"]


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
    return place_of(container, tmp_path, digits)


@pytest.fixture
def place_of_shapes(container: Container, tmp_path: Path, shapes: Path) -> Shell:
    """A folder in which jobs are run, the shapes on its FSx."""
    return place_of(container, tmp_path, shapes)


@pytest.fixture
def pets_place(pytorch: Container, tmp_path: Path, sample: Path) -> Shell:
    """A folder in which jobs are run, the drawn pets on its FSx."""
    return place_of(pytorch, tmp_path, sample)


def fails_by_name_when_killed(place: Shell, client: docker.DockerClient, job: Path, *arguments: str) -> None:
    """Kill rank 1 of a job's two, once it has written the checkpoint of one of its first steps or epochs."""
    name, process = place.begin(job, "--virtual-gpus", "2", *arguments)
    number = random.randint(1, 3)
    host = f"homeport-{name}-algo-1"
    # That one or a later: the last three are kept.
    written = f"ls /opt/ml/checkpoints | grep -E '^(step|epoch)-0*([{number}-9]|[1-9][0-9]+)[.]'"
    wait_for(lambda: _runs(client, host, written), 300, every=0.5)

    assert _runs(client, host, KILL_RANK.format(1))
    ran = place.end(name, process)

    reason = ran.description["FailureReason"]
    assert (ran.code, ran.description["TrainingJobStatus"]) == (1, "Failed")
    # mpirun's words, or those of the scripts that torchrun starts.
    assert re.search(r"process rank 1 .*signal 9 \(Killed\)|rank 1 is gone", reason, re.DOTALL), reason


def _runs(client: docker.DockerClient, host: str, command: str) -> bool:
    """Whether a command succeeds in a container, which may not have started yet."""
    try:
        return bool(client.containers.get(host).exec_run(["bash", "-c", command]).exit_code == 0)
    except docker.errors.APIError:
        return False


def place_of(container: Container, folder: Path, data: Path) -> Shell:
    shell = Shell(folder, container.attrs["Config"]["Image"])
    (folder / "homeport.toml").write_text(f'[local.file_systems.training-data]\nmount_name = "fsx"\npath = "{data}"\n')
    return shell
