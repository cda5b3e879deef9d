"""homeport.toml as both places read it: where it is, its tables, and what [cloud] may say.

Each place reads its own table and leaves the other's alone; [cloud] stands here, since its region is also where a job
believes itself to be when it runs at home. Does no I/O but look for the file and read it.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from training_job.errors import Fault, JobRefused
from training_job.faults import dotted, faults_of
from training_job.model import RoleArn, SecurityGroupIds, Subnets
from training_job.toml_text import line_of
from training_job.words import limits, member_fault

FILE = "homeport.toml"
DEFAULT_REGION = "us-west-2"
DEFAULT_STACK = "homeport"

FileSystemId = Annotated[str, limits(None, None, "fs-[0-9a-f]{8,18}")]


class Table(BaseModel):
    """A table of the file: unknown keys are faults, values are never coerced."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", regex_engine="python-re")


class Runs(Table):
    """What both places read of [local]: where the folders of jobs go, which ran here or in the cloud."""

    runs: str = "runs"


_File = TypeVar("_File", bound=Table)


class CloudFileSystem(Table):
    """A file system of the account, by the name that job files use: fsx://NAME/path."""

    id: FileSystemId
    type: Literal["FSxLustre", "EFS"] = "FSxLustre"
    mount_name: Annotated[str, limits(1, 8, "[A-Za-z0-9_-]+")] | None = None
    """FSx for Lustre's own (API: LustreFileSystemMountName); a directory's path in a request begins with it."""

    @model_validator(mode="after")
    def _only_lustre_has_a_mount_name(self) -> Self:
        if self.type == "FSxLustre" and self.mount_name is None:
            raise member_fault("mount_name", "is needed: aws fsx describe-file-systems tells it as MountName")
        if self.type == "EFS" and self.mount_name is not None:
            raise member_fault("mount_name", "is for FSx for Lustre: EFS has none")
        return self


class Cloud(Table):
    """[cloud]: the account that jobs are sent to. What is not said here comes from the stack's outputs."""

    region: Annotated[str, limits(1, 32, "[a-z]{2,4}(-[a-z]+)+-[0-9]+")] = DEFAULT_REGION
    stack: Annotated[str, limits(1, 128, "[A-Za-z][A-Za-z0-9-]*")] | None = None
    """CloudFormation's pattern of a stack's name."""
    role: RoleArn | None = None
    bucket: Annotated[str, limits(3, 63, "[a-z0-9][a-z0-9.-]*[a-z0-9]")] | None = None
    subnets: Subnets | None = None
    security_groups: SecurityGroupIds | None = None
    registry: Annotated[str, limits(1, 255, r"[A-Za-z0-9.-]+(:[0-9]+)?")] | None = None
    """Host of the registry that images are pushed to, where it is not the account's ECR in this region."""
    file_systems: dict[str, CloudFileSystem] = Field(default_factory=dict)

    @property
    def stack_name(self) -> str:
        """The stack whose outputs are the rest."""
        return self.stack or DEFAULT_STACK


def find(start: Path, environ: Mapping[str, str]) -> Path | None:
    """HOMEPORT_FILE, or the nearest homeport.toml at or above `start`. Raises JobRefused for a named one not there."""
    if named := environ.get("HOMEPORT_FILE"):
        path = (start / named).resolve()
        if not path.is_file():
            raise JobRefused("HOMEPORT_FILE", [Fault("", f"{path}: there is no such file")])
        return path
    start = start.resolve()
    return next((folder / FILE for folder in (start, *start.parents) if (folder / FILE).is_file()), None)


def read(file: Path, model: type[_File]) -> _File:
    """The file as `model`. Raises JobRefused with every fault, its line and the nearest right spelling."""
    try:
        text = file.read_text(encoding="utf-8-sig")
        return model.model_validate_json(json.dumps(tomllib.loads(text), default=str))
    except ValidationError as error:
        faults = []
        for place, what in faults_of(error, model):
            line = line_of(text, place)
            faults.append(Fault(f"{file.name}:{line} {dotted(place)}" if line else dotted(place), what))
        raise JobRefused(str(file), faults) from None
    except (OSError, ValueError, RecursionError) as error:
        raise JobRefused(str(file), [Fault("", f"cannot be read: {error}")]) from None


def runs_of(
    written: Runs, *, start: Path, root: Path, environ: Mapping[str, str], source: str, flag: Path | None
) -> Path:
    """Where run folders go: the flag --runs, HOMEPORT_RUNS, or what the file says, in this order."""
    asked = str(flag) if flag else environ.get("HOMEPORT_RUNS")
    return path_from(start, asked, "--runs") if asked else path_from(root, written.runs, source)


def path_from(root: Path, relative: str, source: str) -> Path:
    """A path of the file, which starts from the file's own folder. Raises JobRefused, `source` naming what says it."""
    try:
        return (root / Path(relative).expanduser()).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise JobRefused(source, [Fault("", f"{relative!r} is no path: {error}")]) from None
