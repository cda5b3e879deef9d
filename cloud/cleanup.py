"""What of an account is this project's to remove: by its tag, and nothing without it. Pure; removal.py does it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What can be removed, in the order in which it is: what stands on something before what it stands on."""

    TRAINING_JOB = "training job"
    STACK = "stack"
    NOTEBOOK = "notebook instance"
    NOTEBOOK_START = "notebook lifecycle configuration"
    LUSTRE = "FSx for Lustre file system"
    EFS = "EFS file system"
    REPOSITORY = "repository"
    BUCKET = "bucket"


_EFFECT = {
    Kind.TRAINING_JOB: "stopped",
    Kind.STACK: "deleted, with all in it that holds no data",
    Kind.EFS: "deleted, with everything in it",
    Kind.LUSTRE: "deleted, with everything in it",
    Kind.REPOSITORY: "deleted, with its images",
    Kind.BUCKET: "emptied and deleted",
}
_KINDS = {
    ("cloudformation", "stack"): Kind.STACK,
    ("sagemaker", "training-job"): Kind.TRAINING_JOB,
    ("sagemaker", "notebook-instance"): Kind.NOTEBOOK,
    ("sagemaker", "notebook-instance-lifecycle-config"): Kind.NOTEBOOK_START,
    ("fsx", "file-system"): Kind.LUSTRE,
    ("elasticfilesystem", "file-system"): Kind.EFS,
    ("ecr", "repository"): Kind.REPOSITORY,
    ("s3", ""): Kind.BUCKET,
}


@dataclass(frozen=True)
class Tagged:
    """Something in an account, and its tags."""

    arn: str
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Removal:
    """One thing that is removed."""

    kind: Kind
    arn: str
    name: str
    """What its service calls it by."""

    def __str__(self) -> str:
        return f"{self.kind.value} {self.name}: {_EFFECT.get(self.kind, 'deleted')}"


@dataclass(frozen=True)
class Cleanup:
    """What is removed, in order, and what has the tag and stays: `left` goes by no way known here."""

    removals: tuple[Removal, ...]
    left: tuple[str, ...]
    ended_jobs: int
    """Training jobs that have ended: AWS keeps their descriptions, which cost nothing."""


def plan_cleanup(
    found: Iterable[Tagged], *, tag: str, stack: str, goes_with_stack: Collection[str], running: Collection[str]
) -> Cleanup:
    """What is removed of what was found. Only what has `tag` with the stack's name for its value is looked at.

    `goes_with_stack` are the physical ids of what the stack's deletion removes, `running` the names of training jobs.
    """
    removals, left, ended = [], [], 0
    for arn in sorted({item.arn for item in found if item.tags.get(tag) == stack}):
        kind, name = _kind_and_name(arn)
        if kind is Kind.TRAINING_JOB and name not in running:
            ended += 1
        elif kind is Kind.STACK and name != stack:
            left.append(arn)
        elif not {arn, name} & set(goes_with_stack):
            if kind:
                removals.append(Removal(kind, arn, name))
            else:
                left.append(arn)
    order = list(Kind)
    return Cleanup(tuple(sorted(removals, key=lambda item: (order.index(item.kind), item.name))), tuple(left), ended)


def _kind_and_name(arn: str) -> tuple[Kind | None, str]:
    """`arn:aws:ecr:us-west-2:123456789012:repository/homeport/tensorflow` is a repository, homeport/tensorflow."""
    _, _, service, _, _, resource = arn.split(":", 5)
    if service == "s3":
        return Kind.BUCKET, resource
    kind, _, name = resource.partition("/")
    if service == "cloudformation":
        name = name.partition("/")[0]
    return _KINDS.get((service, kind)), name
