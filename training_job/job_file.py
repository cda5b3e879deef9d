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
from training_job.toml_text import lines_of

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
    """The merged content of a job file, where every key of it is written, and what the command line changed."""

    table: dict[str, Any] = field(default_factory=dict)
    lines: list[tuple[Path, dict[Location, int]]] = field(default_factory=list)
    changed: dict[str, str] = field(default_factory=dict)

    def change(self, keys: Sequence[str], value: Any, flag: str) -> None:
        """Set what `flag` of the command line says."""
        inner = self.table
        for key in keys[:-1]:
            below = inner.get(key)
            inner[key] = inner = dict(below) if isinstance(below, dict) else {}
        inner[keys[-1]] = value
        self.changed[".".join(keys)] = flag

    def place(self, key: str) -> str:
        """`horovod.toml:12 inputs.train`, or the flag that set it; the key alone where it is not written."""
        for changed, flag in self.changed.items():
            if key == changed or key.startswith((f"{changed}.", f"{changed}[")):
                return flag
        steps = _steps(key)
        for length in range(len(steps), 0, -1):
            for file, lines in self.lines:
                if line := lines.get(steps[:length]):
                    return f"{file.name}:{line} {key}"
        return next((flag for changed, flag in self.changed.items() if changed.startswith(f"{key}.")), key)


def read_job(path: Path, *, now: datetime, region: str, changes: Changes | None = None) -> TrainingJob:
    """The job in `path`; JobRefused names every fault with its place. `now` dates the name of a TOML job."""
    changes = changes or Changes()
    text = _text_of(path)
    if path.suffix == ".json" or text.lstrip().startswith("{"):
        return _read_request(path, text, changes)
    source = _read_toml(path, text, ())
    _apply(changes, source, path, ("name", "instance_type", "instance_count"))
    name = changes.name if changes.name is not None else dated_name(source.table.get("name"), now)
    found = translate(source.table, job_name=name, region=region, folder=path.parent)
    job, faults = _checked(found.request)
    told = {fault.where for fault in found.faults}
    every = [
        *found.faults,
        *(Fault(key, what) for place, what in faults if (key := dotted(found.origin(place))) not in told),
    ]
    if job is None or every:
        raise JobRefused(str(path), [Fault(source.place(fault.where), fault.what) for fault in every])
    return job.model_copy(update={"source_dir": found.source_dir})


def dated_name(base: Any, now: datetime) -> str:
    """`base-20261121-101530`, cut to what SageMaker allows as the SDK's name_from_base does."""
    stamp = now.strftime("-%Y%m%d-%H%M%S")
    return f"{str(base)[: _NAME_LIMIT - len(stamp)]}{stamp}"


def _text_of(path: Path) -> str:
    try:
        # Windows writes a byte order mark before JSON and TOML alike.
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise JobRefused(str(path), [Fault("", "there is no such file")]) from None
    except (OSError, ValueError) as error:
        raise JobRefused(str(path), [Fault("", f"cannot be read: {error}")]) from None


def _read_toml(path: Path, text: str, extended_by: tuple[Path, ...]) -> _Source:
    """A TOML file merged over the one it extends."""
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise JobRefused(str(path), [Fault("", f"is not TOML: {error}")]) from None
    base = table.get("extends")
    if base is None:
        source = _Source()
    elif not isinstance(base, str):
        raise JobRefused(str(path), [Fault("extends", f"must be a path, not {base!r}")])
    else:
        parent = path.parent / base
        parent_text = _text_of(parent)
        chain = (*extended_by, path.resolve())
        if parent.resolve() in chain:
            raise JobRefused(str(path), [Fault("extends", f"{base!r} extends this file again")])
        source = _read_toml(parent, parent_text, chain)
    source.table = _merged(source.table, table)
    source.lines.insert(0, (path, lines_of(text)))
    return source


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Tables are merged, everything else is replaced."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _steps(key: str) -> Location:
    parts = key.replace("]", "").replace("[", ".#").split(".")
    return tuple(int(part[1:]) if part.startswith("#") and part[1:].isdecimal() else part for part in parts)


def _apply(changes: Changes, source: _Source, path: Path, keys: tuple[str, str, str]) -> None:
    """The command line's changes; `keys` are where the name, the type and the count of instances stand.

    A `--set` value is read as TOML, or as text where it is none.
    """
    for setting in changes.settings:
        key, separator, text = setting.partition("=")
        if not separator or not key.strip():
            wanted = "must be KEY=VALUE, such as hyperparameters.epochs=1"
            raise JobRefused(str(path), [Fault(f"--set {setting}", wanted)])
        if key.strip() == "extends":
            raise JobRefused(str(path), [Fault(f"--set {setting}", "what a file extends stands in the file alone")])
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except (ValueError, RecursionError):
            value = text
        source.change(key.strip().split("."), value, f"--set {key.strip()}")
    flags = {
        "--name": changes.name,
        "--instance-type": changes.instance_type,
        "--instance-count": changes.instance_count,
    }
    for key, (flag, value) in zip(keys, flags.items(), strict=True):
        if value is not None:
            source.change(key.split("."), value, flag)


def _checked(request: Mapping[str, Any]) -> tuple[TrainingJob | None, list[tuple[Location, str]]]:
    """The request as a job, or every fault in it. Only the service's own names are read; source_dir is none of them."""
    try:
        job = TrainingJob.model_validate_json(json.dumps(request, default=str), by_alias=True, by_name=False)
    except ValidationError as error:
        return None, faults_of(error, TrainingJob)
    if job.source_dir is not None:
        return None, [(("SourceDir",), "is not known here")]
    return job, []


def _read_request(path: Path, text: str, changes: Changes) -> TrainingJob:
    """A JSON request or description: the same checks, in its own words."""
    try:
        request = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise JobRefused(str(path), [Fault("", f"is not JSON: {error}")]) from None
    if not isinstance(request, dict):
        raise JobRefused(str(path), [Fault("", "must be a CreateTrainingJob request: a JSON object")])
    source = _Source({name: value for name, value in request.items() if name not in RESPONSE_ONLY})
    _apply(changes, source, path, ("TrainingJobName", "ResourceConfig.InstanceType", "ResourceConfig.InstanceCount"))
    job, faults = _checked({name: value for name, value in source.table.items() if value is not None})
    if job is None:
        raise JobRefused(str(path), [Fault(source.place(dotted(place)), what) for place, what in faults])
    return job
