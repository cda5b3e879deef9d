"""What an AWS account is to a job: its role, bucket, network, file systems and registry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from training_job.errors import AccountCannot
from training_job.place_file import Cloud

FILE_SYSTEM_NAME = "training-data"
"""What job files call the stack's FSx for Lustre file system, unless the stack is told another name."""

HOME_NAME = "home"
"""The same for its EFS."""

FileSystemType = Literal["FSxLustre", "EFS"]

# The stack's outputs (cloud/cloudformation) that homeport.toml's `stack =` stands for.
ROLE = "RoleArn"
BUCKET = "BucketName"
SUBNETS = "SubnetIds"
SECURITY_GROUPS = "SecurityGroupIds"
FSX_NAME, FSX_ID, FSX_MOUNT_NAME = "FsxName", "FsxFileSystemId", "FsxMountName"
EFS_NAME, EFS_ID = "EfsName", "EfsFileSystemId"


@dataclass(frozen=True)
class FileSystem:
    """A file system of the account. `mount_name` is FSx for Lustre's own and None for EFS."""

    id: str
    type: FileSystemType
    mount_name: str | None = None


@dataclass(frozen=True)
class Account:
    """One account in one region, as a stack's outputs and homeport.toml's [cloud] describe it."""

    account_id: str
    region: str
    role_arn: str
    bucket: str
    """Where artifacts go that the job names no S3OutputPath for, source archives and pushed data."""
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    file_systems: Mapping[str, FileSystem] = field(default_factory=dict)
    """By the name that job files use: fsx://NAME/path."""
    registry: str = ""
    """Host of its ECR registry; where empty, ACCOUNT.dkr.ecr.REGION.amazonaws.com of its partition."""


def account_of(written: Cloud, outputs: Mapping[str, str], *, region: str) -> Account:
    """The account as the stack's outputs say, overridden by what homeport.toml says by hand. Pure.

    Raises AccountCannot with every output that is missing and named nowhere else.
    """
    role, bucket = written.role or outputs.get(ROLE), written.bucket or outputs.get(BUCKET)
    if not role or not bucket:
        lacks = [(ROLE, "role")] * (not role) + [(BUCKET, "bucket")] * (not bucket)
        outputs_lacking = " and no output ".join(output for output, _ in lacks)
        raise AccountCannot(
            f"stack {written.stack_name} in {region} has no output {outputs_lacking}. Bring it up to date: "
            f"homeport-cloud stack up, or name {' and '.join(key for _, key in lacks)} in [cloud] of homeport.toml"
        )
    return Account(
        account_id=role.split(":")[4],
        region=region,
        role_arn=role,
        bucket=bucket,
        subnets=written.subnets or _listed(outputs.get(SUBNETS)),
        security_groups=written.security_groups or _listed(outputs.get(SECURITY_GROUPS)),
        file_systems=_of_stack(outputs) | _by_hand(written),
        registry=written.registry or "",
    )


def planned_account(written: Cloud, *, region: str, file_systems: Iterable[tuple[str, FileSystemType]]) -> Account:
    """The account before its stack was asked: what the outputs will say stands as `<RoleArn of stack homeport>`.

    `file_systems` are those the job names; any that homeport.toml does not know will have to be the stack's.
    """

    def later(output: str) -> str:
        return f"<{output} of stack {written.stack_name}>"

    theirs = {
        name: FileSystem(later(FSX_ID), kind, later(FSX_MOUNT_NAME))
        if kind == "FSxLustre"
        else FileSystem(later(EFS_ID), kind)
        for name, kind in file_systems
    }
    return Account(
        account_id=written.role.split(":")[4] if written.role else "",
        region=region,
        role_arn=written.role or later(ROLE),
        bucket=written.bucket or later(BUCKET),
        subnets=written.subnets or (later(SUBNETS),),
        security_groups=written.security_groups or (later(SECURITY_GROUPS),),
        file_systems=theirs | _by_hand(written),
        registry=written.registry or "",
    )


def _listed(output: str | None) -> tuple[str, ...]:
    """An output that joins several with commas."""
    return tuple(part.strip() for part in (output or "").split(",") if part.strip())


def _of_stack(outputs: Mapping[str, str]) -> dict[str, FileSystem]:
    found: dict[str, FileSystem] = {}
    if identifier := outputs.get(FSX_ID):
        name = outputs.get(FSX_NAME, FILE_SYSTEM_NAME)
        found[name] = FileSystem(identifier, "FSxLustre", outputs.get(FSX_MOUNT_NAME))
    if identifier := outputs.get(EFS_ID):
        found[outputs.get(EFS_NAME, HOME_NAME)] = FileSystem(identifier, "EFS")
    return found


def _by_hand(written: Cloud) -> dict[str, FileSystem]:
    return {
        name: FileSystem(system.id, system.type, system.mount_name) for name, system in written.file_systems.items()
    }
