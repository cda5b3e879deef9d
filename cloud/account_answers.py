"""What an account answers when it is asked whether a job could run in it, as values. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from training_job.errors import Fault


@dataclass(frozen=True)
class Unknown:
    """No answer, and why there is none."""

    why: str


@dataclass(frozen=True)
class Missing:
    """The account has no such thing."""


@dataclass(frozen=True)
class Quota:
    """So many instances of a kind of use; `code` is what an increase is asked for by."""

    name: str
    value: float
    code: str


@dataclass(frozen=True)
class Mounted:
    """A file system as the account describes it: its own subnets, and the mount name it really has."""

    subnets: tuple[str, ...]
    mount_name: str | None = None


@dataclass(frozen=True)
class Subnet:
    """Where a subnet is."""

    zone: str
    vpc: str


@dataclass(frozen=True)
class Answers:
    """What the account said. Each may be Unknown; what the job does not need is empty."""

    caller: str | Unknown
    """The account of the credentials."""
    name: Missing | str | Unknown
    """The status of a job that has the name already."""
    trust: Mapping[str, Any] | Missing | Unknown
    """The role's trust policy."""
    quotas: Mapping[str, Quota | Missing | Unknown] = field(default_factory=dict)
    """By the name of the quota."""
    zones: Mapping[str, frozenset[str] | Unknown] = field(default_factory=dict)
    """The zones of the region that offer an instance type."""
    subnets: Mapping[str, Subnet] | Missing | Unknown = field(default_factory=dict)
    """The job's subnets, and those of its file systems."""
    security_groups: Sequence[Mapping[str, Any]] | Missing | Unknown = ()
    """As EC2 describes them."""
    file_systems: Mapping[str, Mounted | Missing | Unknown] = field(default_factory=dict)
    buckets: Mapping[str, str | Missing | Unknown] = field(default_factory=dict)
    """The region of each."""
    prefixes: Mapping[str, bool | Unknown] = field(default_factory=dict)
    """Whether something lies below each S3 URI."""
    image: str | Unknown | None = None
    """Why the image cannot be had from a registry; None where it can."""


Finding = tuple[Fault, bool]
"""What was found, and whether it is known to be so."""


def a_fault(where: str, what: str) -> Finding:
    """What the account's own answer says is wrong."""
    return Fault(where, what), True


def an_unknown(where: str, why: Unknown) -> Finding:
    """What nobody could say."""
    return Fault(where, why.why), False
