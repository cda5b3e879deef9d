"""One container of a job, by the engine's API."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from io import BufferedReader
from itertools import chain
from typing import Any

import docker.errors
import docker.utils
from docker import APIClient
from requests import Response
from requests.exceptions import HTTPError as BadAnswer
from urllib3.exceptions import ProtocolError

from container_engine.connection import told
from local_mode.docker_companion import Beside, companion
from local_mode.engine import Companion, Ended, NoSuchDirectory, Program, Usage
from local_mode.engine_log import Entry, behind, entries, lines, time_of, unchunked, unseen
from local_mode.plan import HostPlan
from training_job.errors import EngineFailed, ImageCannotTrain

_READ_SIZE = 1 << 16
_TAIL = 100
_SIGKILLED = 128 + 9
_OUT_OF_MEMORY_TOLD = 3
"""Seconds after a container's end within which a busy engine has told that memory ran out."""
_LOWER = (
    "This engine may not raise limits so far. Give lower ones in homeport.toml, [local.container]: "
    "ulimits = { memlock = 8388608, stack = 8388608 }"
)


class Container:
    """One container, by its id."""

    def __init__(self, api: APIClient, identifier: str, host: HostPlan, beside: Beside) -> None:
        self._api = api
        self._id = identifier
        self._host = host
        self._beside = beside
        self._killed = False

    @told()
    def put(self, archive: bytes | Iterable[bytes]) -> None:
        """Unpack a tar below `/`."""
        self._api.put_archive(self._id, "/", archive)

    @told()
    def start(self) -> None:
        """Start it."""
        try:
            self._api.start(self._id)
        except docker.errors.APIError as error:
            raise cannot_start(self._host, error) from None

    def log(self) -> Iterator[bytes]:
        """Its lines, to its end, joined as far as they are there."""
        return lines(self._logged())

    def _logged(self) -> Iterator[Sequence[Entry]]:
        """Every entry. Engines before 23 end a followed log before its last, unfinished line is written, and on a busy
        machine long before (seen with 20.10: 740,000 of 1,000,000 lines were left), so what the log holds once the
        container has ended is compared with what was seen."""
        last = None
        for found in self._entries(follow=1):
            last = found[-1]
            yield found
        self.wait()
        if last is None:
            yield from self._entries()
        elif (rest := unseen(last, list(chain.from_iterable(self._entries(tail=_TAIL))))) is not None:
            yield rest
        else:
            # Asked only now: an engine finds a moment by reading its log from the beginning.
            yield from behind(last, self._entries(since=int(time_of(last).timestamp())))

    def _entries(self, **wanted: int) -> Iterator[Sequence[Entry]]:
        asked: dict[str, str | int] = {"stdout": 1, "stderr": 1, "timestamps": 1, **wanted}
        with told(), self._stream("logs", asked) as response:
            yield from entries(_as_it_comes(response))

    @told()
    def wait(self) -> Ended:
        """Block until it has ended."""
        code = int(self._api.wait(self._id, timeout=None)["StatusCode"])
        state = self._api.inspect_container(self._id)["State"]
        if state.get("Status") in ("removing", "dead"):
            raise EngineFailed(f"{self._host.host}: somebody removed its container")
        return Ended(code, bool(state.get("OOMKilled")) or (code != 0 and self._ran_out_of_memory(state, code)))

    def _ran_out_of_memory(self, state: dict[str, Any], code: int) -> bool:
        """Whether the engine tells of it apart from the end, as Docker does when it hears of the end first: its
        `OOMKilled` then stays false for good (seen with 20.10 on a busy machine, 6 of 100)."""
        ended = datetime.fromisoformat(state["FinishedAt"]).timestamp()
        # By the engine's clock. Only a SIGKILL that nobody is known to have sent is worth waiting for.
        until = ended + (_OUT_OF_MEMORY_TOLD if code == _SIGKILLED and not self._killed else 0)
        # types-docker knows whole seconds only; the engine and docker-py take parts of them.
        told = self._api.events(since=1, until=until, filters={"container": self._id, "event": "oom"})  # type: ignore[call-overload]
        try:
            return next(told, None) is not None
        finally:
            told.close()

    @told()
    def signal(self, name: str) -> None:
        """Send a signal to PID 1."""
        self._killed = self._killed or name == "SIGKILL"
        try:
            self._api.kill(self._id, name)
        except docker.errors.APIError as error:
            if error.status_code not in (404, 409):  # it is gone, or not running
                raise

    @told()
    def usage(self) -> Usage | None:
        """What it uses; None unless it runs."""
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
        """A directory as a tar, in pieces."""
        # docker-py's get_archive leaves the response open when it is read no further, and the engine then waits.
        with told(), self._archive(path) as response:
            yield from response.iter_content(1 << 20)

    @contextmanager
    def companion(self, program: Program) -> Iterator[Companion]:
        """A program beside it, in its network."""
        with told(), companion(self._api, program, self._beside) as beside:
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


def _as_it_comes(response: Response) -> Iterator[bytes]:
    """A chunked body, in pieces of all that is there."""
    # urllib3 gives each chunk by itself, a thousand lines in a thousand pieces. This reader is http.client's own.
    reader: BufferedReader = response.raw._fp.fp  # type: ignore[union-attr]
    try:
        yield from unchunked(iter(lambda: reader.read1(_READ_SIZE), b""))
    except (EOFError, OSError, ValueError) as error:
        raise ProtocolError(f"its answer broke off: {error!r}") from None


def cannot_start(host: HostPlan, error: docker.errors.APIError) -> Exception:
    """The engine's refusal as ours: a program that is not there is the image's fault, the rest the machine's."""
    why = str(error.explanation or error)
    if any(sign in why for sign in ("executable file not found", "no such file or directory", "permission denied")):
        return ImageCannotTrain(host.image, why.partition("OCI runtime create failed: ")[2] or why)
    advice = f"\n{_LOWER}" if "rlimit" in why else ""
    return EngineFailed(f"{host.host}: the engine does not start its container: {why}{advice}")
