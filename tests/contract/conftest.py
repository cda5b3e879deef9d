"""What others say: botocore's model of the service, SageMaker's own toolkit, a real container engine."""

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel
from docker import APIClient
from docker.errors import ImageNotFound

from container_engine.address import find_engine
from local_mode.docker_engine import DockerEngine
from tests.s3_server import Served, moto_s3, rclone_s3
from training_job.errors import NoEngine

ROOT = Path(__file__).parents[2]
BASE_IMAGE = "homeport/debian:bookworm"
IMAGE = "homeport-test/contract:1"

# Does what its environment asks; tests.fakes.Script.by_environment does the same without a container.
_TRAIN = b"""#!/bin/sh
i=0
while [ "$i" -lt "${TIMES:-1}" ]; do printf '%s' "${SAY-}"; i=$((i + 1)); done
[ -z "${MODEL+x}" ] || printf '%s' "$MODEL" > /opt/ml/model/weights
[ -z "${FAILURE+x}" ] || printf '%s' "$FAILURE" > /opt/ml/output/failure
case "${HANG-}" in
    "until SIGTERM") trap 'exit 143' TERM; sleep infinity & wait ;;
    "until SIGKILL") exec sleep infinity ;;
esac
exit "${EXIT:-0}"
"""


@pytest.fixture(scope="session")
def service() -> ServiceModel:
    """SageMaker's service model."""
    return ServiceModel(Loader().load_service_model("sagemaker", "service-2"), "sagemaker")


@pytest.fixture(scope="session")
def toolkit() -> Path:
    """The source of sagemaker-training in the version the images carry. Only read: installing it takes a compiler."""
    versions = dict(
        line.split("=", 1) for line in (ROOT / "docker/versions.env").read_text().splitlines() if "=" in line
    )
    version = versions["SAGEMAKER_TRAINING_VERSION"]
    source = ROOT / f".cache/toolkits/sagemaker_training-{version}"
    if not source.is_dir():
        fetched = subprocess.run(
            [
                sys.executable,
                "-m",
                "pip",
                "download",
                "--no-deps",
                "--no-binary=:all:",
                f"sagemaker-training=={version}",
            ],
            cwd=_made(source.parent),
            capture_output=True,
            text=True,
            check=False,
        )
        if fetched.returncode != 0:
            _cannot(f"sagemaker-training {version} cannot be had: {fetched.stderr.strip()[-300:]}")
        with tarfile.open(f"{source}.tar.gz") as archive:
            archive.extractall(source.parent, filter="data")
    return source / "src"


@pytest.fixture(scope="session")
def docker_engine() -> DockerEngine:
    """The engine that answers."""
    try:
        return DockerEngine.connect()
    except NoEngine as error:
        _cannot(str(error))


@pytest.fixture(scope="session")
def docker_api(docker_engine: DockerEngine) -> Iterator[APIClient]:  # noqa: ARG001 - skips where none answers
    """The same engine, to look at what was made there."""
    api = APIClient(base_url=find_engine(os.environ, Path.home()).address, version="auto")
    yield api
    api.close()


@pytest.fixture(scope="session")
def image(docker_engine: DockerEngine) -> Iterator[str]:  # noqa: ARG001 - nothing is built where no engine answers
    """A tiny training image, gone afterwards."""
    api = APIClient(base_url=find_engine(os.environ, Path.home()).address, version="auto")
    try:
        api.inspect_image(BASE_IMAGE)
    except ImageNotFound:
        _cannot(f"{BASE_IMAGE} is not here: docker/base.sh makes it")
    dockerfile = f"FROM {BASE_IMAGE}\nCOPY train /usr/local/bin/train\n".encode()
    for step in api.build(fileobj=_context(dockerfile), custom_context=True, tag=IMAGE, rm=True, decode=True):
        assert "error" not in step, step
    yield IMAGE
    api.remove_image(IMAGE, force=True)


@pytest.fixture(scope="session")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """rclone's S3. Give each test a bucket of its own."""
    with rclone_s3(tmp_path_factory.mktemp("rclone")) as served:
        yield served


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """The URL of moto's S3. Give each test a bucket of its own."""
    with moto_s3() as url:
        yield url


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _context(dockerfile: bytes) -> io.BytesIO:
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        for name, content in (("Dockerfile", dockerfile), ("train", _TRAIN)):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
    context.seek(0)
    return context


def _cannot(why: str) -> NoReturn:
    """A laptop may lack what these tests need; CI may not."""
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)
