"""The source that script mode sends: a directory of the job file's, or the archive that a cloud job's request names.

A request made by the SageMaker SDK says `sagemaker_submit_directory = s3://…/sourcedir.tar.gz`, which the toolkit would
fetch with credentials that no container has here. From a mapped bucket it is put where packed source always is.
"""

from __future__ import annotations

import json
from pathlib import Path

from local_mode.buckets import Folder, find_bucket, unknown
from local_mode.mounts import Refusal
from local_mode.place import Place
from training_job.model import TrainingJob
from training_job.s3_uri import S3Uri
from training_job.script_mode import SOURCE_ARCHIVE

_KEY = "sagemaker_submit_directory"


def source_of(job: TrainingJob, place: Place) -> tuple[TrainingJob, Path | S3Uri | None] | Refusal:
    """The job, its source found inside the container, and what that is here: a directory, an archive here or behind an
    S3 endpoint, or nothing."""
    named = _decoded((job.hyper_parameters or {}).get(_KEY, ""))
    if job.source_dir or not named.startswith("s3://"):
        return job, job.source_dir
    try:
        uri = S3Uri.parse(named)
    except ValueError as error:
        return Refusal(str(error))
    if uri.key.startswith("/") or ".." in uri.key.split("/"):
        return Refusal(f"{named}: the key may neither begin with / nor hold ..")
    bucket = find_bucket(uri.bucket, place)
    if bucket is None:
        return Refusal(f"{named} cannot be fetched: {unknown(uri.bucket, place).why}")
    archive = bucket.path / uri.key if isinstance(bucket, Folder) else uri
    moved = {**(job.hyper_parameters or {}), _KEY: json.dumps(SOURCE_ARCHIVE)}
    return job.model_copy(update={"hyper_parameters": moved}), archive


def _decoded(value: str) -> str:
    try:
        return str(json.loads(value))
    except json.JSONDecodeError:
        return value
