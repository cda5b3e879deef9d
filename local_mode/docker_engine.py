"""The port over docker-py, for Docker and for Podman's Docker API.

On the local path nothing but this module, what it is made of (docker_container, docker_words, docker_companion) and
container_engine.connection says `import docker`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

try:
    import docker.errors
    from docker import APIClient
except ImportError as error:
    # Without docker-py, a folder named docker/ imports as an empty namespace.
    raise ImportError("docker-py is not installed: make .venv, or pip install docker") from error

from container_engine.connection import connect, told
from local_mode.docker_companion import Beside, remove
from local_mode.docker_container import Container, cannot_start
from local_mode.docker_words import OWNER_LABEL, POOL_LABEL, container_words, labels
from local_mode.engine import Host, Image
from local_mode.machine import Machine, find_gpus
from local_mode.plan import JOB_LABEL, HostPlan, RunPlan
from training_job.errors import ImageNotFound

_REFUSAL = re.compile(r"unauthorized|authoriz|authentication|denied|basic auth|forbidden", re.IGNORECASE)


class DockerEngine:
    """An engine that speaks Docker's API."""

    def __init__(self, api: APIClient, address: str) -> None:
        self._api = api
        self._address = address

    @classmethod
    def connect(cls) -> DockerEngine:
        """The engine that DOCKER_HOST, the CLI's context or a known socket names. Raises NoEngine."""
        connection = connect()
        return cls(connection.api, connection.address)

    @told()
    def machine(self) -> Machine:
        """Cores and memory as the engine has them: on Docker Desktop those of its virtual machine."""
        found = self._api.info()
        return Machine(
            cores=int(found["NCPU"]),
            memory=int(found["MemTotal"]),
            gpus=find_gpus(),
            same_kernel=self._address.startswith("unix:") and found.get("KernelVersion") == os.uname().release,
            rootless=any("rootless" in option for option in found.get("SecurityOptions") or ()),
            engine=f"{found.get('OperatingSystem')}, version {found.get('ServerVersion')} at {self._address}",
        )

    @told()
    def image(self, reference: str) -> Image:
        """The image as it is here; images of homeport/ are built, never pulled."""
        try:
            return self._here(reference)
        except docker.errors.ImageNotFound:
            if reference.startswith("homeport/"):
                raise ImageNotFound(reference, "it has not been built") from None
        self._pull(reference)
        return self._here(reference)

    def _pull(self, reference: str) -> None:
        """As the engine's own CLI does, signed in by the docker config and its credential helpers."""
        try:
            for step in self._api.pull(reference, stream=True, decode=True):
                if "error" in step:
                    raise _cannot_pull(reference, step["error"])
        except docker.errors.APIError as error:
            raise _cannot_pull(reference, str(error.explanation or error)) from None
        except docker.errors.DockerException as error:
            # Only a credential helper fails so: the docker config names one that is not there, or does not work.
            raise ImageNotFound(reference, f"the docker config's credential helper fails: {error}") from None

    @contextmanager
    def network(self, plan: RunPlan, owner: str) -> Iterator[None]:
        """A bridge of the job's own; `internal` cuts it off from everything but the hosts."""
        with told():
            made = self._api.create_network(
                plan.network, driver="bridge", internal=plan.isolated, labels=labels(plan, owner), check_duplicate=True
            )
        try:
            yield
        finally:
            with told(), suppress(docker.errors.NotFound):
                self._api.remove_network(made["Id"])

    @contextmanager
    def host(self, plan: RunPlan, host: HostPlan, owner: str) -> Iterator[Host]:
        """The container of one host."""
        with told():
            try:
                made = self._api.create_container(**container_words(self._api, plan, host, owner))
            except docker.errors.APIError as error:
                raise cannot_start(host, error) from None
        try:
            named = labels(plan, owner) | {"homeport.beside": host.host}
            beside = Beside(made["Id"], host.image, f"{plan.network}-{host.host}", named)
            yield Container(self._api, made["Id"], host, beside)
        finally:
            with told():
                remove(self._api, made["Id"])

    @told()
    def owners(self) -> dict[str, str]:
        """Job to owner, over containers, networks and volumes."""
        return {labels[JOB_LABEL]: labels.get(OWNER_LABEL, "") for labels in self._labelled()}

    @told()
    def remove(self, jobs: Sequence[str]) -> None:
        """Containers first: networks and volumes are held by them."""
        for job in jobs:
            chosen = {"label": f"{JOB_LABEL}={job}"}
            for container in self._api.containers(all=True, filters=chosen):
                remove(self._api, container["Id"])
            for network in self._api.networks(filters=chosen):
                with _unless_it_is_going():
                    self._api.remove_network(network["Id"])
            for volume in self._api.volumes(filters=chosen)["Volumes"] or ():
                with _unless_it_is_going():
                    self._api.remove_volume(volume["Name"])

    @told()
    def pools(self) -> dict[str, str]:
        """Pool to owner, over volumes."""
        found = self._api.volumes(filters={"label": POOL_LABEL})["Volumes"] or ()
        return {volume["Labels"][POOL_LABEL]: volume["Labels"].get(OWNER_LABEL, "") for volume in found}

    @told()
    def remove_pools(self, names: Sequence[str]) -> None:
        """Remove their volumes."""
        for name in names:
            for volume in self._api.volumes(filters={"label": f"{POOL_LABEL}={name}"})["Volumes"] or ():
                with _unless_it_is_going():
                    self._api.remove_volume(volume["Name"])

    def _here(self, reference: str) -> Image:
        return Image(reference, self._api.inspect_image(reference)["Id"])  # type: ignore[no-untyped-call]

    def _labelled(self) -> Iterator[dict[str, str]]:
        chosen = {"label": JOB_LABEL}
        for thing in (
            *self._api.containers(all=True, filters=chosen),
            *self._api.networks(filters=chosen),
            *(self._api.volumes(filters=chosen)["Volumes"] or ()),
        ):
            yield thing["Labels"]


@contextmanager
def _unless_it_is_going() -> Iterator[None]:
    """Two runs may find the remains of a third at once: what is gone is gone, and what is held by a container whose
    removal is under way goes with it, or is found by the next run."""
    try:
        yield
    except docker.errors.APIError as error:
        if error.status_code not in (403, 404, 409):
            raise


def _cannot_pull(reference: str, why: str) -> ImageNotFound:
    """Registries say that an image is not there also to those who may not see it."""
    registry = reference.partition("/")[0] if "/" in reference else ""
    sign_in = f"docker login {registry}".strip()
    if ".dkr.ecr." in registry:
        region = registry.split(".")[3]
        sign_in = f"aws ecr get-login-password --region {region} | docker login -u AWS --password-stdin {registry}"
    hint = f". Sign in, if it is private: {sign_in}" if _REFUSAL.search(why) else ""
    return ImageNotFound(reference, f"it cannot be pulled ({why.strip()}){hint}")
