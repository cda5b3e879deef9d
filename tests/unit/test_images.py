"""What a job's image is called on the engine, in the registry, and to SageMaker."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from cloud.account import Account
from cloud.dlc import Registry
from cloud.images import (
    Destination,
    LocalImage,
    Name,
    RegistryImage,
    checked_tag,
    destination_of,
    is_image,
    is_taken_as_named,
    local_name,
    repository_of,
    tag_of,
)
from training_job.errors import JobRefused
from training_job.job_file import read_job
from training_job.model import TrainingJob

ID = f"sha256:{'ab12cd34ef56' * 5}abcd"
DIGEST = f"sha256:{'0' * 64}"


def a_job(folder: Path, image: str, instance: str = "ml.m5.large", more: str = "") -> TrainingJob:
    file = folder / "job.toml"
    file.write_text(f'name = "job"\nimage = "{image}"\ninstance_type = "{instance}"\n{more}')
    return read_job(file, now=datetime(2026, 11, 21, tzinfo=UTC), region="us-west-2")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("homeport/tensorflow", Name("", "homeport/tensorflow")),
        ("homeport/tensorflow:cpu", Name("", "homeport/tensorflow", "cpu")),
        ("127.0.0.1:5000/team/image:1", Name("127.0.0.1:5000", "team/image", "1")),
        ("localhost/image", Name("localhost", "image")),
        (f"registry.example.org/image:1@{DIGEST}", Name("registry.example.org", "image", "1", DIGEST)),
        (f"image@{DIGEST}", Name("", "image", "", DIGEST)),
    ],
)
def test_a_name_is_read_as_the_engine_reads_it(text: str, name: Name) -> None:
    assert Name.parse(text) == name


@pytest.mark.parametrize(
    ("image", "instance", "here"),
    [
        ("homeport/tensorflow", "ml.m5.large", "homeport/tensorflow:cpu"),
        ("homeport/tensorflow", "ml.p3.16xlarge", "homeport/tensorflow:gpu"),
        ("homeport/tensorflow:cpu", "ml.p3.16xlarge", "homeport/tensorflow:cpu"),
        ("team/image", "ml.p3.16xlarge", "team/image"),
    ],
)
def test_homeports_own_image_without_a_tag_is_for_the_instances(
    tmp_path: Path, image: str, instance: str, here: str
) -> None:
    assert local_name(a_job(tmp_path, image, instance)) == here


@pytest.mark.parametrize(
    ("version", "name", "tag"),
    [
        ("0.1.0", "homeport/tensorflow:cpu", "0.1.0-ab12cd34ef56"),
        ("", "team/image:mine", "mine-ab12cd34ef56"),
        ("", "team/image", "ab12cd34ef56"),
        ("1.0+local", "team/image", "1.0-local-ab12cd34ef56"),
        ("-x" * 90, "team/image", f"{('-x' * 90).lstrip('-')[:100]}-ab12cd34ef56"),
    ],
)
def test_a_tag_is_the_version_and_the_content(version: str, name: str, tag: str) -> None:
    assert tag_of(LocalImage(name, ID, version, 1)) == tag


def test_a_tag_that_is_asked_for_is_taken_as_it_is() -> None:
    assert checked_tag("mine") == "mine"


@pytest.mark.parametrize("tag", ["", ".x", "-x", "a b", "a/b", "x" * 129])
def test_what_is_no_tag_is_refused(tag: str) -> None:
    with pytest.raises(JobRefused, match="is no tag"):
        checked_tag(tag)


@pytest.mark.parametrize("name", ["a", "Team/image", "team//image", "team/-image", "x" * 257])
def test_what_ecr_takes_for_no_repository_is_refused(name: str) -> None:
    with pytest.raises(JobRefused, match="is no repository of ECR"):
        repository_of(name)


def test_a_repository_is_called_as_the_image_is() -> None:
    assert repository_of("registry.example.org:5000/team/image:1") == "team/image"


@pytest.mark.parametrize(
    ("registry", "destination"),
    [
        ("", Destination(Registry("123456789012", "cn-north-1"), "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn")),
        ("127.0.0.1:5000", Destination(Registry("123456789012", "cn-north-1"), "127.0.0.1:5000")),
        (
            "210987654321.dkr.ecr.eu-west-1.amazonaws.com",
            Destination(Registry("210987654321", "eu-west-1"), "210987654321.dkr.ecr.eu-west-1.amazonaws.com"),
        ),
    ],
)
def test_images_go_to_the_registry_that_is_named_or_the_accounts_own(registry: str, destination: Destination) -> None:
    account = Account("123456789012", "cn-north-1", "arn:aws-cn:iam::123456789012:role/r", "b", registry=registry)

    assert destination_of(account) == destination


def test_sagemaker_is_sent_the_image_by_its_digest() -> None:
    image = RegistryImage("host", "team/image", "1", DIGEST, ID)

    assert image.by_digest == f"host/team/image@{DIGEST}"
    assert image.by_tag == "host/team/image:1"


@pytest.mark.parametrize(("identifier", "same"), [(ID, True), (DIGEST, True), (f"sha256:{'1' * 64}", False)])
def test_an_image_is_known_by_its_configuration_or_by_its_digest(identifier: str, same: bool) -> None:
    found = RegistryImage("host", "team/image", "1", DIGEST, ID)

    assert is_image(found, LocalImage("team/image", identifier, "", 1)) is same


def test_an_image_of_a_private_registry_in_the_vpc_is_taken_as_it_is_named(tmp_path: Path) -> None:
    config = "[request.AlgorithmSpecification.TrainingImageConfig]\nTrainingRepositoryAccessMode = 'Vpc'\n"

    assert is_taken_as_named(a_job(tmp_path, "registry.example.org/image:1", more=config))
    assert not is_taken_as_named(a_job(tmp_path, "registry.example.org/image:1"))
