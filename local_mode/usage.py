"""What each host uses of this machine while it runs, sampled from the engine every few seconds.

`CPUUtilization` and `MemoryUtilization` mean what they mean in SageMaker's instance metrics (developer guide,
monitoring-cloudwatch, "Metrics for training jobs"): per cent, the first of it summed over cores.
"""

from __future__ import annotations

import csv
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from local_mode.engine import Host, Usage
from training_job.errors import HomeportError

INTERVAL = 2.0
_QUERY = "--query-gpu=index,utilization.gpu,memory.used,memory.total"

Point = dict[str, Any]


@dataclass(frozen=True)
class Sampled:
    """A host to sample: the `memory` it has, in bytes, and the ids of its real GPUs."""

    host: Host
    memory: int
    gpus: tuple[str, ...] = ()


@contextmanager
def sampling(hosts: Mapping[str, Sampled], keep: Callable[[Point], None], interval: float = INTERVAL) -> Iterator[None]:
    """Sample the hosts, by name, while the context is open. `keep` is called from a thread, and not after that."""
    ended, turn = threading.Event(), threading.Lock()

    def kept(found: Point) -> None:
        with turn:
            if not ended.is_set():
                keep(found)

    threading.Thread(target=_sample, args=(hosts, kept, ended, interval), name="usage", daemon=True).start()
    try:
        yield
    finally:
        # Not waited for: an engine takes its time to answer, and nobody hears it any more.
        with turn:
            ended.set()


def point(host: str, now: Usage, before: Usage, seconds: float, memory: int) -> Point:
    """What a host used between two samples."""
    return {
        "Host": host,
        "CPUUtilization": round(100 * (now.cpu_seconds - before.cpu_seconds) / seconds, 1),
        "MemoryUtilization": round(100 * now.memory / memory, 1),
        "MemoryBytes": now.memory,
        "ReceivedBytesPerSecond": round((now.received - before.received) / seconds),
        "SentBytesPerSecond": round((now.sent - before.sent) / seconds),
    }


def read_gpus(text: str) -> dict[str, tuple[float, float]]:
    """nvidia-smi's answer: each device's utilization and memory, in per cent."""
    found = {}
    for row in csv.reader(text.splitlines(), skipinitialspace=True):
        with suppress(ValueError):
            index, used, held, whole = row
            found[index] = float(used), round(100 * float(held) / float(whole), 1)
    return found


def _sample(
    hosts: Mapping[str, Sampled], keep: Callable[[Point], None], ended: threading.Event, interval: float
) -> None:
    before: dict[str, tuple[float, Usage]] = {}
    # A job needs no samples: what hinders one is left to what does the job's work, which meets it too.
    with suppress(HomeportError):
        while not ended.is_set():
            devices = _gpus() if any(sampled.gpus for sampled in hosts.values()) else {}
            for name, sampled in hosts.items():
                if (now := sampled.host.usage()) is None:
                    continue
                at = monotonic()
                if name in before:
                    then, earlier = before[name]
                    found = point(name, now, earlier, at - then, sampled.memory)
                    own = {gpu: devices[gpu] for gpu in sampled.gpus if gpu in devices}
                    keep({"Timestamp": datetime.now(UTC).isoformat(), **found, **_of_gpus(own)})
                before[name] = at, now
            ended.wait(interval)


def _of_gpus(found: Mapping[str, tuple[float, float]]) -> Point:
    """Summed over a host's devices, as SageMaker's GPUUtilization and GPUMemoryUtilization are."""
    if not found:
        return {}
    used, held = zip(*found.values(), strict=True)
    return {"GPUUtilization": sum(used), "GPUMemoryUtilization": round(sum(held), 1)}


def _gpus() -> dict[str, tuple[float, float]]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return {}
    with suppress(OSError, subprocess.TimeoutExpired):
        command = [program, _QUERY, "--format=csv,noheader,nounits"]
        asked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
        return read_gpus(asked.stdout) if asked.returncode == 0 else {}
    return {}
