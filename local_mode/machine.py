"""What this machine has: the engine's own view where it runs elsewhere, this computer's GPUs where it has some."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Machine:
    """What jobs can have here. `gpus` are NVIDIA device ids, `held` those that jobs have now, with the job; memory is
    in bytes. `same_kernel` is false for an engine in a virtual machine or on another computer."""

    cores: int
    memory: int
    gpus: tuple[str, ...] = ()
    rootless: bool = False
    same_kernel: bool = True
    engine: str = ""
    held: Mapping[str, str] = field(default_factory=dict)


def find_gpus() -> tuple[str, ...]:
    """The ids of this computer's NVIDIA GPUs, by nvidia-smi; none where it is missing or finds no driver."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    asked = subprocess.run(
        [program, "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True, check=False, timeout=30
    )
    return tuple(asked.stdout.split()) if asked.returncode == 0 else ()
