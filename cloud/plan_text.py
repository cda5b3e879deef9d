"""A plan for a person: what would be sent, and what it would cost. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cloud.place import CloudPlace
from training_job import instance_types
from training_job.log_text import duration
from training_job.model import TrainingJob


def plan_text(job: TrainingJob, request: Mapping[str, Any], place: CloudPlace, job_file: str) -> str:
    """The request whole, then the price, then how to send it."""
    return "\n".join(
        [
            header(job, str(request["AlgorithmSpecification"].get("TrainingImage", "")), place),
            json.dumps(request, indent=2, ensure_ascii=False),
            *(f"  {line}" for line in price_lines(job)),
            f"nothing was started or asked; send it: homeport-cloud train {job_file}",
        ]
    )


def header(job: TrainingJob, image: str, place: CloudPlace) -> str:
    """Which job, on what, with which image, where."""
    groups = " + ".join(f"{group.instance_type} × {group.instance_count}" for group in job.instance_groups)
    parts = (job.training_job_name, groups, image, f"{place.region}, stack {place.written.stack_name}")
    return " · ".join(part for part in parts if part)


def price_lines(job: TrainingJob) -> list[str]:
    """What an hour bills, and at most the whole run; said in words where the price of a type is not known."""
    groups = [(group.instance_type, group.instance_count) for group in job.instance_groups]
    price = instance_types.price_per_hour(groups) if groups else None
    longest = job.stopping_condition.limit_in_seconds
    if price is None:
        names = ", ".join(dict.fromkeys(name for name, _ in groups)) or "the instance that will be chosen"
        return [f"price        of {names} is not in the table of training_job/instance_types.py"]
    told = (
        f"price        ${price:,.2f} an hour, at most ${price * longest / 3600:,.2f} for max_run ({duration(longest)})"
    )
    spot = "; a spot job bills less, by what the market says" if job.enable_managed_spot_training else ""
    return [
        f"{told}{spot}",
        f"             on demand in us-east-1, {instance_types.PRICES_OF}, without storage and data",
    ]
