"""How long a job may run and wait, when it is interrupted, and how often it is tried again. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from training_job.model import TrainingJob


@dataclass(frozen=True)
class Limits:
    """Times are seconds. `max_run` is of training, over all attempts; `max_wait` of everything since the job's start.

    Each of `interruptions` counts from the start of the hosts: the first from their first, the second from the restart
    after the first, and so on.
    """

    max_run: float
    max_wait: float | None = None
    interruptions: tuple[float, ...] = ()
    retries: int = 0


def limits(job: TrainingJob, interruptions: tuple[float, ...]) -> Limits:
    """The limits that the job has, with the interruptions that somebody wants to see."""
    stopping = job.stopping_condition
    return Limits(
        max_run=stopping.limit_in_seconds,
        max_wait=stopping.max_wait_time_in_seconds,
        interruptions=interruptions,
        retries=job.retry_strategy.maximum_retry_attempts if job.retry_strategy else 0,
    )
