"""Find the container engine that answers on this machine.

Standard library only, and Python 3.9: `docker/engine.sh` runs it with whatever python3 is there, before any .venv.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

PING_TIMEOUT_SECONDS = 2.0
NO_ENGINE = 3
DEFAULT_SOCKET = "unix:///var/run/docker.sock"


@dataclass(frozen=True)
class Candidate:
    """A place where an engine may listen, and who names it. A fault means that there is nothing to ask."""

    origin: str
    address: str
    fault: str = ""


@dataclass(frozen=True)
class Attempt:
    """A candidate, and what came of it in words."""

    origin: str
    address: str
    outcome: str


@dataclass(frozen=True)
class EngineSearch:
    """The address of the engine that answers, if one does, and every place tried up to it."""

    address: str | None
    tried: tuple[Attempt, ...]


class Answer(NamedTuple):
    """What an address said to a ping."""

    usable: bool
    outcome: str


def find_engine(environ: Mapping[str, str], home: Path) -> EngineSearch:
    """The first candidate that answers. One that the environment names is the only candidate."""
    tried: list[Attempt] = []
    for candidate in engine_candidates(environ, home):
        answer = _ask(candidate, tls=bool(environ.get("DOCKER_TLS_VERIFY")))
        tried.append(Attempt(candidate.origin, candidate.address, answer.outcome))
        if answer.usable:
            return EngineSearch(candidate.address, tuple(tried))
    return EngineSearch(None, tuple(tried))


def engine_candidates(environ: Mapping[str, str], home: Path) -> tuple[Candidate, ...]:
    """Where to look, best first. Reads the docker CLI's own settings, and asks no engine."""
    docker_config = Path(environ.get("DOCKER_CONFIG") or home / ".docker")
    if host := environ.get("DOCKER_HOST"):
        return (Candidate("DOCKER_HOST", host),)
    if context := environ.get("DOCKER_CONTEXT"):
        return (_context(f"DOCKER_CONTEXT={context}", context, docker_config),)

    current = _current_context(docker_config)
    chosen = (_context(f"docker context {current}", current, docker_config),) if current else ()
    known = _known_sockets(environ, home)
    return chosen + tuple(place for place in known if place.address not in {each.address for each in chosen})


def _current_context(docker_config: Path) -> str:
    try:
        return str(json.loads((docker_config / "config.json").read_text())["currentContext"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _context(origin: str, name: str, docker_config: Path) -> Candidate:
    if name == "default":
        return Candidate(origin, DEFAULT_SOCKET)
    key = hashlib.sha256(name.encode()).hexdigest()
    try:
        meta = json.loads((docker_config / "contexts/meta" / key / "meta.json").read_text())
        address = str(meta["Endpoints"]["docker"]["Host"])
    except (OSError, ValueError, KeyError, TypeError):
        return Candidate(origin, "", "no such context: docker context ls lists them")
    if (docker_config / "contexts/tls" / key / "docker").is_dir():
        fault = "its certificates are the docker CLI's alone: set DOCKER_HOST, DOCKER_TLS_VERIFY and DOCKER_CERT_PATH"
        return Candidate(origin, address, fault)
    return Candidate(origin, address)


def _known_sockets(environ: Mapping[str, str], home: Path) -> tuple[Candidate, ...]:
    runtime = Path(environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}")
    return (
        Candidate("docker", DEFAULT_SOCKET),
        Candidate("Docker Desktop", f"unix://{home}/.docker/run/docker.sock"),
        Candidate("Docker Desktop", f"unix://{home}/.docker/desktop/docker.sock"),
        Candidate("rootless docker", f"unix://{runtime}/docker.sock"),
        Candidate("podman", f"unix://{runtime}/podman/podman.sock"),
        Candidate("podman", "unix:///run/podman/podman.sock"),
        Candidate("colima", f"unix://{home}/.colima/default/docker.sock"),
    )


def _ask(candidate: Candidate, *, tls: bool) -> Answer:
    if candidate.fault:
        return Answer(usable=False, outcome=candidate.fault)
    try:
        url = urlsplit(candidate.address)
        if url.scheme == "ssh" or (url.scheme == "tcp" and tls):
            return Answer(usable=True, outcome="taken on trust: only the engine's own client speaks to it")
        if url.scheme == "unix":
            return _ping(_UnixConnection(url.path))
        if url.scheme == "tcp" and url.hostname:
            return _ping(http.client.HTTPConnection(url.hostname, url.port or 2375, timeout=PING_TIMEOUT_SECONDS))
    except ValueError as error:
        return Answer(usable=False, outcome=f"not an address: {error}")
    return Answer(usable=False, outcome="not an address of the form unix://, tcp:// or ssh://")


def _ping(connection: http.client.HTTPConnection) -> Answer:
    try:
        connection.request("GET", "/_ping")
        status = connection.getresponse().status
    except OSError as error:
        return Answer(usable=False, outcome=(error.strerror or str(error)).lower())
    except http.client.HTTPException:
        return Answer(usable=False, outcome="what listens there does not speak HTTP")
    finally:
        connection.close()
    if status != http.client.OK:
        return Answer(usable=False, outcome=f"answers with HTTP status {status}")
    return Answer(usable=True, outcome="answers")


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=PING_TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def main() -> int:
    """Print the address of the engine that answers, or each place tried."""
    search = find_engine(os.environ, Path.home())
    if search.address:
        print(search.address)
        return 0
    print("No container engine answers:", file=sys.stderr)
    for attempt in search.tried:
        print(f"  {attempt.origin:<16} {attempt.address}  {attempt.outcome}", file=sys.stderr)
    return NO_ENGINE


if __name__ == "__main__":
    sys.exit(main())
