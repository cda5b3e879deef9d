"""Which directory a data set is, and where in the cloud it goes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field

from cloud.place import CloudPlace
from cloud.upload_plan import LocalFile
from training_job.errors import Fault, JobRefused
from training_job.place_file import FILE, Table, path_from, read
from training_job.s3_uri import S3Uri

DATA_PREFIX = "data"
"""Where data goes in the bucket of a stack that has no FSx for Lustre."""
_LONGEST_KEY = 1024
"""Bytes of UTF-8: S3's limit."""


class _FileSystem(Table):
    """A file system of [local], of which only the directory is read."""

    model_config = ConfigDict(extra="ignore")

    path: str


class _Local(Table):
    model_config = ConfigDict(extra="ignore")

    file_systems: dict[str, _FileSystem] = Field(default_factory=dict)


class _File(Table):
    model_config = ConfigDict(extra="ignore")

    local: _Local = Field(default_factory=_Local)


@dataclass(frozen=True)
class Dataset:
    """A directory of this machine, and its path in the file system it is in; `file_system` is that one's name."""

    directory: Path
    path: str
    file_system: str | None = None


def read_dataset(asked: str, place: CloudPlace, start: Path) -> Dataset:
    """A directory, or `fsx://NAME/path` for the directory that stands for it here. Raises JobRefused."""
    systems = _file_systems(place)
    if "://" in asked:
        return _named(asked, systems)
    directory = path_from(start, asked, "DATASET")
    if not directory.is_dir():
        raise JobRefused(asked, [Fault("", f"{directory} is no directory")])
    for name, root in systems.items():
        if directory.is_relative_to(root):
            return Dataset(directory, directory.relative_to(root).as_posix().strip("."), name)
    return Dataset(directory, directory.name)


def destination(dataset: Dataset, bucket: str, link: str | None, asked: str | None) -> S3Uri:
    """Where it goes: where it is asked to, else the same path below what FSx for Lustre is linked to, else the bucket's
    data/. Raises JobRefused."""
    if asked is not None:
        try:
            uri = S3Uri.parse(asked)
        except ValueError as error:
            raise JobRefused("--to", [Fault("", str(error))]) from None
        return S3Uri(uri.bucket, uri.key.rstrip("/"))
    root = S3Uri.parse(link) if link else S3Uri(bucket, DATA_PREFIX)
    below = [part for part in dataset.path.split("/") if part]
    return S3Uri(root.bucket, "/".join([*([root.key.strip("/")] if root.key.strip("/") else []), *below]))


def files_of(dataset: Dataset, prefix: str) -> list[LocalFile]:
    """Every file below the directory; links to files are files. Raises JobRefused with every fault."""
    files: list[LocalFile] = []
    faults: list[Fault] = []
    for folder, _, names in os.walk(dataset.directory):
        for name in names:
            path = Path(folder, name)
            key = "/".join([*([prefix] if prefix else []), path.relative_to(dataset.directory).as_posix()])
            if fault := _unspeakable(key, path):
                faults.append(Fault(str(path).encode(errors="replace").decode(), fault))
            else:
                stat = path.stat()
                files.append(LocalFile(key, path, stat.st_size, stat.st_mtime_ns))
    if not files and not faults:
        faults.append(Fault("", "holds no file"))
    if faults:
        raise JobRefused(str(dataset.directory), faults)
    return files


def _unspeakable(key: str, path: Path) -> str | None:
    try:
        encoded = key.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8, which keys are"
    if len(encoded) > _LONGEST_KEY:
        return f"its key would have {len(encoded):,} bytes, and S3 takes {_LONGEST_KEY:,}"
    if any(character < " " or character == "\x7f" for character in key):
        return "its name holds a control character"
    if not path.is_file():
        return "is no file, or a link to nothing"
    if not os.access(path, os.R_OK):
        return "cannot be read by you"
    return None


def _named(asked: str, systems: Mapping[str, Path]) -> Dataset:
    uri = urlsplit(asked)
    if uri.scheme not in ("fsx", "efs") or uri.netloc not in systems:
        known = ", ".join(f"{uri.scheme}://{name}/…" for name in systems) or "none"
        raise JobRefused(asked, [Fault("", f"{FILE} says of no such file system where it is here; it knows {known}")])
    path = uri.path.strip("/")
    root = systems[uri.netloc]
    directory = (root / path).resolve()
    if not directory.is_relative_to(root) or not directory.is_dir():
        raise JobRefused(asked, [Fault("", f"{directory} is no directory of that file system")])
    return Dataset(directory, path, uri.netloc)


def _file_systems(place: CloudPlace) -> dict[str, Path]:
    file = Path(place.source)
    content = read(file, _File) if file.is_file() else _File()
    return {name: path_from(place.root, item.path, place.source) for name, item in content.local.file_systems.items()}
