"""The port over docker-py, for Docker and for Podman's Docker API. The only module that says `import docker`."""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ContextDecorator, contextmanager, suppress
from pathlib import Path
from typing import Any

try:
    import docker.errors
    import docker.types
    import docker.utils
    from docker import APIClient
except ImportError as error:
    # Without docker-py, a folder named docker/ imports as an empty namespace.
    raise ImportError("docker-py is not installed: make .venv, or pip install docker") from error

from requests import Response
from requests.exceptions import HTTPError as BadAnswer
from requests.exceptions import RequestException
from urllib3.exceptions import HTTPError

from local_mode.docker_companion import Beside, companion, remove
from local_mode.engine import Companion, Ended, Host, Image, NoSuchDirectory, Program, Usage
from local_mode.engine_address import find_engine
from local_mode.engine_log import Entry, entries, lines, unseen
from local_mode.machine import Machine, find_gpus
from local_mode.plan import JOB_LABEL, HostPlan, RunPlan
from training_job.errors import EngineFailed, ImageCannotTrain, ImageNotFound, NoEngine

OWNER_LABEL = "homeport.owner"
_READ_SIZE = 1 << 16
_TAIL = 100
_RAISED = {"stack": (64 << 20, 64 << 20), "memlock": (-1, -1)}
"""Limits of a process that NCCL wants higher: soft and hard."""
_LOWER = (
    "This engine may not raise limits so far. Give lower ones in homeport.toml, [local.container]: "
    "ulimits = { memlock = 8388608, stack = 8388608 }"
)
_REFUSAL = re.compile(r"unauthorized|authoriz|authentication|denied|basic auth|forbidden", re.IGNORECASE)


class _told(ContextDecorator):  # noqa: N801 - reads as a word where it is used
    """The engine's and the connection's failures as ours."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, docker.errors.APIError):
            raise EngineFailed(f"the engine refuses: {error.explanation or error}") from None
        if isinstance(error, docker.errors.DockerException | RequestException | HTTPError):
            raise EngineFailed(f"the engine no longer answers ({error}). Start it again: docker/engine.sh") from None


class DockerEngine:
    """An engine that speaks Docker's API."""

    def __init__(self, api: APIClient, address: str) -> None:
        self._api = api
        self._address = address

    @classmethod
    def connect(cls) -> DockerEngine:
        """The engine that DOCKER_HOST, the CLI's context or a known socket names. Raises NoEngine."""
        search = find_engine(os.environ, Path.home())
        tried = [f"{attempt.origin} ({attempt.address}): {attempt.outcome}" for attempt in search.tried]
        if search.address is None:
            raise NoEngine(tried)
        try:
            tls = docker.utils.kwargs_from_env(environment=dict(os.environ)).get("tls", False)
            api = APIClient(base_url=search.address, version="auto", tls=tls)
        except (docker.errors.DockerException, RequestException) as error:
            raise NoEngine([*tried, f"{search.address}: {error}"]) from None
        return cls(api, search.address)

    @_told()
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

    @_told()
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
        with _told():
            made = self._api.create_network(
                plan.network, driver="bridge", internal=plan.isolated, labels=_labels(plan, owner), check_duplicate=True
            )
        try:
            yield
        finally:
            with _told(), suppress(docker.errors.NotFound):
                self._api.remove_network(made["Id"])

    @contextmanager
    def host(self, plan: RunPlan, host: HostPlan, owner: str) -> Iterator[Host]:
        """The container of one host."""
        with _told():
            try:
                made = self._api.create_container(**self._to_docker(plan, host, owner))
            except docker.errors.APIError as error:
                raise _cannot_start(host, error) from None
        try:
            labels = _labels(plan, owner) | {"homeport.beside": host.host}
            beside = Beside(made["Id"], host.image, f"{plan.network}-{host.host}", labels)
            yield _Container(self._api, made["Id"], host, beside)
        finally:
            with _told():
                remove(self._api, made["Id"])

    @_told()
    def owners(self) -> dict[str, str]:
        """Job to owner, over containers, networks and volumes."""
        return {labels[JOB_LABEL]: labels.get(OWNER_LABEL, "") for labels in self._labelled()}

    @_told()
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

    def _to_docker(self, plan: RunPlan, host: HostPlan, owner: str) -> dict[str, Any]:
        """A host in the engine's words, which are spoken nowhere else."""
        labels = _labels(plan, owner)
        mounts = [
            docker.types.Mount(target, None, type="volume", no_copy=True, labels=labels) for target in host.volumes
        ] + [
            docker.types.Mount(mount.target, mount.source, type="bind", read_only=mount.read_only)
            for mount in host.mounts
        ]
        devices = [docker.types.DeviceRequest(device_ids=list(host.gpus.ids), capabilities=[["gpu"]])]
        return {
            "image": host.image,
            "name": f"{plan.network}-{host.host}",
            "hostname": host.hostname,
            "entrypoint": list(host.entrypoint) if host.entrypoint else None,
            "command": list(host.command),
            "environment": host.environment,
            "labels": labels | {"homeport.host": host.host},
            "host_config": self._api.create_host_config(
                mounts=mounts,
                network_mode=plan.network,
                # Whole lines until the job has ended, whatever rotation the daemon is set to.
                log_config=docker.types.LogConfig(type="json-file", config={"max-size": "1000g"}),
                device_requests=devices if host.gpus.ids else None,
                **_resources(plan, host),
            ),
            "networking_config": self._api.create_networking_config(
                {plan.network: self._api.create_endpoint_config(aliases=[host.host])}  # type: ignore[arg-type]
            ),
        }


