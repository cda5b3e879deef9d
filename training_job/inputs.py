"""A channel as a job file writes it (a URI, or a table with one) as CreateTrainingJob's Channel. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from training_job.spelling import nearest

Fault = tuple[tuple[str, ...], str]

_S3_WORDS = {
    "s3_data_type": "S3DataType",
    "distribution": "S3DataDistributionType",
    "attribute_names": "AttributeNames",
    "instance_groups": "InstanceGroupNames",
}
_CHANNEL_WORDS = {
    "content_type": "ContentType",
    "compression": "CompressionType",
    "record_wrapping": "RecordWrapperType",
    "input_mode": "InputMode",
}
CHANNEL_KEYS = ("uri", "access", "shuffle_seed", *_S3_WORDS, *_CHANNEL_WORDS)
"""The keys of a channel's table: the words of the SDK's TrainingInput and FileSystemInput."""
CHANNEL_PLACES = {
    "access": ("DataSource", "NamedFileSystem", "FileSystemAccessMode"),
    "shuffle_seed": ("ShuffleConfig", "Seed"),
    **{key: ("DataSource", "S3DataSource", word) for key, word in _S3_WORDS.items()},
    **{key: (word,) for key, word in _CHANNEL_WORDS.items()},
}
"""Where each key's value stands in the Channel."""


def channel(name: str, asked: Mapping[str, Any], folder: Path) -> tuple[dict[str, Any], list[Fault]]:
    """The Channel, and what is wrong with it by key."""
    uri = asked.get("uri")
    if not isinstance(uri, str):
        return {}, [(("uri",), "is needed: fsx://NAME/path, efs://NAME/path, s3://bucket/prefix or file://directory")]
    scheme, separator, rest = uri.partition("://")
    path = absolute(folder, rest) if scheme == "file" else None
    sources: dict[str, Callable[[], dict[str, Any]]] = {
        "s3": lambda: _s3(uri, asked),
        "fsx": lambda: _file_system("FSxLustre", rest, asked),
        "efs": lambda: _file_system("EFS", rest, asked),
        "file": lambda: {"FileDataSource": {"FileUri": path and file_uri(path)}},
    }
    if not separator or scheme not in sources:
        schemes = ", ".join(f"{known}://" for known in sources)
        return {}, [(("uri",), f"{uri!r} begins with none of {schemes}{nearest(f'{scheme}://', schemes.split(', '))}")]
    faults = _misplaced(scheme, asked)
    if scheme == "file" and path is None:
        faults.append((("uri",), f"{uri!r} is no path"))
    if scheme in ("fsx", "efs") and not rest.partition("/")[0]:
        faults.append((("uri",), f"{uri!r} names no file system: {scheme}://NAME/path, NAME as in homeport.toml"))
    if faults:
        return {}, faults
    entry = {"ChannelName": name, "DataSource": sources[scheme]()}
    entry |= {word: asked[key] for key, word in _CHANNEL_WORDS.items() if key in asked}
    if "shuffle_seed" in asked:
        entry["ShuffleConfig"] = {"Seed": asked["shuffle_seed"]}
    return entry, []


def absolute(folder: Path, path: str) -> Path | None:
    """`path` from `folder` on; None where no URI can name it: a NUL, links in a circle, bytes that are no UTF-8."""
    try:
        found = (folder / path).resolve()
        str(found).encode()
    except (OSError, RuntimeError, ValueError):
        return None
    return found


def file_uri(path: Path) -> str:
    """A path as the URI that FileDataSource holds."""
    return f"file://{quote(str(path))}"


def _misplaced(scheme: str, asked: Mapping[str, Any]) -> list[Fault]:
    """Keys that mean nothing for this kind of source."""
    if scheme == "s3":
        return [(("access",), "is for fsx:// and efs:// only")] if "access" in asked else []
    faults: list[Fault] = [((key,), "is for s3:// only") for key in _S3_WORDS if key in asked]
    if scheme == "file" and "access" in asked:
        faults.append((("access",), "is for fsx:// and efs:// only"))
    return faults


def _s3(uri: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    source = {"S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}
    return {"S3DataSource": source | {word: asked[key] for key, word in _S3_WORDS.items() if key in asked}}


def _file_system(kind: str, rest: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    name, _, path = rest.partition("/")
    # `ro` is FileSystemInput's default too (sagemaker 2.257.7, inputs.py:271-324).
    return {
        "NamedFileSystem": {
            "Name": name,
            "FileSystemType": kind,
            "FileSystemAccessMode": asked.get("access", "ro"),
            "Path": path.strip("/"),
        }
    }
