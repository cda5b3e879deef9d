"""A job file as one TrainingJob, or every fault in it at once.

TOML is read in the Estimator's words; JSON is taken as a CreateTrainingJob request or a DescribeTrainingJob answer as
it stands. Does no I/O but read the file it is given and those it extends.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from training_job.errors import Fault, JobRefused
from training_job.estimator import translate
from training_job.faults import Location, dotted, faults_of
from training_job.model import TrainingJob
from training_job.toml_text import line_of

# botocore 1.44.5: members of DescribeTrainingJobResponse that are not members of CreateTrainingJobRequest.
RESPONSE_ONLY = (
    "AutoMLJobArn", "BillableTimeInSeconds", "BillableTokenCount", "CreationTime", "DebugRuleEvaluationStatuses",
    "FailureReason", "FinalMetricDataList", "LabelingJobArn", "LastModifiedTime", "MlflowDetails", "ModelArtifacts",
    "OutputModelPackageArn", "ProfilerRuleEvaluationStatuses", "ProfilingStatus", "ProgressInfo", "SecondaryStatus",
    "SecondaryStatusTransitions", "TrainingEndTime", "TrainingJobArn", "TrainingJobStatus", "TrainingStartTime",
    "TrainingTimeInSeconds", "TuningJobArn", "WarmPoolStatus", "ResponseMetadata",
)  # fmt: skip
_NAME_LIMIT = 63


@dataclass(frozen=True)
class Changes:
    """What the command line changes in a job file; `settings` are `KEY=VALUE` in the file's own words."""

    settings: tuple[str, ...] = ()
    name: str | None = None
    instance_type: str | None = None
    instance_count: int | None = None


@dataclass
class _Source:
    """The merged content of a job file, and the text each top-level key came from."""

    table: dict[str, Any] = field(default_factory=dict)
    texts: dict[str, tuple[Path, str]] = field(default_factory=dict)


def read_job(path: Path, *, now: datetime, region: str, changes: Changes | None = None) -> TrainingJob:
    """The job in `path`; JobRefused names every fault with its place. `now` dates the name of a TOML job."""
    changes = changes or Changes()
    text = _text_of(path)
    if path.suffix == ".json" or text.lstrip().startswith("{"):
        return _read_request(path, text, changes)
    source = _read_toml(path, text, ())
    _apply(source.table, _settings(path, changes.settings) + _flags(changes, "instance_type", "instance_count"))
    name = changes.name or dated_name(source.table.get("name"), now)
    found = translate(source.table, job_name=name, region=region, folder=path.parent)
    faults = [Fault(_place(path, source, fault.where), fault.what) for fault in found.faults]
    job = None
    try:
        job = TrainingJob.model_validate_json(json.dumps(found.request, default=str))
    except ValidationError as error:
        told = {fault.where for fault in found.faults}
        for place, what in faults_of(error, TrainingJob):
            key = dotted(found.origin(place))
            if key not in told:
                faults.append(Fault(_place(path, source, key), what))
    if faults or job is None:
        raise JobRefused(str(path), faults)
    return job.model_copy(update={"source_dir": found.source_dir})


def dated_name(base: Any, now: datetime) -> str:
    """`base-20261121-101530`, cut to what SageMaker allows as the SDK's name_from_base does."""
    stamp = now.strftime("-%Y%m%d-%H%M%S")
    return f"{str(base)[: _NAME_LIMIT - len(stamp)]}{stamp}"


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise JobRefused(str(path), [Fault("", "there is no such file")]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise JobRefused(str(path), [Fault("", f"cannot be read: {error}")]) from None


def _read_toml(path: Path, text: str, extended_by: tuple[Path, ...]) -> _Source:
    """A TOML file merged over the one it extends."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise JobRefused(str(path), [Fault("", f"is not TOML: {error}")]) from None
    base = table.get("extends")
    if base is None:
        source = _Source()
    elif not isinstance(base, str):
        raise JobRefused(str(path), [Fault("extends", f"must be a path, not {base!r}")])
    else:
        chain = (*extended_by, path.resolve())
        parent = path.parent / base
        if parent.resolve() in chain:
            raise JobRefused(str(path), [Fault("extends", f"{base!r} extends this file again")])
        source = _read_toml(parent, _text_of(parent), chain)
    source.table = _merged(source.table, table)
    source.texts |= dict.fromkeys(table, (path, text))
    return source


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Tables are merged, everything else is replaced."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _place(path: Path, source: _Source, key: str) -> str:
    """`horovod.toml:12 inputs.train`; without a line where the key is not written."""
    steps = _steps(key)
    file, text = source.texts.get(str(steps[0]), (path, "")) if steps else (path, "")
    line = line_of(text, steps)
    return f"{file.name}:{line} {key}" if line else key


def _steps(key: str) -> Location:
    parts = key.replace("]", "").replace("[", ".#").split(".")
    return tuple(int(part[1:]) if part.startswith("#") and part[1:].isdigit() else part for part in parts)


def _settings(path: Path, settings: Sequence[str]) -> list[tuple[list[str], Any]]:
    """`hyperparameters.epochs=1`: the value as TOML, or as text where it is none."""
    parsed = []
    for setting in settings:
        key, separator, text = setting.partition("=")
        if not separator or not key.strip():
            wanted = "must be KEY=VALUE, such as hyperparameters.epochs=1"
            raise JobRefused(str(path), [Fault(f"--set {setting}", wanted)])
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text
        parsed.append((key.strip().split("."), value))
    return parsed


def _flags(changes: Changes, type_key: str, count_key: str) -> list[tuple[list[str], Any]]:
    flags = ((type_key, changes.instance_type), (count_key, changes.instance_count))
    return [(key.split("."), value) for key, value in flags if value is not None]


def _apply(table: dict[str, Any], settings: list[tuple[list[str], Any]]) -> None:
    for keys, value in settings:
        inner = table
        for key in keys[:-1]:
            below = inner.get(key)
            inner[key] = inner = dict(below) if isinstance(below, dict) else {}
        inner[keys[-1]] = value


def _read_request(path: Path, text: str, changes: Changes) -> TrainingJob:
    """A JSON request or description: the same checks, in its own words."""
    try:
        request = json.loads(text)
    except json.JSONDecodeError as error:
        raise JobRefused(str(path), [Fault("", f"is not JSON: {error}")]) from None
    if not isinstance(request, dict):
        raise JobRefused(str(path), [Fault("", "must be a CreateTrainingJob request: a JSON object")])
    request = {name: value for name, value in request.items() if name not in RESPONSE_ONLY and value is not None}
    _apply(
        request,
        _settings(path, changes.settings)
        + _flags(changes, "ResourceConfig.InstanceType", "ResourceConfig.InstanceCount")
        + ([(["TrainingJobName"], changes.name)] if changes.name else []),
    )
    try:
        return TrainingJob.model_validate_json(json.dumps(request))
    except ValidationError as error:
        faults = [Fault(dotted(place), what) for place, what in faults_of(error, TrainingJob)]
        raise JobRefused(str(path), faults) from None