@contextmanager
def _unless_it_is_going() -> Iterator[None]:
    """Two runs may find the remains of a third at once: what is gone is gone, and what is held by a container whose
    removal is under way goes with it, or is found by the next run."""
    try:
        yield
    except docker.errors.APIError as error:
        if error.status_code not in (403, 404, 409):
            raise


def _resources(plan: RunPlan, host: HostPlan) -> dict[str, Any]:
    """What the container may use; what homeport.toml says of it wins."""
    asked = plan.container
    ulimits = dict(_RAISED) if plan.raised_limits else {}
    ulimits |= {name: (limit.soft, limit.hard) for name, limit in asked.ulimits.items()}
    chosen = asked.model_dump(exclude_none=True, exclude={"ulimits", "cpus", "ipc", "pid"})
    has = host.resources
    cpus = asked.cpus or (has.cpus if has.held else None)
    memory = asked.mem_limit or (has.memory if has.held else None)
    return {
        "shm_size": has.shared_memory,
        **{name: value for name, value in chosen.items() if value not in ([], {})},
        "ulimits": [docker.types.Ulimit(name=name, soft=soft, hard=hard) for name, (soft, hard) in ulimits.items()],
        "ipc_mode": asked.ipc,
        "pid_mode": asked.pid,
        "nano_cpus": round(cpus * 1e9) if cpus else None,
        "mem_limit": memory,
        # A host of SageMaker has no swap.
        "memswap_limit": memory,
    }


