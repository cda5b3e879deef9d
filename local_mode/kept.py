"""The directories of a container that are kept in step with S3 while the job runs, and where artifacts go. Pure.

Places and keys: CheckpointConfig, TensorBoardOutputConfig and OutputDataConfig of the API; `tensorboard-output`,
`debug-output` and `profiler-output` are what the SageMaker SDK looks for (sagemaker 2.257.7, estimator.py,
latest_job_tensorboard_artifacts_path and the two beside it); the intermediate directory is uploaded by the toolkit
itself in the cloud (sagemaker-training, intermediate_output.py), with credentials that no container has here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from local_mode.buckets import Bucket, Folder, find_bucket
from local_mode.place import Place
from training_job.hook_files import CHECKPOINTS, PROFILE, TENSORBOARD, TENSORS
from training_job.model import TrainingJob
from training_job.s3_uri import S3Uri

INTERMEDIATE = "/opt/ml/output/intermediate"
_STAGING = ".tmp.sagemaker_s3_sync"


@dataclass(frozen=True)
class KeptDirectory:
    """`path` in every host goes below `prefix` of `bucket`; with `restored`, what is there comes back at the start."""

    field: str
    path: str
    uri: S3Uri
    bucket: Bucket
    prefix: str
    restored: bool = False
    without: str | None = None

    @property
    def resumed(self) -> bool:
        """Whether it comes back after an interruption (developer guide, model-train-storage: checkpoints only)."""
        return self.field == "CheckpointConfig"

    @property
    def is_in_bucket(self) -> bool:
        """Whether somebody said what the bucket is here; where not, the run's folder takes its place."""
        return self.restored or bool(self.prefix)


@dataclass(frozen=True)
class Delivery:
    """Where the artifacts are uploaded: below `prefix`, which ends in `output`."""

    bucket: Bucket
    uri: S3Uri


def kept_directories(job: TrainingJob, place: Place, run_directory: Path) -> tuple[KeptDirectory, ...]:
    """What the job wants kept. Raises ValueError for an S3Uri that is none, or a path that cannot be one."""
    found = []
    if config := job.checkpoint_config:
        path = _path(config.local_path or CHECKPOINTS)
        found.append(
            _kept("CheckpointConfig", path, config.s3_uri, place, run_directory / "checkpoints", restored=True)
        )
    if board := job.tensor_board_output_config:
        uri = str(S3Uri.parse(board.s3_output_path).joined(job.training_job_name, "tensorboard-output"))
        path = _path(board.local_path or TENSORBOARD)
        found.append(_kept("TensorBoardOutputConfig", path, uri, place, run_directory / "output" / "tensorboard"))
    found += _debuggers(job, place, run_directory)
    if (asked := _intermediate(job)) and find_bucket(asked.bucket, place):
        uri = str(asked.joined(job.training_job_name, "output", "intermediate"))
        found.append(_kept("HyperParameters", INTERMEDIATE, uri, place, run_directory, without=_STAGING))
    return tuple(found)


def _debuggers(job: TrainingJob, place: Place, run_directory: Path) -> Iterator[KeptDirectory]:
    """What Debugger's hook and the profiler save, where its bucket is known: the SDK asks for both unasked."""
    hook, profiler = job.debug_hook_config, job.profiler_config
    asked = (
        ("DebugHookConfig", hook.local_path or TENSORS if hook else "", hook and hook.s3_output_path, "debug-output"),
        ("ProfilerConfig", PROFILE, profiler and profiler.s3_output_path, "profiler-output"),
    )
    for field, path, output, folder in asked:
        if output and find_bucket(S3Uri.parse(output).bucket, place):
            uri = str(S3Uri.parse(output).joined(job.training_job_name, folder))
            yield _kept(field, _path(path), uri, place, run_directory)


def delivery(job: TrainingJob, place: Place) -> Delivery | None:
    """Where S3OutputPath is; None where nobody said. Raises ValueError for what is no S3 URI."""
    if not job.output_data_config:
        return None
    uri = S3Uri.parse(job.output_data_config.s3_output_path)
    bucket = find_bucket(uri.bucket, place)
    return Delivery(bucket, uri.joined(job.training_job_name, "output")) if bucket else None


def _kept(
    field: str,
    path: str,
    uri: str,
    place: Place,
    otherwise: Path,
    *,
    restored: bool = False,
    without: str | None = None,
) -> KeptDirectory:
    """In the bucket, if it is known; else in the run's folder."""
    parsed = S3Uri.parse(uri)
    bucket = find_bucket(parsed.bucket, place)
    if bucket is None:
        return KeptDirectory(field, path, parsed, Folder(parsed.bucket, otherwise), "", restored=False)
    prefix = f"{parsed.key.rstrip('/')}/" if parsed.key else ""
    return KeptDirectory(field, path, parsed, bucket, prefix, restored, without)


def _path(asked: str) -> str:
    path = asked.rstrip("/")
    if not path.startswith("/") or ".." in path.split("/"):
        raise ValueError(f"LocalPath {asked!r} must be an absolute path below / without ..")
    return path


def _intermediate(job: TrainingJob) -> S3Uri | None:
    value = (job.hyper_parameters or {}).get("sagemaker_s3_output", "")
    # The toolkit takes what is no JSON as it stands.
    with suppress(ValueError):
        value = str(json.loads(value))
    with suppress(ValueError):
        return S3Uri.parse(value)
    return None
