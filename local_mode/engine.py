"""The port: what Homeport asks of a container engine. No word of any engine's own API passes it."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from local_mode.machine import Machine
from local_mode.plan import HostPlan, RunPlan
from training_job.errors import MachineCannot


@dataclass(frozen=True)
class Image:
    """An image on this machine. `digest` is `sha256:…`."""

    reference: str
    digest: str


@dataclass(frozen=True)
class Ended:
    """How a container ended."""

    code: int
    out_of_memory: bool


@dataclass(frozen=True)
class Usage:
    """What a container has used since its start, in seconds of one core and bytes; `memory` is what it holds now."""

    cpu_seconds: float
    memory: int
    received: int
    sent: int


@dataclass(frozen=True)
class Program:
    """A Python program for 3.6 and later that needs nothing but its own library, by a name for people."""

    name: str
    text: str
    arguments: tuple[str, ...]


class NoSuchDirectory(MachineCannot):
    """A host has no directory of this path."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path}: the container has no such directory")


class Companion(Protocol):
    """A program that runs beside a host: in its network, and in nothing else of it."""

    def lines(self) -> Iterator[bytes]:
        """What it says, without the line ends, until it is ended. Raises MachineCannot if it ends by itself; where the
        host has ended before it came there is no line."""

    def tell(self, line: bytes) -> None:
        """Say a line to it."""

    def end(self) -> None:
        """End it, from any thread; `lines` ends too."""


class Host(Protocol):
    """One container of a job."""

    def put(self, archive: bytes | Iterable[bytes]) -> None:
        """Unpack a tar below `/`, owned by root; a large one in pieces, as they are made."""

    def start(self) -> None:
        """Start it. Raises ImageCannotTrain if the image has no such program."""

    def log(self) -> Iterator[bytes]:
        """Its lines, stdout and stderr in the order they came, each with its line end, until it has ended.

        Those that are there are given at once, joined; none waits for another.
        """

    def wait(self) -> Ended:
        """Block until it has ended."""

    def signal(self, name: str) -> None:
        """Send SIGTERM or SIGKILL to PID 1; nothing happens if it has ended."""

    def usage(self) -> Usage | None:
        """What it uses; None unless it runs."""

    def fetch(self, path: str) -> Generator[bytes, None, None]:
        """The directory at `path` as a tar, its own name the first part of every member's; after the end too.

        Raises NoSuchDirectory at the first piece. To be closed: an engine may hold the container while it is read,
        and a signal to it, or the news of its end, then waits.
        """

    def companion(self, program: Program) -> AbstractContextManager[Companion]:
        """A program beside it, gone on exit, and with the harness if that is killed. Raises MachineCannot."""


class Engine(Protocol):
    """A container engine that answers."""

    def machine(self) -> Machine:
        """What it can give to containers."""

    def image(self, reference: str) -> Image:
        """The image, pulled if a registry has it. Raises ImageNotFound."""

    def network(self, plan: RunPlan, owner: str) -> AbstractContextManager[None]:
        """The job's own network, gone on exit."""

    def host(self, plan: RunPlan, host: HostPlan, owner: str) -> AbstractContextManager[Host]:
        """The host's container, made but not started; it and its volumes are gone on exit."""

    def owners(self) -> dict[str, str]:
        """The jobs that anything on this engine is labelled with, and who runs each."""

    def remove(self, jobs: Sequence[str]) -> None:
        """Remove every container, network and volume labelled with one of these jobs."""

    def pools(self) -> dict[str, str]:
        """The warm pools that have a volume on this engine, and who says how long each is kept."""

    def remove_pools(self, names: Sequence[str]) -> None:
        """Remove the volumes of these warm pools, but for one that a container has."""
