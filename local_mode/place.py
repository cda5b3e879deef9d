"""homeport.toml: which directory of this machine is which file system or bucket, and where runs go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from local_mode.container_options import ContainerOptions
from local_mode.job_store import state_directory
from training_job.errors import Fault, JobRefused
from training_job.place_file import (
    DEFAULT_REGION,
    FILE,
    Cloud,
    FileSystemId,
    Runs,
    Table,
    find,
    path_from,
    read,
    runs_of,
)
from training_job.s3_uri import S3Uri

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


def _s3_uri(text: str) -> str:
    uri = S3Uri.parse(text)
    if uri.key.startswith("/") or ".." in uri.key.split("/"):
        raise ValueError(f"{text!r}: the prefix must neither begin with / nor hold ..")
    return text


class FileSystem(Table):
    """A directory that stands for an FSx for Lustre or EFS file system, or is one that is mounted here."""

    path: str
    mount_name: str | None = None
    id: FileSystemId | None = None
    type: Literal["FSxLustre", "EFS"] | None = None
    link: Annotated[str, AfterValidator(_s3_uri)] | None = None
    """Its data repository: s3://bucket/prefix, whose objects are its files."""

    @model_validator(mode="after")
    def _only_fsx_is_linked(self) -> Self:
        if self.link is not None and self.type == "EFS":
            raise ValueError("link is for FSx for Lustre: EFS has no data repository")
        return self


class Bucket(Table):
    """A directory that stands for an S3 bucket, or the endpoint that has it: a URL, or `aws` for S3 itself."""

    path: str | None = None
    endpoint: Endpoint | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.path is None) == (self.endpoint is None):
            raise ValueError("exactly one of path and endpoint must be given")
        return self


class _S3(Table):
    endpoint: Endpoint | None = None


class _Cache(Table):
    path: str = DEFAULT_CACHE
    gigabytes: Annotated[float, Field(gt=0, allow_inf_nan=False)] = DEFAULT_CACHE_GIGABYTES


class _Local(Runs):
    code: str = "entrypoints"
    container: ContainerOptions = Field(default_factory=ContainerOptions)
    credentials: bool = True
    s3: _S3 = Field(default_factory=_S3)
    cache: _Cache = Field(default_factory=_Cache)
    file_systems: dict[str, FileSystem] = Field(default_factory=dict)
    buckets: dict[str, Bucket] = Field(default_factory=dict)


class _File(Table):
    local: _Local = Field(default_factory=_Local)
    cloud: Cloud = Field(default_factory=Cloud)


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
        return path_from(self.root, relative, self.source)

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
    file = find(start, environ)
    content = read(file, _File) if file else _File()
    root = file.parent if file else start
    source = str(file or root / FILE)
    return Place(
        root=root,
        runs=runs_of(content.local, start=start, root=root, environ=environ, source=source, flag=runs),
        code=path_from(root, content.local.code, source),
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
        return path_from(start, named, "HOMEPORT_CACHE")
    if asked == DEFAULT_CACHE and (home := environ.get("XDG_CACHE_HOME")):
        return path_from(start, f"{home}/homeport", "XDG_CACHE_HOME")
    return path_from(root, asked, source)
