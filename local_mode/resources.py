"""How much of this machine a host has: as much as its instance type, as far as this machine goes. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from local_mode.machine import Machine
from training_job.instance_types import instance_type

_GIB = 1 << 30


@dataclass(frozen=True)
class Resources:
    """What one host has, in cores and bytes. Only where it is `held` does the engine keep it to that."""

    cpus: int
    memory: int
    held: bool = False

    @property
    def shared_memory(self) -> int:
        """Half, which is Linux's own rule for a tmpfs. How large it is in SageMaker is not documented."""
        return self.memory // 2


def resources(type_name: str, machine: Machine, *, held: bool) -> Resources:
    """What a host of this instance type has here."""
    kind = instance_type(type_name)
    return Resources(min(kind.vcpus, machine.cores), min(int(kind.memory_gib * _GIB), machine.memory), held)


def told(type_name: str, machine: Machine) -> str:
    """What a held host has, in words."""
    kind, found = instance_type(type_name), resources(type_name, machine, held=True)
    less = kind.vcpus > found.cpus or kind.memory_gib * _GIB > found.memory
    why = f", all this machine has: the type has {kind.vcpus} vCPUs, {kind.memory_gib:g} GiB" if less else ""
    return f"held to {found.cpus} vCPUs and {found.memory / _GIB:.1f} GiB{why}"
