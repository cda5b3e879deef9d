"""A training job and an account as the CreateTrainingJob request that is sent. Pure: the same both, the same request.

The hyperparameters are the job's, byte for byte those a run here writes: script mode's source comes through the same
channel in both places, so nothing in them says where the job runs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import ValidationError

from cloud.account import Account, FileSystem
from training_job.container import input_mode
from training_job.errors import Fault, JobRefused
from training_job.faults import dotted, faults_of
from training_job.metrics import pattern_fault
from training_job.model import Channel, FileSystemDataSource, NamedFileSystem, TrainingJob
from training_job.s3_uri import S3Uri
from training_job.script_mode import SOURCE_CHANNEL
from training_job.service_rules import broken_rules
from training_job.spelling import nearest

Request = dict[str, Any]

PROJECT_TAG = "homeport"
"""The key of the tag on everything this project makes; its value is the stack's name."""

VOLUME_GIGABYTES = 30
"""What the SageMaker SDK's Estimator asks for where nobody names a size (2.257.7, estimator.py volume_size)."""

_MOST_TAGS = 50
_FILE_SYSTEM_SCHEMES = {"FSxLustre": "fsx", "EFS": "efs"}
# Members of ResourceConfig that only an answer has a value for.
_ANSWERS = ("SelectedInstanceType", "SelectedInstanceCount")


def create_training_job_request(
    job: TrainingJob, account: Account, *, stack: str, image: str | None, source: S3Uri | None = None
) -> Request:
    """The request. `image` is the registry's URI of the job's image, by digest; `source` the prefix that holds
    sourcedir.tar.gz. Raises JobRefused with everything that cannot be sent, and what to do about it."""
    faults: list[Fault] = [*_refused(job)]
    request = job.request()
    request["RoleArn"] = job.role_arn or account.role_arn
    if image:
        request["AlgorithmSpecification"]["TrainingImage"] = image
    if job.channels:
        request["InputDataConfig"] = [_channel(job, channel, account, source, faults) for channel in job.channels]
    request.setdefault("OutputDataConfig", {"S3OutputPath": f"s3://{account.bucket}/jobs"})
    request["ResourceConfig"] = _resources(request["ResourceConfig"])
    request["Tags"] = _tags(job, stack, faults)
    if job.enable_managed_spot_training:
        # UNVERIFIED that the service wants one at all; it takes no less than the run.
        request["StoppingCondition"].setdefault("MaxWaitTimeInSeconds", job.stopping_condition.limit_in_seconds)
    if job.vpc_config is None and account.subnets and account.security_groups:
        request["VpcConfig"] = {
            "SecurityGroupIds": list(account.security_groups),
            "Subnets": list(account.subnets),
        }
    faults += _of_the_network(job, request)
    if faults:
        raise JobRefused(job.training_job_name, faults)
    return request


def checked(request: Mapping[str, Any]) -> TrainingJob:
    """The request as the model of it reads it: every pattern and length holds. Raises JobRefused."""
    try:
        return TrainingJob.model_validate_json(json.dumps(request), by_alias=True, by_name=False)
    except ValidationError as error:
        raise JobRefused(
            str(request["TrainingJobName"]),
            [Fault(dotted(place), what) for place, what in faults_of(error, TrainingJob)],
        ) from None


def named_file_systems(job: TrainingJob) -> list[NamedFileSystem]:
    """The file systems that the job calls by name."""
    return [source for channel in job.channels if (source := channel.data_source.named_file_system)]


def _refused(job: TrainingJob) -> list[Fault]:
    found = broken_rules(job)
    for definition in job.algorithm_specification.metric_definitions or ():
        if what := pattern_fault(definition.regex):
            found.append(Fault(f"metric {definition.name}", what))
    return found


def _channel(
    job: TrainingJob, channel: Channel, account: Account, source: S3Uri | None, faults: list[Fault]
) -> dict[str, Any]:
    """The channel with its data where the account has it; as it is, and a fault, where it has none."""
    data, where = channel.data_source, f"channel {channel.channel_name}"
    written: dict[str, Any] = channel.model_dump(mode="json", by_alias=True, exclude_none=True)
    if data.file_data_source and channel.channel_name == SOURCE_CHANNEL and job.source_dir:
        written["DataSource"] = {
            "S3DataSource": {
                "S3DataType": "S3Prefix",
                "S3Uri": str(source),
                "S3DataDistributionType": "FullyReplicated",
            }
        }
    elif data.file_data_source:
        directory = unquote(urlsplit(data.file_data_source.file_uri).path)
        what = (
            f"{directory} is on this machine alone. Send it: homeport-cloud data push {directory}, and name the s3:// "
            "URI that this tells"
        )
        faults.append(Fault(where, what))
    elif data.named_file_system:
        found = _file_system(data.named_file_system, account)
        if isinstance(found, str):
            faults.append(Fault(where, found))
        else:
            written["DataSource"] = {"FileSystemDataSource": found}
    elif data.file_system_data_source and (why := _wrong_path(data.file_system_data_source, account)):
        faults.append(Fault(where, why))
    if _on_file_system(channel) and (mode := input_mode(job, channel)) != "File":
        faults.append(Fault(where, f"input mode {mode}: file systems are read in File mode only"))
    return written


