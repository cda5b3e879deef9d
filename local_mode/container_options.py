"""[local.container] of homeport.toml: what the containers of this machine get besides what their job asks for. Pure.

The words are docker compose's, which the SageMaker SDK's `local.container_config` speaks too (sagemaker 2.257.7,
local/image.py, _create_docker_host). What would change what the job finds (its image, command, mounts, network, init)
is not among them: that is the job's.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field


def _size(text: str) -> str:
    if not re.fullmatch(r"[0-9]+[bkmg]?b?", text, re.IGNORECASE):
        raise ValueError(f"{text!r} must be a size such as 512m or 16g")
    return text


def _both(limit: Any) -> Any:
    return {"soft": limit, "hard": limit} if isinstance(limit, int) else limit


Size = Annotated[str, AfterValidator(_size)]


class _Ulimit(BaseModel):
    """A limit of each process; -1 is none."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    soft: int
    hard: int


Ulimit = Annotated[_Ulimit, BeforeValidator(_both)]
"""A number is both of it."""


class ContainerOptions(BaseModel):
    """Raw options of the engine; None and nothing leave its own."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    shm_size: Size | None = None
    mem_limit: Size | None = None
    cpus: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    ulimits: dict[str, Ulimit] = Field(default_factory=dict)
    cap_add: list[str] = Field(default_factory=list)
    cap_drop: list[str] = Field(default_factory=list)
    devices: list[str] = Field(default_factory=list)
    security_opt: list[str] = Field(default_factory=list)
    sysctls: dict[str, str | int] = Field(default_factory=dict)
    extra_hosts: dict[str, str] = Field(default_factory=dict)
    dns: list[str] = Field(default_factory=list)
    dns_search: list[str] = Field(default_factory=list)
    group_add: list[str] = Field(default_factory=list)
    tmpfs: dict[str, str] = Field(default_factory=dict)
    privileged: bool | None = None
    ipc: str | None = None
    pid: str | None = None
    runtime: str | None = None
