"""The engine's images, as far as a registry is concerned: the only module of the cloud that speaks to the engine."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import docker.errors

from cloud.aws import ONLY_LOOPBACK, refuse_host
from cloud.images import LocalImage, Name, SignIn, TagTaken
from container_engine.connection import connect, told
from training_job.errors import AccountCannot, EngineFailed, HomeportError, ImageNotFound, MachineCannot

Step = Mapping[str, Any]
"""What the engine tells while it pushes: `status`, the layer's `id`, `progressDetail` in bytes."""


class Dropped(EngineFailed):
    """The way to the registry broke off; what has arrived there is kept, and sent no second time."""


class SignInRefused(AccountCannot):
    """The registry does not let in, or no longer."""


class NoRepository(AccountCannot):
    """The registry has no such repository."""


_RIGHTS = "ecr:BatchCheckLayerAvailability, InitiateLayerUpload, UploadLayerPart, CompleteLayerUpload and PutImage"
# How registries and the engine say it, first to last, and what to do then.
_REFUSALS: tuple[tuple[str, type[HomeportError], str], ...] = (
    (
        r"immutable|tag invalid",
        TagTaken,
        "Its repository's tags do not change: look at what has it with aws ecr describe-images",
    ),
    (
        r"name unknown|repository .* does not exist",
        NoRepository,
        "Push again, which creates it: homeport-cloud push JOB",
    ),
    (r"no space left", MachineCannot, "A disk of the engine is full: free some with docker system df, then push again"),
    (
        r"token has expired|no basic auth|unauthorized|denied|forbidden",
        SignInRefused,
        f"Push again for a new sign-in. If it stays so, your role lacks {_RIGHTS} on the repository",
    ),
    # Another push of the same image has taken the name away that it gave it.
    (r"does not exist locally", Dropped, "Push again"),
    (
        r"EOF|reset by peer|broken pipe|refused|timeout|timed out|closed network|no such host|HTTP status: 5"
        r"|server error|toomanyrequests|rate exceeded|blob upload (unknown|invalid)",
        Dropped,
        "Push again: what has arrived is not sent a second time",
    ),
)
_SILENCE = 900
"""Seconds without a word from the engine that are borne: a registry may take its time over a large layer."""


class EngineImages:
    """The images of an engine that answers."""

    def __init__(self, api: Any) -> None:
        self._api = api

    @classmethod
    def connect(cls) -> EngineImages:
        """The engine of this machine. Raises NoEngine."""
        api = connect().api
        api.timeout = _SILENCE
        return cls(api)

    @told()
    def find(self, name: str) -> LocalImage:
        """The image as it is here. Raises ImageNotFound."""
        try:
            found = self._api.inspect_image(name)
        except docker.errors.ImageNotFound:
            raise ImageNotFound(name, "only what is here can be sent") from None
        labels = found["Config"].get("Labels") or {}
        version = labels.get("org.opencontainers.image.version", "")
        return LocalImage(name, found["Id"], version, int(found["Size"]))

    def push(self, image: LocalImage, target: str, sign_in: SignIn, watch: Callable[[Step], None]) -> str:
        """Send the image to `target`, host/repository:tag; what the registry has is not sent again. Returns its digest.

        Raises SignInRefused, TagTaken, NoRepository, Dropped, MachineCannot, EngineFailed.
        """
        digest = ""
        with self._named(image, target):
            for step in self._steps("push", target, sign_in):
                digest = (step.get("aux") or {}).get("Digest", digest)
                watch(step)
        if not digest:
            raise Dropped(f"{target}: the push ended without the registry's word on what it has.")
        return str(digest)

    def pull(self, name: str, sign_in: SignIn, watch: Callable[[Step], None]) -> None:
        """Fetch an image. Raises SignInRefused, NoRepository, Dropped, EngineFailed."""
        for step in self._steps("pull", name, sign_in):
            watch(step)

    @contextmanager
    def _named(self, image: LocalImage, target: str) -> Iterator[None]:
        """The engine pushes an image by a name that begins with the registry; it has that name as long."""
        name = Name.parse(target)
        with told():
            self._api.tag(image.id, f"{name.host}/{name.repository}", name.tag)
        try:
            yield
        finally:
            # What ended the push is to be told, not that the engine has gone with it.
            with suppress(EngineFailed):
                self._unname(image, target)

    @told()
    def _unname(self, image: LocalImage, target: str) -> None:
        """An image whose other name went to another meanwhile keeps this one: without a name it would be gone."""
        if len(self._api.inspect_image(image.id)["RepoTags"]) > 1:
            self._api.remove_image(target, noprune=True)

    def _steps(self, verb: str, name: str, sign_in: SignIn) -> Iterator[Step]:
        if os.environ.get(ONLY_LOOPBACK):
            refuse_host(verb, Name.parse(name).host.partition(":")[0])
        handed = {"username": sign_in.username, "password": sign_in.password}
        with told():
            try:
                for step in getattr(self._api, verb)(name, auth_config=handed, stream=True, decode=True):
                    if "error" in step:
                        raise _refused(name, str(step["error"]))
                    yield step
            except docker.errors.APIError as error:
                raise _refused(name, str(error.explanation or error)) from None


def _refused(name: str, words: str) -> HomeportError:
    said = f"{name}: {words.strip().rstrip('.')}."
    for pattern, kind, remedy in _REFUSALS:
        if re.search(pattern, words, re.IGNORECASE):
            return kind(f"{said} {remedy}")
    return EngineFailed(f"{said} The engine could not send or fetch it, and says no more")
