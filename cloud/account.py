"""What an AWS account is to a job: its role, bucket, network, file systems and registry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

FILE_SYSTEM_NAME = "training-data"
"""What job files call the stack's FSx for Lustre file system, unless the stack is told another name."""

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
    type: Literal["FSxLustre", "EFS"]
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
