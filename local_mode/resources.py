"""How much of this machine a host may use: as much as its instance type has, where that is asked for. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from local_mode.machine import Machine
from training_job.instance_types import instance_type

_GIB = 1 << 30


@dataclass(frozen=True)
class Resources:
    """What one container may use, in bytes and cores; None where nothing is held back."""

    shared_memory: int
    memory: int | None = None
    cpus: int | None = None


def resources(type_name: str, machine: Machine, *, held: bool) -> Resources:
    """What a host may use; `held` to its instance type's cores and memory, as far as this machine has them.

    /dev/shm is half of the memory, Linux's own rule for a tmpfs: its size in SageMaker is not documented.
    """
    kind = instance_type(type_name)
    memory = min(int(kind.memory_gib * _GIB), machine.memory)
    return Resources(memory // 2, memory, min(kind.vcpus, machine.cores)) if held else Resources(memory // 2)


def told(type_name: str, machine: Machine) -> str:
    """What a held host has, in words."""
    found = resources(type_name, machine, held=True)
    assert found.memory is not None
    kind = instance_type(type_name)
    less = kind.vcpus > machine.cores or kind.memory_gib * _GIB > machine.memory
    why = f", all this machine has: the type has {kind.vcpus} vCPUs, {kind.memory_gib:g} GiB" if less else ""
    return f"held to {found.cpus} vCPUs and {found.memory / _GIB:.1f} GiB{why}"
