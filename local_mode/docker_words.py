"""What the engine is asked to make, in its own words."""

from __future__ import annotations

from typing import Any

import docker.types
from docker import APIClient

from local_mode.plan import JOB_LABEL, HostPlan, RunPlan
from training_job.container import WARM_POOL_CACHE

OWNER_LABEL = "homeport.owner"
POOL_LABEL = "homeport.pool"
_RAISED = {"stack": (64 << 20, 64 << 20), "memlock": (-1, -1)}
"""Limits of a process that NCCL wants higher: soft and hard."""


def container_words(api: APIClient, plan: RunPlan, host: HostPlan, owner: str) -> dict[str, Any]:
    """A host in the engine's words, which are spoken nowhere else."""
    named = labels(plan, owner)
    mounts = [
        docker.types.Mount(target, None, type="volume", no_copy=True, labels=named) for target in host.volumes
    ] + [
        docker.types.Mount(mount.target, mount.source, type="bind", read_only=mount.read_only) for mount in host.mounts
    ]
    if cache := host.cache_volume:
        # Not the job's, which would take it along when it ends.
        pool = {POOL_LABEL: cache.pool, OWNER_LABEL: cache.owner}
        mounts.append(docker.types.Mount(WARM_POOL_CACHE, cache.name, type="volume", no_copy=True, labels=pool))
    devices = [docker.types.DeviceRequest(device_ids=list(host.gpus.ids), capabilities=[["gpu"]])]
    return {
        "image": host.image,
        "name": f"{plan.network}-{host.host}",
        "hostname": host.hostname,
        "entrypoint": list(host.entrypoint) if host.entrypoint else None,
        "command": list(host.command),
        "environment": host.environment,
        "labels": named | {"homeport.host": host.host},
        "host_config": api.create_host_config(
            mounts=mounts,
            network_mode=plan.network,
            # Whole lines until the job has ended, whatever rotation the daemon is set to.
            log_config=docker.types.LogConfig(type="json-file", config={"max-size": "1000g"}),
            device_requests=devices if host.gpus.ids else None,
            **_resources(plan, host),
        ),
        "networking_config": api.create_networking_config(
            {plan.network: api.create_endpoint_config(aliases=[host.host])}  # type: ignore[arg-type]
        ),
    }


def labels(plan: RunPlan, owner: str) -> dict[str, str]:
    """What everything of a job is labelled with."""
    return {JOB_LABEL: plan.name, OWNER_LABEL: owner}


def _resources(plan: RunPlan, host: HostPlan) -> dict[str, Any]:
    """What the container may use; what homeport.toml says of it wins."""
    asked = plan.container
    ulimits = dict(_RAISED) if plan.raised_limits else {}
    ulimits |= {name: (limit.soft, limit.hard) for name, limit in asked.ulimits.items()}
    chosen = asked.model_dump(exclude_none=True, exclude={"ulimits", "cpus", "ipc", "pid"})
    has = host.resources
    cpus = asked.cpus or (has.cpus if has.held else None)
    memory = asked.mem_limit or (has.memory if has.held else None)
    return {
        "shm_size": has.shared_memory,
        **{name: value for name, value in chosen.items() if value not in ([], {})},
        "ulimits": [docker.types.Ulimit(name=name, soft=soft, hard=hard) for name, (soft, hard) in ulimits.items()],
        "ipc_mode": asked.ipc,
        "pid_mode": asked.pid,
        "nano_cpus": round(cpus * 1e9) if cpus else None,
        "mem_limit": memory,
        # A host of SageMaker has no swap.
        "memswap_limit": memory,
    }
