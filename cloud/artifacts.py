"""What a job left in S3, fetched into its folder: model.tar.gz and output.tar.gz, or the model's files uncompressed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cloud.aws import Clients
from cloud.aws_errors import told
from training_job.errors import AccountCannot
from training_job.s3_uri import S3Uri

_ARCHIVES = ("model.tar.gz", "output.tar.gz")


def fetch(clients: Clients, answer: Mapping[str, Any], directory: Path, region: str) -> list[Path]:
    """Fetch what is there and not yet here whole; the paths of archives and folders. Raises AccountCannot.

    A failed or stopped job may have left nothing, and an output.tar.gz is there only if something was put in it.
    """
    output = answer.get("OutputDataConfig", {}).get("S3OutputPath")
    if not output or not str(output).startswith("s3://"):
        return []
    prefix = S3Uri.parse(output).joined(str(answer["TrainingJobName"]), "output", "")
    found: list[Path] = []
    with told(f"fetching {prefix}", region):
        for key, size in _objects(clients, prefix):
            name = key.removeprefix(prefix.key)
            path = _below(directory, name)
            if not (path.is_file() and path.stat().st_size == size):
                _download(clients, S3Uri(prefix.bucket, key), path)
            top = path if name in _ARCHIVES else directory / name.partition("/")[0]
            found += [top] if top not in found else []
    return found


def _objects(clients: Clients, prefix: S3Uri) -> Iterator[tuple[str, int]]:
    pages = clients("s3").get_paginator("list_objects_v2").paginate(Bucket=prefix.bucket, Prefix=prefix.key)
    for page in pages:
        for found in page.get("Contents", []):
            if not found["Key"].endswith("/"):
                yield found["Key"], found["Size"]


def _below(directory: Path, name: str) -> Path:
    path = directory / name
    if ".." in path.parts or not name or name.startswith("/"):
        raise AccountCannot(f"{name!r} in the job's output is no path below {directory}: fetch it with aws s3 cp")
    return path


def _download(clients: Clients, uri: S3Uri, path: Path) -> None:
    """Whole under its name, or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        clients("s3").download_file(uri.bucket, uri.key, str(part))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
