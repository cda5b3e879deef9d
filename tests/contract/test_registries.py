"""Images are pulled from private registries as the engine's CLI pulls them: a real registry on loopback."""

import io
import os
import tarfile
from collections.abc import Iterator

import pytest
from docker import APIClient
from docker.errors import ImageNotFound as NotThere

from local_mode.docker_engine import DockerEngine
from tests.registry import PASSWORD, Registry, registry, registry_program
from training_job.errors import ImageNotFound


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    program = registry_program()
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("docker-registry cannot be had")
        pytest.skip("docker-registry cannot be had: apt-get download docker-registry")
    with registry(program, tmp_path_factory.mktemp("registry")) as served:
        yield served


@pytest.fixture
def image(docker_api: APIClient, server: Registry) -> Iterator[str]:
    """An image that is in the registry and not here."""
    name = f"{server.address}/team/image"
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("file"))
    docker_api.import_image_from_data(content.getvalue(), repository=name, tag="1")
    steps = list(docker_api.push(name, "1", auth_config=server.sign_in, stream=True, decode=True))
    assert not [step for step in steps if "error" in step], steps
    docker_api.remove_image(f"{name}:1")
    yield f"{name}:1"
    for left in docker_api.images(name):
        docker_api.remove_image(left["Id"], force=True)


@pytest.mark.parametrize("how", ["signed_in", "with_helper"])
def test_an_image_is_pulled_with_the_docker_configs_sign_in(
    server: Registry, image: str, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(getattr(server, how)()))
    monkeypatch.setenv("PATH", f"{server.folder}:{os.environ['PATH']}")

    found = DockerEngine.connect().image(image)

    assert found.reference == image
    assert found.digest.startswith("sha256:")


def test_without_a_sign_in_it_is_said_how_to_sign_in(
    server: Registry, image: str, monkeypatch: pytest.MonkeyPatch, docker_api: APIClient
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(server.signed_out()))

    with pytest.raises(ImageNotFound, match=rf"basic auth.*docker login {server.address}") as error:
        DockerEngine.connect().image(image)

    assert PASSWORD not in str(error.value)
    with pytest.raises(NotThere):
        docker_api.inspect_image(image)  # type: ignore[no-untyped-call]


@pytest.mark.filterwarnings("ignore:docker-credential-homeport-test")
def test_a_credential_helper_that_is_not_there_is_named(
    server: Registry, image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(server.with_helper()))
    (server.folder / "docker-credential-homeport-test").unlink()

    with pytest.raises(ImageNotFound, match=r"credential helper fails.*docker-credential-homeport-test"):
        DockerEngine.connect().image(image)


def test_an_image_that_no_registry_has_is_not_found(server: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(server.signed_in()))

    with pytest.raises(ImageNotFound, match=r"cannot be pulled \(.*manifest unknown"):
        DockerEngine.connect().image(f"{server.address}/team/nothing:1")


def test_how_to_sign_in_to_ecr_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> Iterator[dict[str, str]]:
        yield {"error": "no basic auth credentials"}

    engine = DockerEngine.connect()
    monkeypatch.setattr(APIClient, "pull", denied)

    with pytest.raises(ImageNotFound, match=r"get-login-password --region eu-west-1 \| docker login -u AWS"):
        engine.image("123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/image:1")
