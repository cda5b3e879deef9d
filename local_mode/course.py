"""The course of a run: its statuses, lines and interruptions, told to whoever watches and kept on disk as they come."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime

from local_mode.plan import RunPlan
from local_mode.records import RunRecord
from local_mode.supervision import Signal
from local_mode.watcher import Watcher
from training_job.lifecycle import Cause, Transition
from training_job.metrics import Metrics


@dataclass(frozen=True)
class Interruption:
    """Hosts were taken away after `trained` seconds, the last `lost` of which no checkpoint in `kept` holds.

    `lost` is None where nothing had got there, `kept` where the job has no checkpoints.
    """

    trained: float
    lost: float | None
    kept: str | None

    def __str__(self) -> str:
        after = f"interrupted after {self.trained:.0f} s"
        if self.kept is None:
            return f"{after}: all of it is lost, since the job has no CheckpointConfig (checkpoint_s3_uri)"
        if self.lost is None:
            return f"{after}: all of it is lost: no checkpoint had reached {self.kept} yet"
        return (
            f"{after}: {self.lost:.0f} s of work are lost, those since the last checkpoint that had reached {self.kept}"
        )

    @property
    def seconds_lost(self) -> float:
        """How much has to be done again."""
        return self.trained if self.lost is None else self.lost


@dataclass
class Course:
    """What all attempts of a run share; called from several threads. `began` and `trained` are seconds."""

    plan: RunPlan
    record: RunRecord
    watcher: Watcher
    began: float
    metrics: Metrics
    trained: float = 0.0
    transitions: list[Transition] = field(default_factory=list)
    interruptions: list[Interruption] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)
    measuring: threading.Lock = field(default_factory=threading.Lock)

    @property
    def waits_until(self) -> float:
        """When MaxWaitTimeInSeconds is over."""
        wait = self.plan.limits.max_wait
        return self.began + (wait if wait is not None else math.inf)

    def deadlines(self, started: float) -> dict[Cause, float]:
        """What ends hosts that were started then, and when."""
        limits = self.plan.limits
        found: dict[Cause, float] = {"ran past its time": started + limits.max_run - self.trained}
        if limits.max_wait is not None:
            found["waited too long"] = self.waits_until
        if due := limits.interruptions[len(self.interruptions) :]:
            found["spot interruption"] = started + due[0]
        return found

    def interrupted(self, interruption: Interruption) -> None:
        """The hosts were taken away."""
        self.interruptions.append(interruption)
        self.says(str(interruption))

    def enter(self, status: str) -> None:
        """A new secondary status."""
        with self.lock:
            self.transitions.append(Transition(status, now()))
            problem = self.record.entered(self.transitions)
            self.watcher.status(status)
            if problem:
                self.watcher.says(str(problem))

    def kept(self) -> None:
        """The job has begun: its folder stays."""
        self.record.keep(self.plan)
        with self.lock:
            self.watcher.kept(self.record.directory)

    def has_started(self) -> None:
        """A host runs: with the first, the job is training."""
        with self.lock:
            if self.transitions[-1].status != "Training":
                self.enter("Training")

    def says(self, text: str) -> None:
        """Something that a person should know."""
        with self.lock:
            self.watcher.says(text)

    def signalled(self, signal: Signal) -> None:
        """Hosts are sent a signal."""
        with self.lock:
            self.watcher.signalled(signal)

    def wrote(self, host: str, lines: bytes) -> None:
        """A host wrote whole lines. Raises DiskFull."""
        self.record.wrote(host, lines)
        self.watcher.wrote(host, lines)

    def measure(self, host: str, lines: bytes) -> None:
        """Keep the metrics in whole lines. Raises DiskFull. To be called without `lock`: patterns may take long."""
        with self.measuring:
            self.record.measured(self.metrics.read(lines.decode(errors="replace"), now, host))

    def mark_logs(self) -> None:
        """Say in an earlier attempt's logs that another begins. UNVERIFIED: whether the cloud begins new streams."""
        for host in self.plan.hosts:
            self.record.wrote(host.host, b"\n--- homeport: the job starts anew ---\n")


def now() -> datetime:
    """The time of a transition."""
    return datetime.now(UTC)
