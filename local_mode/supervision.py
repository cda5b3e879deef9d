"""Who is ended when, while a job's hosts run. Pure: events and times go in, signals to send come out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from training_job.lifecycle import PEER_GRACE_SECONDS, SPOT_GRACE_SECONDS, STOP_GRACE_SECONDS, Cause, Exit


@dataclass(frozen=True)
class HostEnded:
    """A host's container has ended."""

    host: str
    code: int
    out_of_memory: bool = False


@dataclass(frozen=True)
class StopAsked:
    """Somebody wants the job to end: Ctrl-C, or a signal to this process."""

    cause: Cause


@dataclass(frozen=True)
class TimePassed:
    """The deadline has come."""


Event = HostEnded | StopAsked | TimePassed


@dataclass(frozen=True)
class Signal:
    """A signal for hosts that still run."""

    name: str
    hosts: tuple[str, ...]


class Supervision:
    """The state of a running job. Times are seconds of one steady clock; `deadlines` says what happens when.

    A host that ends well is waited for no longer and stops nobody. The first that fails ends the others. A stop gives
    every host SIGTERM and the service's 120 seconds; a second one ends them at once.
    """

    def __init__(self, hosts: Iterable[str], deadlines: Mapping[Cause, float]) -> None:
        self.running = list(hosts)
        self.exits: list[Exit] = []
        self.cause: Cause = "exited"
        self.interrupted = False
        """Whether the instances are being taken away, whatever else is asked for meanwhile."""
        self.ending_since: float | None = None
        self._deadlines = dict(deadlines)
        self._kill_at: float | None = None

    @property
    def deadline(self) -> float | None:
        """When TimePassed is due next."""
        return min(self._deadlines.values(), default=None) if self.ending_since is None else self._kill_at

    def on(self, event: Event, now: float) -> Signal | None:
        """What to send because of `event`."""
        match event:
            case HostEnded():
                return self._ended(event, now)
            case StopAsked() if self.ending_since is None:
                return self._end(event.cause, now)
            case StopAsked():
                if self.interrupted:
                    self.cause = event.cause
                return self._kill()
            case TimePassed() if self.ending_since is None:
                cause, due = min(self._deadlines.items(), key=lambda item: item[1])
                return self._end(cause, now) if now >= due else None
            case TimePassed():
                return self._kill() if self._kill_at is not None and now >= self._kill_at else None

    def _ended(self, event: HostEnded, now: float) -> Signal | None:
        self.running.remove(event.host)
        self.exits.append(Exit(event.host, event.code, len(self.exits), event.out_of_memory))
        if event.code != 0 and self.ending_since is None:
            return self._terminate(now, PEER_GRACE_SECONDS)
        return None

    def _end(self, cause: Cause, now: float) -> Signal | None:
        self.cause = cause
        self.interrupted = cause == "spot interruption"
        return self._terminate(now, SPOT_GRACE_SECONDS if self.interrupted else STOP_GRACE_SECONDS)

    def _terminate(self, now: float, grace: float) -> Signal | None:
        """Begin the end: from here on only the kill is due."""
        self.ending_since = now
        self._kill_at = now + grace
        return self._signal("SIGTERM")

    def _kill(self) -> Signal | None:
        self._kill_at = None
        return self._signal("SIGKILL")

    def _signal(self, name: str) -> Signal | None:
        return Signal(name, tuple(self.running)) if self.running else None
