"""The warm pools of this machine: which job has which, and until when the others are kept.

A pool is a file in the state folder: locked while a job is in it, which the kernel undoes however the job's harness
ends, and holding the time (seconds since 1970) until which it waits for the next job. A harness that is killed leaves
none there, as an InternalServerError leaves no pool.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import time
from typing import Protocol, TextIO

from local_mode.harness import computer, computer_of
from local_mode.part_files import no_room_told
from local_mode.plan import RunPlan
from local_mode.warm_pool import CacheVolume, WarmPool
from training_job.container import WARM_POOL_CACHE
from training_job.errors import MachineCannot

_FOLDER = "pools"


class Pooling(Protocol):
    """What keeps a pool's volumes."""

    def pools(self) -> dict[str, str]:
        """The pools that have a volume here, and who says how long each is kept."""

    def remove_pools(self, names: Sequence[str]) -> None:
        """Remove their volumes."""


@dataclass(frozen=True)
class _Held:
    """A pool that nobody else has, its file, and until when it was to be kept."""

    path: Path
    file: TextIO
    until: float

    def keep(self, until: float) -> None:
        """Write down how long."""
        with no_room_told(self.path.parent, 0):
            self.file.seek(0)
            self.file.truncate()
            self.file.write(f"{until}")
            self.file.flush()


@contextmanager
def pooled(plan: RunPlan) -> Iterator[tuple[RunPlan, str | None]]:
    """The plan with the volumes of its warm pool, and what that is, in words. A run that ends keeps the pool for its
    KeepAlivePeriodInSeconds; one that breaks off leaves it as it was."""
    pool = plan.warm_pool
    if pool is None:
        yield plan, None
        return
    with _pool_of(pool, plan) as held:
        was = f"as {held.path.name.partition('-')[2]} left it" if held.until else "empty"
        owner = f"{computer()}:{held.path}"
        hosts = tuple(replace(host, cache_volume=CacheVolume(held.path.name, host.host, owner)) for host in plan.hosts)
        held.keep(0)
        try:
            yield replace(plan, hosts=hosts), f"{WARM_POOL_CACHE} {was}, kept for {pool.keep_alive} s after the job"
        except BaseException:
            held.keep(held.until)
            raise
        held.keep(time() + pool.keep_alive)


def sweep(state: Path, engine: Pooling) -> None:
    """Remove the pools whose time is over, and the volumes of pools that are no more."""
    folder = state / _FOLDER
    for path in folder.glob("*"):
        with _held(path) as held:
            if held and held.until < time():
                engine.remove_pools([path.name])
                path.unlink()
    gone = [name for name, owner in engine.pools().items() if _is_gone(owner)]
    if gone:
        engine.remove_pools(gone)


def _is_gone(owner: str) -> bool:
    return computer_of(owner) == computer() and not Path(owner.partition(":")[2]).exists()


@contextmanager
def _pool_of(pool: WarmPool, plan: RunPlan) -> Iterator[_Held]:
    """A pool of the kind that waits for a job, else a new one under this job's name."""
    folder = plan.place.state / _FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MachineCannot(
            f"{folder}: cannot be made: {error.strerror}. Put it elsewhere with HOMEPORT_STATE"
        ) from None
    for path in sorted(folder.glob(f"{pool.kind}-*")):
        with _held(path) as held:
            if held and held.until >= time():
                yield held
                return
    path = folder / f"{pool.kind}-{plan.name}"
    # Held before it has its name: whoever finds it free finds a remain.
    with Path(f"{path}.new").open("w+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        Path(file.name).rename(path)
        yield _Held(path, file, 0)


@contextmanager
def _held(path: Path) -> Iterator[_Held | None]:
    """A pool that is there and that nobody has; None for any other."""
    try:
        file = path.open("r+")
    except OSError:
        yield None
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_there = os.path.samestat(os.fstat(file.fileno()), path.stat())
        except OSError:
            is_there = False
        until = 0.0
        with suppress(ValueError):
            until = float(file.read())
        yield _Held(path, file, until) if is_there else None
