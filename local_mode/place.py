"""homeport.toml: which directory of this machine is which file system or bucket, and where runs go."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from local_mode.container_options import ContainerOptions
from local_mode.job_store import state_directory
from training_job.errors import Fault, JobRefused
from training_job.faults import dotted, faults_of
from training_job.s3_uri import S3Uri
from training_job.toml_text import line_of

FILE = "homeport.toml"
DEFAULT_REGION = "us-west-2"
DEFAULT_CACHE = "~/.cache/homeport"
DEFAULT_CACHE_GIGABYTES = 50.0


def _checked_endpoint(text: str) -> str:
    """An S3 endpoint without a closing slash, or `aws`. Raises ValueError for anything else."""
    try:
        url = urlsplit(text)
        is_address = url.scheme in ("http", "https") and url.hostname and url.port != 0 and " " not in text
    except ValueError:
        is_address = False
    if text != "aws" and not (is_address and f"{url.scheme}://{url.netloc}" == text.rstrip("/")):
        raise ValueError(f"{text!r} must be aws, or an address such as http://127.0.0.1:9000")
    return text.rstrip("/")


Endpoint = Annotated[str, AfterValidator(_checked_endpoint)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


def _s3_uri(text: str) -> str:
    uri = S3Uri.parse(text)
    if uri.key.startswith("/") or ".." in uri.key.split("/"):
        raise ValueError(f"{text!r}: the prefix must neither begin with / nor hold ..")
    return text


class FileSystem(_Table):
    """A directory that stands for an FSx for Lustre or EFS file system, or is one that is mounted here."""

    path: str
    mount_name: str | None = None
    id: Annotated[str, StringConstraints(pattern=r"^fs-[0-9a-f]{8,18}$")] | None = None
    type: Literal["FSxLustre", "EFS"] | None = None
    link: Annotated[str, AfterValidator(_s3_uri)] | None = None
    """Its data repository: s3://bucket/prefix, whose objects are its files."""

    @model_validator(mode="after")
    def _only_fsx_is_linked(self) -> Self:
        if self.link is not None and self.type == "EFS":
            raise ValueError("link is for FSx for Lustre: EFS has no data repository")
        return self


class Bucket(_Table):
    """A directory that stands for an S3 bucket, or the endpoint that has it: a URL, or `aws` for S3 itself."""

    path: str | None = None
    endpoint: Endpoint | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.path is None) == (self.endpoint is None):
            raise ValueError("exactly one of path and endpoint must be given")
        return self


class _S3(_Table):
    endpoint: Endpoint | None = None


class _Cache(_Table):
    path: str = DEFAULT_CACHE
    gigabytes: Annotated[float, Field(gt=0, allow_inf_nan=False)] = DEFAULT_CACHE_GIGABYTES


class _Local(_Table):
    runs: str = "runs"
    code: str = "entrypoints"
    container: ContainerOptions = Field(default_factory=ContainerOptions)
    credentials: bool = True
    s3: _S3 = Field(default_factory=_S3)
    cache: _Cache = Field(default_factory=_Cache)
    file_systems: dict[str, FileSystem] = Field(default_factory=dict)
    buckets: dict[str, Bucket] = Field(default_factory=dict)


class _Cloud(_Table):
    region: str = DEFAULT_REGION
    stack: str = "homeport"


class _File(_Table):
    local: _Local = Field(default_factory=_Local)
    cloud: _Cloud = Field(default_factory=_Cloud)


@dataclass(frozen=True)
class Place:
    """What homeport.toml, the environment and the flags say of this machine. Its paths are absolute."""

    root: Path
    runs: Path
    code: Path
    state: Path
    region: str = DEFAULT_REGION
    file: Path | None = None
    file_systems: Mapping[str, FileSystem] = field(default_factory=dict)
    buckets: Mapping[str, Bucket] = field(default_factory=dict)
    endpoint: str | None = None
    container: ContainerOptions = field(default_factory=ContainerOptions)
    credentials: bool = True
    """Whether jobs may be lent the AWS credentials of whoever runs them."""
    cache: Path = Path(DEFAULT_CACHE)
    cache_bytes: int = int(DEFAULT_CACHE_GIGABYTES * 1e9)

    def path(self, relative: str) -> Path:
        """A path of homeport.toml, which starts from the file's own folder."""
        return _path(self.root, relative, self.source)

    @property
    def source(self) -> str:
        """What to call the file in a message, also where there is none yet."""
        return str(self.file or self.root / FILE)


