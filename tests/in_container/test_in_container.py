"""Run the tests of inside/ by a pytest in the training image, and show each of them as a test here.

The image is taken as it is: pytest is carried in from this process's own environment and mounted beside it.
"""

import ast
import os
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import docker
import pytest
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

from container_engine.address import find_engine

IMAGE = "homeport/tensorflow:cpu"
ROOT = Path(__file__).parents[2]
INSIDE = Path(__file__).with_name("inside")
HOST_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
CARRIED_IN = ("pytest", "pluggy", "iniconfig", "packaging", "pygments")
# Appended, so that the image's own packages come first.
RUN_PYTEST = "import sys; sys.path.append('/pytest'); import pytest; sys.exit(pytest.main())"
OPTIONS = "-p no:cacheprovider --rootdir=/inside --tb=short --junit-xml=/tmp/results.xml -o junit_family=xunit1"


def inner_tests() -> list[str]:
    """Their names, read without importing them: they import what only the image has."""
    return [
        f"{path.stem}.{node.name}"
        for path in sorted(INSIDE.glob("test_*.py"))
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
def results(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[ET.Element]]:
    """Per inner test its cases, as junit describes them."""
    carried = tmp_path_factory.mktemp("pytest")
    for name in CARRIED_IN:
        carry(name, carried)
    image = str(engine.images.get(IMAGE).id)
    container = DockerContainer(image).with_command("sleep infinity").with_kwargs(network_mode="none", init=True)
    for source, target in {INSIDE: "/inside", ROOT / "docker": "/docker", carried: "/pytest"}.items():
        container.with_volume_mapping(str(source), target, "ro")
    if HOST_CERTIFICATES.exists():
        container.with_volume_mapping(str(HOST_CERTIFICATES), "/host-certificates.pem", "ro")
    with container:
        run = container.exec(["python", "-c", RUN_PYTEST, *OPTIONS.split(), "/inside"])
        junit = container.exec(["cat", "/tmp/results.xml"])
    assert junit.exit_code == 0, run.output.decode()
    cases: dict[str, list[ET.Element]] = {}
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


@pytest.mark.parametrize("inner_test", inner_tests())
def test_inside_the_training_image(inner_test: str, results: dict[str, list[ET.Element]]) -> None:
    cases = results.get(inner_test, [])
    faults = [(case, fault) for case in cases for fault in case if fault.tag in {"failure", "error"}]

    assert cases, f"{inner_test} did not run"
    if faults:
        pytest.fail("\n".join(f"{case.get('name')}\n{fault.text}" for case, fault in faults), pytrace=False)
    if skipped := [skip.get("message") for case in cases if (skip := case.find("skipped")) is not None]:
        pytest.skip("; ".join(filter(None, skipped)))


def test_no_inner_test_runs_unseen(results: dict[str, list[ET.Element]]) -> None:
    assert sorted(results) == sorted(inner_tests())


def test_the_image_says_what_it_was_made_from(engine: docker.DockerClient) -> None:
    image = engine.images.get(IMAGE)
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in image.labels.items()}
    base = engine.images.get(labels["base.name"])

    assert labels["version"]
    assert labels["revision"]
    assert labels["base.digest"] in {base.id, *(digest.partition("@")[2] for digest in base.attrs["RepoDigests"])}


def test_the_image_starts_what_it_is_told_to_as_sagemaker_tells_it(engine: docker.DockerClient) -> None:
    config = engine.images.get(IMAGE).attrs["Config"]

    assert config["Entrypoint"] == ["/usr/local/bin/homeport-entrypoint"]
    assert config["Cmd"] == ["/bin/bash"]


def test_nothing_of_the_secret_that_the_build_got_is_in_its_history(engine: docker.DockerClient) -> None:
    told = " ".join(layer["CreatedBy"] for layer in engine.images.get(IMAGE).history())

    assert "CERTIFICATE" not in told
    assert "://" not in told
