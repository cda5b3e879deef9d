"""What a job's image is called here, in the account's registry and to SageMaker. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from cloud.account import Account
from cloud.dlc import Registry
from training_job.errors import AccountCannot, Fault, JobRefused
from training_job.instance_types import instance_type
from training_job.model import TrainingJob

# CreateRepository's pattern and length of repositoryName, and what a tag may be (API: ECR, imageTag).
_REPOSITORY = re.compile(r"(?:[a-z0-9]+(?:[._-][a-z0-9]+)*/)*[a-z0-9]+(?:[._-][a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_CONTENT = 12
"""Digits of the image's id in its tag: as many as `docker images` shows."""


@dataclass(frozen=True)
class Name:
    """An image's name in its parts. `host` is empty where it names no registry."""

    host: str
    repository: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> Name:
        """As the engine reads it: what stands before the first slash is a registry if it has a dot or a port."""
        named, _, digest = text.partition("@")
        first, slash, rest = named.partition("/")
        host = first if slash and (first == "localhost" or "." in first or ":" in first) else ""
        path, _, tag = (rest if host else named).partition(":")
        return cls(host, path, tag, digest)


@dataclass(frozen=True)
class LocalImage:
    """An image on the engine. `id` is `sha256:…`, `version` its label org.opencontainers.image.version, size bytes."""

    name: str
    id: str
    version: str
    size: int


@dataclass(frozen=True)
class RegistryImage:
    """An image in a registry: by digest it stays what it is, whatever becomes of its tag."""

    host: str
    repository: str
    tag: str
    digest: str
    id: str
    """The engine's id of the image, `sha256:…`: what a run here says it ran."""

    @property
    def by_digest(self) -> str:
        """`host/repository@sha256:…`, as SageMaker is sent it."""
        return f"{self.host}/{self.repository}@{self.digest}"

    @property
    def by_tag(self) -> str:
        """The same for people."""
        return f"{self.host}/{self.repository}:{self.tag}"


class TagTaken(AccountCannot):
    """The tag belongs to another image, and the repository's tags do not change."""


@dataclass(frozen=True)
class SignIn:
    """What a registry lets in. Never written to a disk: the engine is handed it with each request."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class Destination:
    """Where an account's images go: its registry, and the host that has it."""

    registry: Registry
    host: str


def destination_of(account: Account) -> Destination:
    """The registry that homeport.toml names, by its own region and account, else the account's own in its region."""
    named = Registry.of(account.registry) if account.registry else None
    registry = named or Registry(account.account_id, account.region)
    return Destination(registry, account.registry or registry.host)


def local_name(job: TrainingJob) -> str:
    """What the job's image is called on the engine: homeport's own without a tag is for the instances' kind.

    Raises JobRefused where the job has no image of its own, but one of SageMaker's algorithms.
    """
    image = job.algorithm_specification.training_image
    if image is None:
        what = "names one of SageMaker's algorithms, which has no image to send"
        raise JobRefused(job.training_job_name, [Fault("AlgorithmSpecification.AlgorithmName", what)])
    name = Name.parse(str(image))
    if name.host or name.tag or name.digest or not name.repository.startswith("homeport/"):
        return str(image)
    has_gpus = any(instance_type(group.instance_type).gpus != 0 for group in job.instance_groups)
    return f"{image}:{'gpu' if has_gpus else 'cpu'}"


def is_in_a_registry(name: str) -> bool:
    """Whether the name is an image of an ECR registry already, which SageMaker takes from there."""
    return Registry.of(name) is not None


def is_taken_as_named(job: TrainingJob) -> bool:
    """Whether SageMaker has the image from elsewhere: an algorithm of its own, or a private registry in the VPC."""
    algorithm = job.algorithm_specification
    config = algorithm.training_image_config
    return algorithm.training_image is None or (config is not None and config.training_repository_access_mode == "Vpc")


def is_image(found: RegistryImage, image: LocalImage) -> bool:
    """Whether what the registry has is this image. Engines that keep images as registries do call it by its digest."""
    return image.id in (found.id, found.digest)


def repository_of(name: str) -> str:
    """The repository for an image, called as the image is. Raises JobRefused for a name that ECR does not take."""
    repository = Name.parse(name).repository
    if not (_REPOSITORY.fullmatch(repository) and 2 <= len(repository) <= 256):
        what = f"{repository!r} is no repository of ECR: small letters and digits, parted by single . _ - or /"
        raise JobRefused(name, [Fault("image", what)])
    return repository


def tag_of(image: LocalImage) -> str:
    """The version and the content: `0.1.0-ab12cd34ef56`. An image without a version has its own tag, or none.

    Another content never has the same tag, so tags need not change.
    """
    content = image.id.removeprefix("sha256:")[:_CONTENT]
    version = re.sub(r"[^A-Za-z0-9_.-]", "-", image.version or Name.parse(image.name).tag).lstrip(".-")[:100]
    return f"{version}-{content}" if version else content


def checked_tag(asked: str) -> str:
    """A tag that a person asks for. Raises JobRefused for what is none."""
    if not _TAG.fullmatch(asked):
        what = f"{asked!r} is no tag: up to 128 letters, digits, _ . and -, the first neither . nor -"
        raise JobRefused("the command", [Fault("--tag", what)])
    return asked


def checked_digest(digest: str, where: str) -> str:
    """The digest. Raises AccountCannot for what is none."""
    if not _DIGEST.fullmatch(digest):
        raise AccountCannot(f"{where}: {digest!r} is no digest of an image. Push it again: homeport-cloud push JOB")
    return digest
