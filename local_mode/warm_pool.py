"""A warm pool as a job asks for it: which jobs one fits, and how long its cache is kept. Pure.

Facts: developer guide, train-warm-pools. Instances are nothing that could be kept here; the directory that outlives a
job is. UNVERIFIED: what a job without KeepAlivePeriodInSeconds finds there; here it is in no pool.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from training_job.model import TrainingJob


@dataclass(frozen=True)
class WarmPool:
    """`kind` is the same for all jobs that may follow one another; `keep_alive` is seconds after each of them."""

    kind: str
    keep_alive: int


@dataclass(frozen=True)
class CacheVolume:
    """The engine's volume that is a host's share of a pool, and who says how long it is kept."""

    pool: str
    host: str
    owner: str

    @property
    def name(self) -> str:
        """What the engine calls it."""
        return f"homeport-pool-{self.pool}-{self.host}"


def warm_pool(job: TrainingJob) -> WarmPool | None:
    """The pool that a job asks for. The image and the hyperparameters may differ from job to job; what is told apart
    is what the service tells apart."""
    resources = job.resource_config
    if not resources.keep_alive_period_in_seconds:
        return None
    vpc = job.vpc_config
    told_apart = (
        job.role_arn,
        [(group.instance_type, group.instance_count) for group in job.instance_groups],
        resources.volume_kms_key_id,
        resources.volume_size_in_gb,
        [vpc.security_group_ids, vpc.subnets] if vpc else [],
        bool(job.enable_inter_container_traffic_encryption),
        bool(job.enable_network_isolation),
    )
    kind = hashlib.sha256(json.dumps(told_apart).encode()).hexdigest()[:12]
    return WarmPool(kind, resources.keep_alive_period_in_seconds)
