"""The image that passed here, in the account's registry: sent once, and found again by what it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import sleep

from cloud.account import Account
from cloud.aws import Aws
from cloud.dlc import Registry
from cloud.engine_images import Dropped, EngineImages, SignInRefused
from cloud.images import (
    Destination,
    LocalImage,
    Name,
    RegistryImage,
    TagTaken,
    checked_tag,
    destination_of,
    is_image,
    is_in_a_registry,
    is_taken_as_named,
    local_name,
    repository_of,
    tag_of,
)
from cloud.registry import Ecr
from cloud.transfer_progress import TransferProgress
from training_job.errors import AccountCannot, Fault, JobRefused
from training_job.model import TrainingJob

PAUSES = (2.0, 8.0, 30.0)
"""Seconds before a push that broke off goes on; the engine has tried each layer five times by then."""


@dataclass(frozen=True)
class Pushed:
    """Where the image is, whether it had to be sent, and whether its repository had to be created."""

    image: RegistryImage
    sent: bool = False
    created: bool = False


def image_for(job: TrainingJob, account: Account, aws: Aws, engine: Callable[[], EngineImages]) -> RegistryImage | None:
    """The job's image in a registry; None where SageMaker has it from elsewhere, as it is named. Changes nothing.

    The registry is asked each time, so there is no record that could be out of date. `engine` connects to the engine,
    which is asked only for an image that no registry has by its name. Raises AccountCannot where it has not been
    pushed, ImageNotFound, NoEngine.
    """
    if is_taken_as_named(job):
        return None
    name = local_name(job)
    if is_in_a_registry(name):
        return _in_its_registry(name, aws)
    image = engine().find(name)
    ecr, repository, tag = Ecr.at(aws, destination_of(account)), repository_of(name), tag_of(image)
    found = ecr.find(repository, tag=tag)
    if found is None or not is_image(found, image):
        raise AccountCannot(
            f"image {name}: {ecr.host}/{repository} has no {tag}, which is what it is now. "
            "Send it there: homeport-cloud push JOB"
        )
    return found


def push_image(
    job: TrainingJob,
    account: Account,
    aws: Aws,
    engine: Callable[[], EngineImages],
    progress: TransferProgress,
    *,
    stack: str,
    tag: str | None = None,
    pauses: Sequence[float] = PAUSES,
) -> Pushed | None:
    """Send the job's image to the account's registry, unless it is there; None where it is taken as it is named.

    It goes there by its version and content, by which a job finds it; `tag` is one more name, for people. Raises
    ImageNotFound, NoEngine, TagTaken, SignInRefused, Dropped after the last of `pauses`, AccountCannot, JobRefused.
    """
    if tag is not None:
        checked_tag(tag)
    if is_taken_as_named(job):
        return None
    name = local_name(job)
    if is_in_a_registry(name):
        if tag is not None:
            raise JobRefused(name, [Fault("--tag", "is for an image that is sent; this one is in a registry already")])
        return Pushed(_in_its_registry(name, aws))
    images = engine()
    image = images.find(name)
    ecr, target = Ecr.at(aws, destination_of(account)), _Target(image, repository_of(name), tag_of(image))
    if tag is not None:
        # Before anything is created or sent.
        _found(ecr, replace(target, tag=tag))
    pushed = _once(ecr, target, images, progress, stack=stack, pauses=pauses)
    return replace(pushed, image=ecr.tag(pushed.image, tag)) if tag is not None else pushed


def _once(
    ecr: Ecr,
    target: _Target,
    images: EngineImages,
    progress: TransferProgress,
    *,
    stack: str,
    pauses: Sequence[float],
) -> Pushed:
    if found := _found(ecr, target):
        return Pushed(found)
    created = ecr.ensure_repository(target.repository, stack)
    return Pushed(_sent(ecr, target, images, progress, pauses), sent=True, created=created)


@dataclass(frozen=True)
class _Target:
    """Which image is to be where."""

    image: LocalImage
    repository: str
    tag: str


def _found(ecr: Ecr, target: _Target) -> RegistryImage | None:
    """The image, where the registry has it by this tag. Raises TagTaken where another has the tag."""
    found = ecr.find(target.repository, tag=target.tag)
    if found and not is_image(found, target.image):
        raise TagTaken(
            f"{found.by_tag} is another image than {target.image.name}: {found.digest}. Give another "
            "--tag, or remove it there: aws ecr batch-delete-image"
        )
    return found


def _sent(
    ecr: Ecr,
    target: _Target,
    images: EngineImages,
    progress: TransferProgress,
    pauses: Sequence[float],
) -> RegistryImage:
    """Push until the registry has it. A layer that has arrived is not sent again by any of the tries."""
    full = f"{ecr.host}/{target.repository}:{target.tag}"
    left, renewed = list(pauses), False
    while True:
        try:
            digest = images.push(target.image, full, ecr.sign_in(), progress.step)
        except (Dropped, TagTaken, SignInRefused) as error:
            # Its last word may have been lost on the way, or another push of the same image was quicker.
            if found := _found(ecr, target):
                return found
            if isinstance(error, TagTaken) or (isinstance(error, SignInRefused) and renewed) or not left:
                raise
            renewed = renewed or isinstance(error, SignInRefused)
            pause = left.pop(0)
            progress.says(f"{error}\n  tried again in {pause:.0f} s")
            sleep(pause)
        else:
            return _compared(ecr, target, digest)


def _compared(ecr: Ecr, target: _Target, digest: str) -> RegistryImage:
    """What the registry now has by the tag, which must be what the engine says it sent: the image that was tested."""
    found = _found(ecr, target)
    if found is None or found.digest != digest:
        has = found.digest if found else "nothing"
        raise AccountCannot(
            f"{ecr.host}/{target.repository}:{target.tag}: the engine sent {digest}, and the registry has {has}. "
            "Push it again: homeport-cloud push JOB"
        )
    return found


def _in_its_registry(name: str, aws: Aws) -> RegistryImage:
    """An image that a registry has by its name, found there by the name's own region and account."""
    parts, registry = Name.parse(name), Registry.of(name)
    assert registry is not None
    tag = parts.tag if parts.digest else parts.tag or "latest"
    found = Ecr.at(aws, Destination(registry, parts.host)).find(parts.repository, tag=tag, digest=parts.digest)
    if found is None:
        raise AccountCannot(
            f"image {name}: account {registry.account} has no such image in {registry.region}. Check the name"
        )
    return found
