"""The words of a TOML job file (the SageMaker SDK's Estimator's) as a CreateTrainingJob request. Pure.

Every value that is carried over keeps its origin, so that a fault found in the request is told in the file's words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training_job import script_mode
from training_job.errors import Fault
from training_job.faults import Location, fault
from training_job.inputs import CHANNEL_KEYS, CHANNEL_PLACES, absolute, channel, file_uri
from training_job.instance_groups import group_fault, groups_of
from training_job.spelling import nearest
from training_job.words import service_name

Request = dict[str, Any]

_CARRIED: dict[str, tuple[str, ...]] = {
    "image": ("AlgorithmSpecification", "TrainingImage"),
    "image_uri": ("AlgorithmSpecification", "TrainingImage"),
    "input_mode": ("AlgorithmSpecification", "TrainingInputMode"),
    "container_entry_point": ("AlgorithmSpecification", "ContainerEntrypoint"),
    "container_arguments": ("AlgorithmSpecification", "ContainerArguments"),
    "role": ("RoleArn",),
    "instance_type": ("ResourceConfig", "InstanceType"),
    "instance_count": ("ResourceConfig", "InstanceCount"),
    "volume_size": ("ResourceConfig", "VolumeSizeInGB"),
    "volume_kms_key": ("ResourceConfig", "VolumeKmsKeyId"),
    "keep_alive_period_in_seconds": ("ResourceConfig", "KeepAlivePeriodInSeconds"),
    "max_run": ("StoppingCondition", "MaxRuntimeInSeconds"),
    "max_wait": ("StoppingCondition", "MaxWaitTimeInSeconds"),
    "use_spot_instances": ("EnableManagedSpotTraining",),
    "output_path": ("OutputDataConfig", "S3OutputPath"),
    "output_kms_key": ("OutputDataConfig", "KmsKeyId"),
    "subnets": ("VpcConfig", "Subnets"),
    "security_group_ids": ("VpcConfig", "SecurityGroupIds"),
    "checkpoint_s3_uri": ("CheckpointConfig", "S3Uri"),
    "checkpoint_local_path": ("CheckpointConfig", "LocalPath"),
    "enable_network_isolation": ("EnableNetworkIsolation",),
    "encrypt_inter_container_traffic": ("EnableInterContainerTrafficEncryption",),
    "max_retry_attempts": ("RetryStrategy", "MaximumRetryAttempts"),
    "environment": ("Environment",),
}
_LISTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "metric_definitions": (("AlgorithmSpecification", "MetricDefinitions"), ("name", "regex")),
    "instance_groups": (
        ("ResourceConfig", "InstanceGroups"),
        ("instance_type", "instance_count", "instance_group_name"),
    ),
    "tags": (("Tags",), ("key", "value")),
}
_WORKED_OUT = (
    "name", "entry_point", "source_dir", "container_log_level", "hyperparameters", "distribution", "inputs", "request",
)  # fmt: skip
KEYS = (*_CARRIED, *_LISTS, *_WORKED_OUT, "extends")
"""Every key a job file may have at its top."""

_DEFAULTS: dict[str, Any] = {"input_mode": "File", "max_run": 86_400}
_KINDS: dict[type, str] = {bool: "true or false", int: "a whole number", str: "text", list: "a list"}


@dataclass
class Translation:
    """A request in the making, where each part of it came from, and what was wrong already."""

    request: Request = field(default_factory=dict)
    origins: dict[Location, Location] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    source_dir: Path | None = None

    def put(self, place: tuple[str, ...], value: Any, origin: Location) -> None:
        """Set one field of the request."""
        inner = self.request
        for step in place[:-1]:
            inner = inner.setdefault(step, {})
        inner[place[-1]] = value
        self.trace(place, origin)

    def trace(self, place: Location, origin: Location) -> None:
        """Note where a place of the request, and everything below it, came from."""
        self.origins = {known: told for known, told in self.origins.items() if known[: len(place)] != place}
        self.origins[place] = origin

    def refuse(self, place: Location, what: str) -> None:
        """Note a fault at a key of the file."""
        self.faults.append(fault(place, what))

    def origin(self, place: Location) -> Location:
        """The key of the file that a place in the request came from, or would come from; else the place itself."""
        for length in range(len(place), 0, -1):
            if origin := self.origins.get(place[:length]):
                words = {service_name(word): word for word in _LISTS.get(str(origin[0]), ((), ()))[1]}
                return (*origin, *(words.get(str(step), step) for step in place[length:]))
        return next(((key,) for key, known in _CARRIED.items() if known == place), place)


def translate(table: Mapping[str, Any], *, job_name: str, region: str, folder: Path) -> Translation:
    """The request a job file asks for. `folder` is what its relative paths start from."""
    found = Translation()
    _refuse_unknown(table, KEYS, (), found)
    _of_kind(table.get("name", ""), str, ("name",), found)
    _of_kind(table.get("container_log_level", 20), int, ("container_log_level",), found)
    found.put(("TrainingJobName",), job_name, ("name",))
    extra = table.get("request", {})
    single = {} if "instance_groups" in table else {"instance_count": 1}
    needed = ["name", "image" if "image_uri" not in table else "image_uri"]
    if not single and "instance_type" not in table:
        found.request["ResourceConfig"] = {}
    elif not isinstance(extra, dict) or "ResourceConfig" not in extra:
        needed.append("instance_type")
    for key in needed:
        if key not in table:
            found.refuse((key,), "is needed")
    for key, value in {**_DEFAULTS, **single, **table}.items():
        if key in _CARRIED:
            found.put(_CARRIED[key], value, (key,))
    _lists(table, found)
    _inputs(table, folder, found)
    _hyperparameters(table, job_name, region, folder, found)
    if isinstance(extra, dict):
        _merge(found, extra)
    else:
        found.refuse(("request",), f"must be a table of CreateTrainingJob's fields, not {extra!r}")
    return found


def _of_kind(value: Any, kind: type, place: Location, found: Translation) -> None:
    # A bool is an int to Python, and to nobody else.
    if type(value) is not kind:
        found.refuse(place, f"must be {_KINDS[kind]}, not {value!r}")


def _refuse_unknown(table: Mapping[str, Any], known: Iterable[str], place: Location, found: Translation) -> None:
    for key in table:
        if key not in known:
            found.refuse((*place, key), f"is not known here{nearest(key, known)}")


def _lists(table: Mapping[str, Any], found: Translation) -> None:
    """The lists whose entries' words are translated too; tags may be a table."""
    for key, (place, words) in _LISTS.items():
        entries = table.get(key)
        if key == "tags" and isinstance(entries, dict):
            entries = [{"key": name, "value": value} for name, value in entries.items()]
        if entries is not None:
            found.put(place, _renamed(entries, words), (key,))


