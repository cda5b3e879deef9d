"""s3:// channels, in every mode that CreateTrainingJob knows, as what is to be staged for which hosts.

Which S3DataType, CompressionType and RecordWrapperType go with which mode is the developer guide's
your-algorithms-training-algo-running-container and the API's Channel and S3DataSource.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from local_mode import buckets
from local_mode.buckets import Bucket
from local_mode.mounts import Refusal
from local_mode.object_store import InputRefused
from local_mode.place import Place
from training_job.container import input_mode
from training_job.errors import MachineCannot
from training_job.model import Channel, InputMode, S3DataSource, TrainingJob
from training_job.s3_uri import S3Uri

_TYPES: dict[str, tuple[str, ...]] = {
    "File": ("S3Prefix", "ManifestFile"),
    "FastFile": ("S3Prefix",),
    "Pipe": ("S3Prefix", "ManifestFile", "AugmentedManifestFile"),
}


@dataclass(frozen=True)
class S3Channel:
    """A channel to be staged. `hosts` are those that get it, in the order of their numbers."""

    name: str
    mode: InputMode
    uri: S3Uri
    data_type: str
    bucket: Bucket
    hosts: tuple[str, ...] = ()
    sharded: bool = False
    attributes: tuple[str, ...] = ()
    gzip: bool = False
    record_io: bool = False
    seed: int | None = None


@contextmanager
def told_of(channel: S3Channel) -> Iterator[None]:
    """What goes wrong with a channel's data, told with the channel's name."""
    try:
        yield
    except (InputRefused, MachineCannot) as error:
        error.args = (f"channel {channel.name}: {error}",)
        raise


def read(job: TrainingJob, channel: Channel, source: S3DataSource, place: Place) -> S3Channel | Refusal:
    """The channel as it is to be staged."""
    mode = input_mode(job, channel)
    if refusal := _unfit(mode, channel, source):
        return refusal
    try:
        uri = S3Uri.parse(source.s3_uri)
    except ValueError as error:
        return Refusal(f"S3Uri {error}")
    if uri.key.startswith("/") or ".." in uri.key.split("/"):
        return Refusal(f"the prefix {uri.key!r} must neither begin with / nor hold ..")
    bucket = buckets.find_bucket(uri.bucket, place)
    if bucket is None:
        return buckets.unknown(uri.bucket, place)
    return S3Channel(
        name=channel.channel_name,
        mode=mode,
        uri=uri,
        data_type=source.s3_data_type,
        bucket=bucket,
        sharded=source.s3_data_distribution_type == "ShardedByS3Key",
        attributes=source.attribute_names or (),
        gzip=channel.compression_type == "Gzip",
        record_io=channel.record_wrapper_type == "RecordIO",
        seed=channel.shuffle_config.seed if channel.shuffle_config else None,
    )


def _unfit(mode: str, channel: Channel, source: S3DataSource) -> Refusal | None:
    """What the service does not take together."""
    allowed = _TYPES[mode]
    if source.s3_data_type not in allowed:
        return Refusal(f"S3DataType {source.s3_data_type} does not go with input mode {mode}: {' or '.join(allowed)}")
    if source.attribute_names and source.s3_data_type != "AugmentedManifestFile":
        return Refusal("AttributeNames are for S3DataType AugmentedManifestFile")
    if source.s3_data_type == "AugmentedManifestFile" and not source.attribute_names:
        return Refusal("S3DataType AugmentedManifestFile needs AttributeNames")
    if mode != "Pipe":
        for field, asked in (
            ("CompressionType", channel.compression_type),
            ("RecordWrapperType", channel.record_wrapper_type),
        ):
            if asked not in (None, "None"):
                return Refusal(f"{field} {asked} is for input mode Pipe, not {mode}")
    return None
