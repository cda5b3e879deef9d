"""Who is told how a run goes: the port that the console fills."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from local_mode.channels import Told
from local_mode.engine import Image
from local_mode.plan import RunPlan
from local_mode.supervision import Signal


class Watcher(Told, Protocol):
    """Called from several threads, one at a time."""

    def begins(self, plan: RunPlan, image: Image) -> None:
        """The plan is about to be carried out."""

    def kept(self, directory: Path) -> None:
        """The job's hosts run: from now on its folder stays, however it ends."""

    def swept(self, jobs: list[str]) -> None:
        """The remains of these jobs, whose harness was killed, were removed."""

    def says(self, text: str) -> None:
        """Something that a person should know."""

    def status(self, status: str) -> None:
        """The job has a new secondary status."""

    def wrote(self, host: str, lines: bytes) -> None:
        """A host wrote whole lines, or at its end a last one without a line end."""

    def signalled(self, signal: Signal) -> None:
        """Hosts were sent a signal."""