def _renamed(entries: Any, words: Iterable[str]) -> Any:
    """A list of tables with its keys in the request's words; anything else as it is, for the model to refuse."""
    if not isinstance(entries, list):
        return entries
    return [
        {service_name(key) if key in words else key: value for key, value in entry.items()}
        if isinstance(entry, dict)
        else entry
        for entry in entries
    ]


def _inputs(table: Mapping[str, Any], folder: Path, found: Translation) -> None:
    inputs = table.get("inputs", {})
    if isinstance(inputs, str):
        # The SDK's `fit("s3://…")` names the one channel `training`.
        inputs = {"training": inputs}
    if not isinstance(inputs, dict):
        found.refuse(("inputs",), f"must be a table of channels, not {inputs!r}")
        return
    channels: list[Request] = []
    for name, source in inputs.items():
        asked = {"uri": source} if isinstance(source, str) else source
        if not isinstance(asked, dict):
            found.refuse(("inputs", name), f"must be a URI or a table with one, not {asked!r}")
            continue
        _refuse_unknown(asked, CHANNEL_KEYS, ("inputs", name), found)
        entry, faults = channel(name, asked, folder)
        for key, what in faults:
            found.refuse(("inputs", name, *key), what)
        if not faults:
            _trace(len(channels), name, asked, found)
            channels.append(entry)
    if channels:
        found.request["InputDataConfig"] = channels
        found.origins["InputDataConfig",] = ("inputs",)


def _trace(index: int, name: str, asked: Mapping[str, Any], found: Translation) -> None:
    """Where each part of a channel came from: its own key where it has one, else the channel."""
    found.origins["InputDataConfig", index] = ("inputs", name)
    for key, place in CHANNEL_PLACES.items():
        if key in asked:
            found.origins["InputDataConfig", index, *place] = ("inputs", name, key)


