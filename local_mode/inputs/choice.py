"""Which way each channel's data comes in, and for which hosts. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from local_mode.inputs import file, file_system, s3
from local_mode.inputs.linked import LinkedChannel
from local_mode.inputs.s3 import S3Channel
from local_mode.mounts import Mount, Refusal
from local_mode.place import Place
from training_job import script_mode
from training_job.container import HostContents
from training_job.errors import Fault
from training_job.model import Channel, DataSource, TrainingJob

Staged = TypeVar("Staged", S3Channel, LinkedChannel)
Inputs = Mapping[str, Mount | S3Channel | LinkedChannel | None]
"""What each channel is here, by its name; None for the source that script mode packs."""


def resolved(job: TrainingJob, place: Place, faults: list[Fault]) -> TrainingJob:
    """The job with every file system under the id and path that CreateTrainingJob knows."""
    channels: list[Channel] = []
    for channel in job.channels:
        found = file_system.named(channel.data_source, place)
        if isinstance(found, Refusal):
            faults.append(_fault(channel, found))
        else:
            channels.append(channel.model_copy(update={"data_source": found}))
    return job.model_copy(update={"input_data_config": tuple(channels) or None})


def chosen(job: TrainingJob, place: Place, faults: list[Fault]) -> Inputs:
    """What every channel is here; a fault is noted for each that cannot be."""
    return {channel.channel_name: _input(job, channel, place, faults) for channel in job.channels}


def staged(inputs: Inputs, contents: Sequence[HostContents], kind: type[Staged]) -> tuple[Staged, ...]:
    """The channels of a kind that is staged, each with the hosts that get it."""
    return tuple(
        replace(found, hosts=tuple(host.host for host in contents if name in _names(host)))
        for name, found in inputs.items()
        if isinstance(found, kind)
    )


def _input(
    job: TrainingJob, channel: Channel, place: Place, faults: list[Fault]
) -> Mount | S3Channel | LinkedChannel | None:
    """What the channel is here; None for the source that is packed, and where a fault was noted."""
    if job.source_dir and channel.channel_name == script_mode.SOURCE_CHANNEL:
        return None
    found = _input_of(job, channel, channel.data_source, place)
    if isinstance(found, Refusal):
        faults.append(_fault(channel, found))
        return None
    return found


def _input_of(
    job: TrainingJob, channel: Channel, source: DataSource, place: Place
) -> Mount | S3Channel | LinkedChannel | Refusal:
    if source.s3_data_source:
        if unknown := _unknown_groups(job, source.s3_data_source.instance_group_names):
            return Refusal(f"InstanceGroupNames {', '.join(unknown)}: the job has no such instance group")
        return s3.read(job, channel, source.s3_data_source, place)
    for name, asked in (
        ("CompressionType", channel.compression_type),
        ("RecordWrapperType", channel.record_wrapper_type),
    ):
        if asked not in (None, "None"):
            return Refusal(f"{name} {asked} is for S3 data in input mode Pipe")
    if source.file_system_data_source:
        return file_system.read(job, channel, source.file_system_data_source, place)
    if source.file_data_source:
        return file.mount(job, channel, source.file_data_source)
    return Refusal("data sets of a SageMaker hub cannot be had here")


def _unknown_groups(job: TrainingJob, names: Sequence[str] | None) -> list[str]:
    known = {group.instance_group_name for group in job.instance_groups}
    return [name for name in names or () if name not in known]


def _fault(channel: Channel, refusal: Refusal) -> Fault:
    return Fault(f"channel {channel.channel_name}", refusal.why)


def _names(host: HostContents) -> set[str]:
    return {channel.channel_name for channel in host.channels}