class _Container:
    """One container, by its id."""

    def __init__(self, api: APIClient, identifier: str, host: HostPlan, beside: Beside) -> None:
        self._api = api
        self._id = identifier
        self._host = host
        self._beside = beside

    @_told()
    def put(self, archive: bytes | Iterable[bytes]) -> None:
        self._api.put_archive(self._id, "/", archive)

    @_told()
    def start(self) -> None:
        try:
            self._api.start(self._id)
        except docker.errors.APIError as error:
            raise _cannot_start(self._host, error) from None

    def log(self) -> Iterator[bytes]:
        return lines(self._logged())

    def _logged(self) -> Iterator[Entry]:
        """Every entry. Engines before 23 end a followed log before its last, unfinished line is written, so what the
        log holds once the container has ended is compared with what was seen."""
        last = None
        for entry in self._entries(follow=1):
            last = entry
            yield entry
        self.wait()
        rest = unseen(last, list(self._entries(tail=_TAIL)))
        if rest is None:
            rest = unseen(last, list(self._entries())) or ()
        yield from rest

    def _entries(self, **wanted: int) -> Iterator[Entry]:
        asked: dict[str, str | int] = {"stdout": 1, "stderr": 1, "timestamps": 1, **wanted}
        with _told(), self._stream("logs", asked) as response:
            yield from entries(response.raw.stream(_READ_SIZE, decode_content=True))

    @_told()
    def wait(self) -> Ended:
        code = int(self._api.wait(self._id, timeout=None)["StatusCode"])
        state = self._api.inspect_container(self._id)["State"]
        if state.get("Status") in ("removing", "dead"):
            raise EngineFailed(f"{self._host.host}: somebody removed its container")
        return Ended(code, bool(state.get("OOMKilled")))

    @_told()
    def signal(self, name: str) -> None:
        try:
            self._api.kill(self._id, name)
        except docker.errors.APIError as error:
            if error.status_code not in (404, 409):  # it is gone, or not running
                raise

    @_told()
    def usage(self) -> Usage | None:
        try:
            # One look: the engine would wait a second for another to compute a rate from.
            found = self._api.stats(self._id, stream=False, one_shot=True)
        except docker.errors.NotFound:
            return None
        memory = found["memory_stats"]
        if "usage" not in memory:
            return None
        networks = (found.get("networks") or {}).values()
        # What the kernel keeps of files is not the job's, as `docker stats` has it (docker/cli, stats_helpers.go).
        cached = memory.get("stats", {}).get("inactive_file", memory.get("stats", {}).get("total_inactive_file", 0))
        return Usage(
            cpu_seconds=found["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9,
            memory=max(0, memory["usage"] - cached),
            received=sum(network["rx_bytes"] for network in networks),
            sent=sum(network["tx_bytes"] for network in networks),
        )

    def fetch(self, path: str) -> Generator[bytes, None, None]:
        # docker-py's get_archive leaves the response open when it is read no further, and the engine then waits.
        with _told(), self._archive(path) as response:
            yield from response.iter_content(1 << 20)

    @contextmanager
    def companion(self, program: Program) -> Iterator[Companion]:
        with _told(), companion(self._api, program, self._beside) as beside:
            yield beside

    def _archive(self, path: str) -> Response:
        try:
            return self._stream("archive", {"path": path})
        except BadAnswer as error:
            if error.response.status_code == 404 and "no such container" not in error.response.text.lower():
                raise NoSuchDirectory(path) from None
            raise

    def _stream(self, what: str, wanted: dict[str, str | int]) -> Response:
        """An endpoint of this container, read as it comes, for as long as it takes."""
        url = f"{self._api.base_url}/v{self._api.api_version}/containers/{self._id}/{what}"
        # Asked with requests' own header, Docker gzips archives: 50 MB/s, with a core of its own for it.
        plain = {"Accept-Encoding": "identity"}
        response = self._api.get(url, params=wanted, headers=plain, stream=True, timeout=None)
        response.raise_for_status()
        return response


def _labels(plan: RunPlan, owner: str) -> dict[str, str]:
    return {JOB_LABEL: plan.name, OWNER_LABEL: owner}


def _cannot_pull(reference: str, why: str) -> ImageNotFound:
    """Registries say that an image is not there also to those who may not see it."""
    registry = reference.partition("/")[0] if "/" in reference else ""
    sign_in = f"docker login {registry}".strip()
    if ".dkr.ecr." in registry:
        region = registry.split(".")[3]
        sign_in = f"aws ecr get-login-password --region {region} | docker login -u AWS --password-stdin {registry}"
    hint = f". Sign in, if it is private: {sign_in}" if _REFUSAL.search(why) else ""
    return ImageNotFound(reference, f"it cannot be pulled ({why.strip()}){hint}")


def _cannot_start(host: HostPlan, error: docker.errors.APIError) -> Exception:
    """The engine's refusal as ours: a program that is not there is the image's fault, the rest the machine's."""
    why = str(error.explanation or error)
    if any(sign in why for sign in ("executable file not found", "no such file or directory", "permission denied")):
        return ImageCannotTrain(host.image, why.partition("OCI runtime create failed: ")[2] or why)
    advice = f"\n{_LOWER}" if "rlimit" in why else ""
    return EngineFailed(f"{host.host}: the engine does not start its container: {why}{advice}")