def _hyperparameters(table: Mapping[str, Any], job_name: str, region: str, folder: Path, found: Translation) -> None:
    """The user's hyperparameters and the toolkits', encoded as the SDK does for this kind of job."""
    own = table.get("hyperparameters", {})
    if not isinstance(own, dict):
        found.refuse(("hyperparameters",), f"must be a table, not {own!r}")
        return
    program = table.get("entry_point")
    if program is not None and (not isinstance(program, str) or not program):
        found.refuse(("entry_point",), f"must be a path below the source directory, not {program!r}")
        return
    if "source_dir" in table:
        if not isinstance(table["source_dir"], str) or not program:
            found.refuse(("source_dir",), "must be a directory, and needs an entry_point in it")
            return
        found.source_dir = absolute(folder, table["source_dir"])
        if found.source_dir is None:
            found.refuse(("source_dir",), f"{table['source_dir']!r} is no path")
            return
        _source_channel(found, file_uri(found.source_dir))
    distribution = _distribution(table, found)
    if program is None:
        if distribution:
            found.refuse(("distribution",), "needs an entry_point: the toolkits start it, not the image's own `train`")
        values = script_mode.plain(own)
    else:
        values = script_mode.encoded(
            own
            | script_mode.distribution_hyperparameters(distribution, table.get("instance_type"))
            | script_mode.toolkit_hyperparameters(
                program=program,
                job_name=job_name,
                region=region,
                packed=found.source_dir is not None,
                log_level=table.get("container_log_level", 20),
            )
        )
    for name in own:
        found.origins["HyperParameters", name] = ("hyperparameters", name)
    if values:
        found.request["HyperParameters"] = values
        found.origins["HyperParameters",] = ("hyperparameters",)


def _source_channel(found: Translation, uri: str) -> None:
    channels = found.request.setdefault("InputDataConfig", [])
    if any(entry["ChannelName"] == script_mode.SOURCE_CHANNEL for entry in channels):
        found.refuse(("inputs", script_mode.SOURCE_CHANNEL), "is the channel source_dir is sent through; rename it")
    found.origins["InputDataConfig", len(channels)] = ("source_dir",)
    channels.append(
        {
            "ChannelName": script_mode.SOURCE_CHANNEL,
            "DataSource": {"FileDataSource": {"FileUri": uri}},
            "InputMode": "File",
        }
    )


def _distribution(table: Mapping[str, Any], found: Translation) -> dict[str, Any]:
    """The distribution table if it is one the toolkits know; otherwise nothing, with its faults noted."""
    distribution = table.get("distribution", {})
    if not isinstance(distribution, dict):
        found.refuse(("distribution",), f"must be a table such as [distribution.mpi], not {distribution!r}")
        return {}
    before = len(found.faults)
    _of_kinds(distribution, script_mode.DISTRIBUTIONS, ("distribution",), found)
    if len(found.faults) > before:
        return {}
    if (count := distribution.get("mpi", {}).get("processes_per_host", 1)) < 1:
        found.refuse(("distribution", "mpi", "processes_per_host"), f"must be 1 or more, not {count}")
    for index, name in enumerate(distribution.get("instance_groups", ())):
        _of_kind(name, str, ("distribution", "instance_groups", index), found)
    if len(found.faults) == before and (what := group_fault(distribution, groups_of(table))):
        found.refuse(("distribution", "instance_groups"), what)
    return dict(distribution)


def _of_kinds(table: Mapping[str, Any], kinds: Mapping[str, Any], place: Location, found: Translation) -> None:
    """Note every key that `kinds` does not have, and every value that is not what it says; tables may hold tables."""
    _refuse_unknown(table, kinds, place, found)
    for key, kind in kinds.items():
        if key in table and isinstance(kind, type):
            _of_kind(table[key], kind, (*place, key), found)
        elif isinstance(table.get(key), dict):
            _of_kinds(table[key], kind, (*place, key), found)
        elif key in table:
            found.refuse((*place, key), f"must be a table with {', '.join(kind)}, not {table[key]!r}")


def _merge(found: Translation, extra: Mapping[str, Any]) -> None:
    """[request] wins: its tables are merged into the request, anything else replaces what was there."""

    def into(target: Request, source: Mapping[str, Any], place: tuple[str, ...]) -> None:
        for key, value in source.items():
            if isinstance(value, dict) and isinstance(target.get(key), dict):
                into(target[key], value, (*place, key))
            else:
                target[key] = value
                found.trace((*place, key), ("request", *place, key))

    into(found.request, extra, ())