def _file_system(named: NamedFileSystem, account: Account) -> dict[str, str] | str:
    """A file system by name as the request has it: an id, and a path from the mount name on. Else why not."""
    known = _known(account)
    scheme = _FILE_SYSTEM_SCHEMES[named.file_system_type]
    system = known.get(named.name)
    if system is None:
        return (
            f"{scheme}://{named.name}: the account has none of that name{nearest(named.name, known)}. Make it: "
            f"homeport-cloud stack up, or say which it is: [cloud.file_systems.{named.name}] with id, type, mount_name"
        )
    if system.type != named.file_system_type:
        return f"{named.name} is {system.type} in the account: {_FILE_SYSTEM_SCHEMES[system.type]}://{named.name}"
    if system.type == "FSxLustre" and system.mount_name is None:
        return f"{named.name}: its mount name is not known, with which paths begin: put mount_name in homeport.toml"
    path = "/".join(part for part in (system.mount_name, named.path) if part)
    return {
        "FileSystemId": system.id,
        "FileSystemAccessMode": named.file_system_access_mode,
        "FileSystemType": system.type,
        "DirectoryPath": f"/{path}",
    }


def _wrong_path(source: FileSystemDataSource, account: Account) -> str | None:
    """Why a DirectoryPath cannot be right, where the account knows the file system."""
    system = _known(account).get(source.file_system_id)
    if system is None:
        return None
    if system.type != source.file_system_type:
        return f"{source.file_system_id} is {system.type} in the account, not {source.file_system_type}"
    first = source.directory_path.lstrip("/").partition("/")[0]
    if system.mount_name not in (None, first):
        return (
            f"DirectoryPath {source.directory_path!r} must begin with the file system's mount name: "
            f"/{system.mount_name}{source.directory_path}"
        )
    return None


def _known(account: Account) -> dict[str, FileSystem]:
    """The account's file systems by name, and by id."""
    return {system.id: system for system in account.file_systems.values()} | dict(account.file_systems)


def _on_file_system(channel: Channel) -> bool:
    return bool(channel.data_source.named_file_system or channel.data_source.file_system_data_source)


def _resources(resources: Mapping[str, Any]) -> dict[str, Any]:
    asked = {name: value for name, value in resources.items() if name not in _ANSWERS}
    return {"VolumeSizeInGB": VOLUME_GIGABYTES} | asked


def _tags(job: TrainingJob, stack: str, faults: list[Fault]) -> list[dict[str, str]]:
    """The job's tags and the project's, by which cleaning up knows what is its own."""
    tags = [{"Key": tag.key, "Value": tag.value} for tag in job.tags or ()]
    for tag in tags:
        if tag["Key"] == PROJECT_TAG:
            faults.append(Fault("Tags", f"{PROJECT_TAG!r} is the tag that this project's clean-up goes by; rename it"))
        if tag["Key"].lower().startswith("aws:"):
            faults.append(Fault("Tags", f"{tag['Key']!r}: keys that begin with aws: are AWS's own; rename it"))
    if len(tags) >= _MOST_TAGS:
        faults.append(Fault("Tags", f"has {len(tags)} entries; {_MOST_TAGS - 1} are allowed beside {PROJECT_TAG!r}"))
    return [*tags, {"Key": PROJECT_TAG, "Value": stack}]


def _of_the_network(job: TrainingJob, request: Mapping[str, Any]) -> list[Fault]:
    """A file system is reached from the VPC alone (developer guide, model-access-training-data)."""
    mounted = [channel.channel_name for channel in job.channels if _on_file_system(channel)]
    if not mounted or "VpcConfig" in request:
        return []
    what = (
        f"is needed to reach the file system of channel {', '.join(mounted)}: name subnets and security_groups in "
        "[cloud] of homeport.toml, or make a stack with a network: homeport-cloud stack up"
    )
    return [Fault("VpcConfig", what)]
