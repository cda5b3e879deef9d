"""A directory of this machine inside a container, or why it cannot be there."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mount:
    """`source` (absolute, on this machine) is `target` in the container; `stands_for` is what it is in the cloud."""

    source: str
    target: str
    read_only: bool
    stands_for: str


@dataclass(frozen=True)
class Refusal:
    """Why a channel cannot be had here, and what to do."""

    why: str
