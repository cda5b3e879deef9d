"""A connection to the engine, by docker-py, and its failures as ours."""

from __future__ import annotations

import os
from contextlib import ContextDecorator
from dataclasses import dataclass
from pathlib import Path

try:
    import docker.errors
    import docker.utils
    from docker import APIClient
except ImportError as error:
    # Without docker-py, a folder named docker/ imports as an empty namespace.
    raise ImportError("docker-py is not installed: make .venv, or pip install docker") from error

from requests.exceptions import RequestException
from urllib3.exceptions import HTTPError

from container_engine.address import find_engine
from training_job.errors import EngineFailed, NoEngine


@dataclass(frozen=True)
class Connection:
    """An engine that answers, and where."""

    api: APIClient
    address: str


def connect() -> Connection:
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
    return Connection(api, search.address)


class told(ContextDecorator):  # noqa: N801 - reads as a word where it is used
    """The engine's and the connection's failures as ours."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, docker.errors.APIError):
            raise EngineFailed(f"the engine refuses: {error.explanation or error}") from None
        if isinstance(error, docker.errors.DockerException | RequestException | HTTPError):
            raise EngineFailed(f"the engine no longer answers ({error}). Start it again: docker/engine.sh") from None
