"""What each host of a job finds: files under /opt/ml/input/config, environment, and how its container is started. Pure.

The forms are SageMaker's as observed in real jobs: compact JSON without a final newline, keys in this order,
`topology` appended since 2025; names and sources are those of the developer guide's
your-algorithms-training-algo-running-container and your-algorithms-training-algo-dockerfile pages.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from training_job.hook_files import hook_files
from training_job.model import Channel, InputMode, InstanceGroup, TrainingJob

CONFIG_DIRECTORY = "/opt/ml/input/config"
DATA_DIRECTORY = "/opt/ml/input/data"
NETWORK_INTERFACE = "eth0"
WARM_POOL_CACHE = "/opt/ml/sagemaker/warmpoolcache"
_NO_ACCOUNT = "000000000000"


@dataclass(frozen=True)
class HostContents:
    """One host of the job, before anything is known of the machine that plays it."""

    host: str
    group: str
    instance_type: str
    files: Mapping[str, bytes]
    environment: Mapping[str, str]
    entrypoint: tuple[str, ...] | None
    command: tuple[str, ...]
    channels: tuple[Channel, ...]


def host_contents(job: TrainingJob, *, region: str) -> tuple[HostContents, ...]:
    """Every host of the job in the order of its number."""
    groups = _hosts_by_group(job)
    specification = job.algorithm_specification
    arguments = tuple(specification.container_arguments or ())
    # `train` is given only where neither the entrypoint nor the arguments are the job's own.
    given = specification.container_entrypoint or specification.container_arguments
    more = {name: _compact(content) for name, content in hook_files(job).items()}
    return tuple(
        HostContents(
            host=host,
            group=group.instance_group_name,
            instance_type=group.instance_type,
            files={
                "hyperparameters.json": _compact(dict(sorted((job.hyper_parameters or {}).items()))),
                "inputdataconfig.json": input_data_config(job, channels),
                "resourceconfig.json": resource_config(groups, host),
                **more,
            },
            environment=_environment(job, region),
            entrypoint=specification.container_entrypoint,
            command=arguments if given else ("train",),
            channels=channels,
        )
        for group, hosts in groups
        for channels in [_channels_of(job, group)]
        for host in hosts
    )


def input_data_config(job: TrainingJob, channels: tuple[Channel, ...]) -> bytes:
    """inputdataconfig.json: hints only; it names no URI and no file system."""
    return _compact({channel.channel_name: _hints(job, channel) for channel in channels})


def resource_config(groups: list[tuple[InstanceGroup, list[str]]], current: str) -> bytes:
    """resourceconfig.json of one host. `hosts` is sorted as text, so algo-10 stands before algo-2."""
    group = next(group for group, hosts in groups if current in hosts)
    return _compact(
        {
            "current_host": current,
            "current_instance_type": group.instance_type,
            "current_group_name": group.instance_group_name,
            "hosts": sorted(host for _, hosts in groups for host in hosts),
            "instance_groups": [
                {
                    "instance_group_name": group.instance_group_name,
                    "instance_type": group.instance_type,
                    "hosts": sorted(hosts),
                }
                for group, hosts in groups
            ],
            "network_interface_name": NETWORK_INTERFACE,
            "topology": None,
        }
    )


def job_arn(job: TrainingJob, region: str) -> str:
    """The job's ARN; twelve zeros stand for the account that a job without RoleArn does not name."""
    account = job.role_arn.split(":")[4] if job.role_arn else _NO_ACCOUNT
    return f"arn:aws:sagemaker:{region}:{account}:training-job/{job.training_job_name}"


def input_mode(job: TrainingJob, channel: Channel) -> InputMode:
    """The mode a channel is read in: its own, else the job's."""
    return channel.input_mode or job.algorithm_specification.training_input_mode


def _hosts_by_group(job: TrainingJob) -> list[tuple[InstanceGroup, list[str]]]:
    numbered: list[tuple[InstanceGroup, list[str]]] = []
    number = 0
    for group in job.instance_groups:
        numbered.append((group, [f"algo-{number + i + 1}" for i in range(group.instance_count)]))
        number += group.instance_count
    return numbered


def _channels_of(job: TrainingJob, group: InstanceGroup) -> tuple[Channel, ...]:
    """The channels a group's hosts get; InstanceGroupNames restricts a channel to groups."""

    def reaches(channel: Channel) -> bool:
        source = channel.data_source.s3_data_source
        names = source.instance_group_names if source else None
        return not names or group.instance_group_name in names

    return tuple(channel for channel in job.channels if reaches(channel))


def _hints(job: TrainingJob, channel: Channel) -> dict[str, str]:
    source = channel.data_source.s3_data_source
    return {
        **({"ContentType": channel.content_type} if channel.content_type is not None else {}),
        "TrainingInputMode": input_mode(job, channel),
        "S3DistributionType": (source.s3_data_distribution_type if source else None) or "FullyReplicated",
        "RecordWrapperType": channel.record_wrapper_type or "None",
    }


def _environment(job: TrainingJob, region: str) -> dict[str, str]:
    """The platform's variables and the job's own. The platform sets no SM_*, CURRENT_HOST or AWS_DEFAULT_REGION."""
    return {
        "TRAINING_JOB_NAME": job.training_job_name,
        "TRAINING_JOB_ARN": job_arn(job, region),
        "AWS_REGION": region,
        "AWS_EXECUTION_ENV": "AWS_ECS_EC2",
        "SAGEMAKER_METRICS_DIRECTORY": "/opt/ml/output/metrics/sagemaker",
        "SAGEMAKER_MANAGED_WARMPOOL_CACHE_DIRECTORY": WARM_POOL_CACHE,
        "DMLC_INTERFACE": NETWORK_INTERFACE,
        **(job.environment or {}),
    }


def _compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
