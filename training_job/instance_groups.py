"""The groups of a heterogeneous cluster as a job file's distribution names them. Pure.

The rules are those of sagemaker 2.257.7, fw_utils.validate_distribution. A distribution that names no group would have
the toolkit start one in each group, every one with a leader of its own (sagemaker-training 5.1.4, environment.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from training_job.spelling import nearest


def groups_of(table: Mapping[str, Any]) -> list[str]:
    """The names of the job file's groups, in its own words or in those of its request; what is none is left out."""
    inner: Any = table.get("request")
    for key in ("ResourceConfig", "InstanceGroups"):
        inner = inner.get(key) if isinstance(inner, dict) else None
    entries = inner if inner is not None else table.get("instance_groups")
    names = ("instance_group_name", "InstanceGroupName")
    found = entries if isinstance(entries, list) else ()
    return [str(entry[key]) for entry in found if isinstance(entry, dict) for key in names if key in entry]


def group_fault(distribution: Mapping[str, Any], groups: Sequence[str]) -> str | None:
    """What is wrong with the groups that a distribution is for."""
    named = distribution.get("instance_groups", [])
    if named and not groups:
        return "names groups, and the job has no instance_groups"
    if unknown := next((name for name in named if name not in groups), None):
        return f"the job has no instance group {unknown!r}{nearest(unknown, groups)}"
    if len(groups) > 1 and distribution and len(named) != 1:
        return f"must name one of the job's groups ({', '.join(groups)}): a distribution is for one group"
    return None