def read_place(start: Path, environ: Mapping[str, str], runs: Path | None = None) -> Place:
    """The place described by HOMEPORT_FILE or the nearest homeport.toml at or above `start`; defaults where none is.

    HOMEPORT_RUNS, HOMEPORT_REGION, HOMEPORT_CACHE and the SDKs' AWS_ENDPOINT_URL_S3 win over the file, `runs` (a flag)
    wins over both. The cache goes below XDG_CACHE_HOME unless the file says where. The store of jobs is the machine's,
    and no file's: HOMEPORT_STATE says where.
    """
    file = _find(start, environ)
    content = _parse(file) if file else _File()
    root = file.parent if file else start
    asked_runs = str(runs) if runs else environ.get("HOMEPORT_RUNS")
    source = str(file or root / FILE)
    return Place(
        root=root,
        runs=_path(start, asked_runs, "--runs") if asked_runs else _path(root, content.local.runs, source),
        code=_path(root, content.local.code, source),
        container=content.local.container,
        state=state_directory(environ, start),
        region=environ.get("HOMEPORT_REGION") or content.cloud.region,
        file=file,
        file_systems=content.local.file_systems,
        buckets=content.local.buckets,
        endpoint=_endpoint(environ) or content.local.s3.endpoint,
        credentials=content.local.credentials,
        cache=_cache(start, root, content.local.cache.path, environ, source),
        cache_bytes=int(content.local.cache.gigabytes * 1e9),
    )


def _endpoint(environ: Mapping[str, str]) -> str | None:
    asked = environ.get("AWS_ENDPOINT_URL_S3")
    try:
        return _checked_endpoint(asked) if asked else None
    except ValueError as error:
        raise JobRefused("AWS_ENDPOINT_URL_S3", [Fault("", str(error))]) from None


def _cache(start: Path, root: Path, asked: str, environ: Mapping[str, str], source: str) -> Path:
    if named := environ.get("HOMEPORT_CACHE"):
        return _path(start, named, "HOMEPORT_CACHE")
    if asked == DEFAULT_CACHE and (home := environ.get("XDG_CACHE_HOME")):
        return _path(start, f"{home}/homeport", "XDG_CACHE_HOME")
    return _path(root, asked, source)


def _path(root: Path, relative: str, source: str) -> Path:
    try:
        return (root / Path(relative).expanduser()).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise JobRefused(source, [Fault("", f"{relative!r} is no path: {error}")]) from None


def _find(start: Path, environ: Mapping[str, str]) -> Path | None:
    if named := environ.get("HOMEPORT_FILE"):
        path = (start / named).resolve()
        if not path.is_file():
            raise JobRefused("HOMEPORT_FILE", [Fault("", f"{path}: there is no such file")])
        return path
    start = start.resolve()
    return next((folder / FILE for folder in (start, *start.parents) if (folder / FILE).is_file()), None)


def _parse(file: Path) -> _File:
    try:
        text = file.read_text(encoding="utf-8-sig")
        return _File.model_validate_json(json.dumps(tomllib.loads(text), default=str))
    except ValidationError as error:
        faults = []
        for place, what in faults_of(error, _File):
            line = line_of(text, place)
            faults.append(Fault(f"{file.name}:{line} {dotted(place)}" if line else dotted(place), what))
        raise JobRefused(str(file), faults) from None
    except (OSError, ValueError, RecursionError) as error:
        raise JobRefused(str(file), [Fault("", f"cannot be read: {error}")]) from None
