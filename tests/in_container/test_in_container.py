"""Run the tests of inside/ by a pytest in the TensorFlow image, those of inside_pytorch/ and what of inside/ is true of
every image in the PyTorch one, and show each of them as a test here.

An image is taken as it is: pytest is carried in from this process's own environment and mounted beside it.
"""

import ast
import functools
import os
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from importlib.metadata import distribution
from pathlib import Path

import docker
import pytest
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

from container_engine.address import find_engine

ROOT = Path(__file__).parents[2]
INSIDE = Path(__file__).with_name("inside")
INSIDE_PYTORCH = Path(__file__).with_name("inside_pytorch")
FILES = {
    "homeport/tensorflow:cpu": sorted(INSIDE.glob("test_*.py")),
    "homeport/pytorch:cpu": [
        *sorted(INSIDE_PYTORCH.glob("test_*.py")),
        INSIDE / "test_entrypoint.py",
        INSIDE / "test_hosts.py",
    ],
}
IMAGES = tuple(FILES)
HOST_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
CARRIED_IN = ("pytest", "pluggy", "iniconfig", "packaging", "pygments")
# Appended, so that the image's own packages come first.
RUN_PYTEST = "import sys; sys.path.append('/pytest'); import pytest; sys.exit(pytest.main())"
OPTIONS = "-p no:cacheprovider --rootdir=/tests --tb=short --junit-xml=/tmp/results.xml -o junit_family=xunit1"

Cases = dict[str, list[ET.Element]]


def inner_tests(image: str) -> list[str]:
    """Their names, read without importing them: they import what only the image has."""
    return [
        f"{path.stem}.{node.name}"
        for path in FILES[image]
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]


@pytest.fixture(scope="module")
def engine() -> Iterator[docker.DockerClient]:
    search = find_engine(os.environ, Path.home())
    if search.address is None:
        outcome = pytest.fail if os.environ.get("CI") else pytest.skip
        outcome("no container engine answers: run docker/engine.sh")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", search.address)
        # Its helper image would have to be pulled; the container here is stopped by a `with`.
        patch.setattr(testcontainers_config, "ryuk_disabled", True)
        client = docker.from_env()
        yield client
        client.close()


@pytest.fixture(scope="module")
def ran(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Cases]:
    """Run an image's tests once, when they are first asked for."""
    carried = tmp_path_factory.mktemp("pytest")
    for name in CARRIED_IN:
        carry(name, carried)
    return functools.cache(functools.partial(run_inside, engine, carried))


def run_inside(engine: docker.DockerClient, carried: Path, image: str) -> Cases:
    """Per inner test its cases, as junit describes them."""
    found = str(engine.images.get(image).id)
    container = DockerContainer(found).with_command("sleep infinity").with_kwargs(network_mode="none", init=True)
    mounts = {
        INSIDE: "/tests/inside",
        INSIDE_PYTORCH: "/tests/inside_pytorch",
        ROOT / "docker": "/docker",
        ROOT / "entrypoints": "/entrypoints",
        carried: "/pytest",
    }
    for source, target in mounts.items():
        container.with_volume_mapping(str(source), target, "ro")
    if HOST_CERTIFICATES.exists():
        container.with_volume_mapping(str(HOST_CERTIFICATES), "/host-certificates.pem", "ro")
    with container:
        files = [f"/tests/{path.parent.name}/{path.name}" for path in FILES[image]]
        run = container.exec(["python", "-c", RUN_PYTEST, *OPTIONS.split(), *files])
        junit = container.exec(["cat", "/tmp/results.xml"])
    assert junit.exit_code == 0, run.output.decode()
    cases: Cases = {}
    for case in ET.fromstring(junit.output).iter("testcase"):
        module = case.get("classname", "").rpartition(".")[2]
        cases.setdefault(f"{module}.{case.get('name', '').partition('[')[0]}", []).append(case)
    return cases


def carry(name: str, target: Path) -> None:
    """Copy an installed distribution, less its console scripts."""
    installed = distribution(name)
    for file in installed.files or ():
        if ".." not in file.parts and file.suffix != ".pyc":
            copy = target / file
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(str(installed.locate_file(file)), copy)


@pytest.mark.parametrize(("image", "inner_test"), [(image, test) for image in IMAGES for test in inner_tests(image)])
def test_inside_the_training_image(image: str, inner_test: str, ran: Callable[[str], Cases]) -> None:
    cases = ran(image).get(inner_test, [])
    faults = [(case, fault) for case in cases for fault in case if fault.tag in {"failure", "error"}]

    assert cases, f"{inner_test} did not run"
    if faults:
        pytest.fail("\n".join(f"{case.get('name')}\n{fault.text}" for case, fault in faults), pytrace=False)
    if skipped := [skip.get("message") for case in cases if (skip := case.find("skipped")) is not None]:
        pytest.skip("; ".join(filter(None, skipped)))


@pytest.mark.parametrize("image", IMAGES)
def test_no_inner_test_runs_unseen(image: str, ran: Callable[[str], Cases]) -> None:
    assert sorted(ran(image)) == sorted(inner_tests(image))


@pytest.mark.parametrize("image", IMAGES)
def test_the_image_says_what_it_was_made_from(engine: docker.DockerClient, image: str) -> None:
    built = engine.images.get(image)
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in built.labels.items()}
    base = engine.images.get(labels["base.name"])

    assert labels["title"] == image.partition(":")[0]
    assert labels["version"]
    assert labels["revision"]
    assert labels["base.digest"] in {base.id, *(digest.partition("@")[2] for digest in base.attrs["RepoDigests"])}


@pytest.mark.parametrize("image", IMAGES)
def test_the_image_starts_what_it_is_told_to_as_sagemaker_tells_it(engine: docker.DockerClient, image: str) -> None:
    config = engine.images.get(image).attrs["Config"]

    assert config["Entrypoint"] == ["/usr/local/bin/homeport-entrypoint"]
    assert config["Cmd"] == ["/bin/bash"]


@pytest.mark.parametrize("image", IMAGES)
def test_nothing_of_the_secret_that_the_build_got_is_in_its_history(engine: docker.DockerClient, image: str) -> None:
    told = " ".join(layer["CreatedBy"] for layer in engine.images.get(image).history())

    assert "CERTIFICATE" not in told
    assert "://" not in told
