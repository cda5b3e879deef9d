"""Which of SageMaker's images, in which account and registry, for every region."""

import subprocess
import sys
from pathlib import Path

import pytest

from cloud import dlc
from cloud.dlc import DeepLearningContainer, Registry, UnknownImage, image_uri, parse, public_uri, sign_in_command

SCRIPT = Path(dlc.__file__)
GPU = "763104351884.dkr.ecr.us-east-1.amazonaws.com/tensorflow-training:2.11.0-gpu-py39"


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("us-east-1", "763104351884.dkr.ecr.us-east-1.amazonaws.com"),
        ("eu-south-1", "692866216735.dkr.ecr.eu-south-1.amazonaws.com"),
        ("cn-north-1", "727897471807.dkr.ecr.cn-north-1.amazonaws.com.cn"),
        ("us-gov-west-1", "442386744353.dkr.ecr.us-gov-west-1.amazonaws.com"),
        ("us-iso-east-1", "886529160074.dkr.ecr.us-iso-east-1.c2s.ic.gov"),
        ("us-isob-east-1", "094389454867.dkr.ecr.us-isob-east-1.sc2s.sgov.gov"),
    ],
)
def test_a_region_has_its_account_and_its_partitions_domain(region: str, host: str) -> None:
    assert image_uri("tensorflow", "2.11.0", "cpu", region) == f"{host}/tensorflow-training:2.11.0-cpu-py39"


def test_a_minor_version_is_the_last_of_its_patches() -> None:
    assert image_uri("tensorflow", "2.11", "gpu", "us-east-1") == GPU
    assert image_uri("pytorch", "2.1", "gpu", "us-east-1").endswith(":2.1.0-gpu-py310")


@pytest.mark.parametrize("region", dlc.regions())
@pytest.mark.parametrize("framework", ["tensorflow", "pytorch"])
@pytest.mark.parametrize("device", dlc.DEVICES)
def test_every_name_says_what_it_was_made_of(framework: str, device: str, region: str) -> None:
    for version in dlc.versions(framework):
        found = parse(image_uri(framework, version, device, region))

        assert found is not None
        assert (found.framework, found.version, found.device) == (framework, version, device)
        assert found.registry == dlc.registry_of(region)


def test_the_long_form_of_a_tag_says_the_same() -> None:
    found = parse(f"{GPU}-cu112-ubuntu20.04-sagemaker")

    assert found == DeepLearningContainer(Registry("763104351884", "us-east-1"), "tensorflow", "2.11.0", "gpu", "py39")


@pytest.mark.parametrize(
    "name",
    ["homeport/tensorflow:cpu", GPU.replace("763104351884", "123456789012"), GPU.replace("training", "inference")],
)
def test_another_image_is_none_of_sagemakers(name: str) -> None:
    assert parse(name) is None


@pytest.mark.parametrize(
    ("host", "registry"),
    [
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com", Registry("123456789012", "eu-west-1")),
        ("123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com", Registry("123456789012", "us-gov-west-1")),
        ("123456789012.dkr-ecr.us-west-2.on.aws", Registry("123456789012", "us-west-2")),
        ("727897471807.dkr.ecr.cn-north-1.amazonaws.com.cn", Registry("727897471807", "cn-north-1")),
        ("886529160074.dkr.ecr.us-iso-east-1.c2s.ic.gov", Registry("886529160074", "us-iso-east-1")),
        ("public.ecr.aws", None),
        ("127.0.0.1:5000", None),
        ("12345.dkr.ecr.eu-west-1.amazonaws.com", None),
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com.example.org", None),
    ],
)
def test_a_registrys_host_says_its_account_and_region(host: str, registry: Registry | None) -> None:
    assert Registry.of(f"{host}/team/image:1") == registry


def test_the_gallery_has_the_listed_versions_and_no_other() -> None:
    public = "public.ecr.aws/deep-learning-containers/tensorflow-training:2.21.0-cpu-py312-sagemaker"

    assert public_uri("tensorflow", "2.21", "cpu") == public
    assert public_uri("tensorflow", "2.11", "gpu") is None


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (("mxnet", "1.9", "gpu", "us-east-1"), "mxnet.*tensorflow and pytorch"),
        (("tensorflow", "2.15", "gpu", "us-east-1"), "tensorflow 2.15.*2.14.1, 2.16.2"),
        (("tensorflow", "2.11", "tpu", "us-east-1"), "tpu.*cpu or gpu"),
        (("tensorflow", "2.11", "gpu", "us-west-9"), "us-west-9.*us-west-2"),
    ],
)
def test_what_there_is_not_is_told_with_what_there_is(asked: tuple[str, str, str, str], message: str) -> None:
    with pytest.raises(UnknownImage, match=message):
        image_uri(*asked)


def test_the_sign_in_is_for_the_images_own_region() -> None:
    host = "692866216735.dkr.ecr.eu-south-1.amazonaws.com"

    assert sign_in_command(f"{host}/tensorflow-training:2.11.0-gpu-py39") == (
        f"aws ecr get-login-password --region eu-south-1 | docker login --username AWS --password-stdin {host}"
    )
    assert sign_in_command("registry.example.org/team/image:1") == "docker login registry.example.org"


@pytest.mark.parametrize(
    ("words", "code", "out"),
    [
        (["tensorflow", "2.11.0", "gpu", "us-east-1"], 0, GPU),
        (["--sign-in", GPU], 0, sign_in_command(GPU)),
        (["tensorflow", "2.15", "gpu", "us-east-1"], 2, ""),
        (["tensorflow"], 2, ""),
    ],
)
def test_the_shell_is_answered_without_any_package(words: list[str], code: int, out: str) -> None:
    asked = subprocess.run([sys.executable, "-I", "-S", SCRIPT, *words], capture_output=True, text=True, check=False)

    assert (asked.returncode, asked.stdout.strip()) == (code, out)
    assert bool(asked.stderr) == bool(code)


def test_the_default_of_make_image_is_one_of_them() -> None:
    lines = (SCRIPT.parents[1] / "docker/versions.env").read_text().splitlines()
    versions = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))

    assert image_uri("tensorflow", versions["TENSORFLOW_GPU_VERSION"], "gpu", "us-east-1") == GPU
