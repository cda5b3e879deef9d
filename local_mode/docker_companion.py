"""A container beside a host's, in its network, over the engine's API: docker_engine's second half.

It is spoken with through its stdin and stdout, which reach an engine wherever it runs: a socket that is mounted would
not pass into the virtual machine of Docker Desktop.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from requests.exceptions import HTTPError, RequestException

from local_mode.engine import Program
from training_job.errors import MachineCannot

if TYPE_CHECKING:
    from docker import APIClient

_STDERR = 2
_REMOVAL_SECONDS = 60
_NO_PROGRAM = ("executable file not found", "no such file or directory")


@dataclass(frozen=True)
class Beside:
    """Whose network it joins, that one's image, and how what stands beside it is named and labelled."""

    container: str
    image: str
    name: str
    labels: dict[str, str]


class _NoPython(Exception):
    """The image has no such program."""


class AttachedCompanion:
    """A container by its id, and the stream to and from it; none where the host ended before it came."""

    def __init__(self, api: APIClient, identifier: str, stream: Any) -> None:
        self._api = api
        self._id = identifier
        self._stream = stream
        self._ended = stream is None

    def lines(self) -> Iterator[bytes]:
        """What it says, line by line, until it is ended. Raises MachineCannot if it ends by itself."""
        said, complaint = b"", b""
        for kind, piece in self._pieces():
            if kind == _STDERR:
                complaint = (complaint + piece)[-2000:]
                continue
            *whole, said = (said + piece).split(b"\n")
            yield from whole
        if not self._ended:
            last = complaint.decode(errors="replace").strip().rpartition("\n")[2]
            raise MachineCannot(f"the container beside the host ended{': ' + last if last else ''}")

    def tell(self, line: bytes) -> None:
        """Say a line to it; nobody hears it where it has ended."""
        if self._stream is None:
            return
        with suppress(OSError):
            _socket(self._stream).sendall(line + b"\n")

    def end(self) -> None:
        """Kill and remove it. Where the engine is gone, so is it."""
        self._ended = True
        with suppress(RequestException):
            remove(self._api, self._id)

    def close(self) -> None:
        """Let go of its stream."""
        if self._stream is not None:
            self._stream.close()

    def _pieces(self) -> Iterator[tuple[int, bytes]]:
        """The engine's frames: eight bytes that say which stream and how much, then so much."""
        if self._stream is None:
            return
        raw = self._stream if isinstance(self._stream, io.RawIOBase) else self._stream.makefile("rb", 0)
        reader = io.BufferedReader(raw)
        with suppress(OSError):
            while len(head := reader.read(8)) == 8:
                kind, size = struct.unpack(">BxxxL", head)
                yield kind, reader.read(size)


@contextmanager
def companion(api: APIClient, program: Program, beside: Beside) -> Iterator[AttachedCompanion]:
    """The program in the first image that has a `python3`, gone on exit. Raises MachineCannot if none has, and where
    the network that it would join is not the job's own."""
    if api.inspect_container(beside.container)["HostConfig"]["NetworkMode"] == "host":
        raise MachineCannot("the container shares this machine's network, where they would be everybody's")
    tried: list[str] = []
    for image in _images(api, beside.image):
        identifier = _made(api, program, beside, image, number=len(tried))
        try:
            with closing(_started(api, identifier, beside)) as started:
                yield started
        except _NoPython:
            tried.append(image)
        else:
            return
        finally:
            remove(api, identifier)
    raise MachineCannot(f"they are served by a python3, and no image here has one (looked in {', '.join(tried)})")


def remove(api: APIClient, identifier: str) -> None:
    """Remove a container, whatever it does. It is gone on return, also where its removal was under way already."""
    try:
        api.remove_container(identifier, v=True, force=True)
    except HTTPError as error:
        status = error.response.status_code if error.response is not None else None
        if status == 409:
            # Until then its network cannot be removed.
            with suppress(HTTPError):
                api.wait(identifier, timeout=_REMOVAL_SECONDS, condition="removed")
        elif status != 404:
            raise


def _images(api: APIClient, own: str) -> Iterator[str]:
    """The job's own image; where that has no Python, ours."""
    yield own
    for image in api.images(filters={"reference": "homeport/*"}):
        yield from image["RepoTags"] or ()


def _made(api: APIClient, program: Program, beside: Beside, image: str, *, number: int) -> str:
    return str(
        api.create_container(
            image=image,
            name=f"{beside.name}-{program.name}{number or ''}",
            # Neither the image's settings nor its packages have a say.
            entrypoint=["python3", "-I", "-S", "-c", program.text, *program.arguments],
            environment={"NVIDIA_VISIBLE_DEVICES": "void"},
            user="0",
            labels=beside.labels,
            # Attached and open once: its stdin ends with this process, and then it ends and is removed.
            stdin_open=True,
            detach=False,
            healthcheck={"test": ["NONE"]},
            host_config=api.create_host_config(
                network_mode=f"container:{beside.container}",
                cap_drop=["ALL"],
                cap_add=["NET_ADMIN", "NET_BIND_SERVICE"],
                security_opt=["no-new-privileges"],
                read_only=True,
                auto_remove=True,
                # What it is told must not reach the engine's disk, and neither what it says.
                log_config={"type": "none", "config": {}},  # type: ignore[arg-type]
            ),
        )["Id"]
    )


def _started(api: APIClient, identifier: str, beside: Beside) -> AttachedCompanion:
    stream = None
    try:
        # First, so that nothing it says is missed. Podman looks for the program already now.
        stream = api.attach_socket(identifier, params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
        # docker-py gives up after a minute of silence.
        _socket(stream).settimeout(None)
        api.start(identifier)
    except HTTPError as error:
        if stream is not None:
            stream.close()
        if any(sign in str(error).lower() for sign in _NO_PROGRAM):
            raise _NoPython from None
        if api.inspect_container(beside.container)["State"]["Running"]:
            raise
        stream = None
    return AttachedCompanion(api, identifier, stream)


def _socket(stream: Any) -> Any:
    """What docker-py has put a reader over, for some kinds of address."""
    return getattr(stream, "_sock", stream)
