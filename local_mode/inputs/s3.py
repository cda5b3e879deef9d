"""s3:// channels of a bucket that is mapped to a directory: a whole folder of it, in File mode, asking no AWS."""

from __future__ import annotations

from local_mode.mounts import Mount, Refusal
from local_mode.place import Place
from training_job.container import DATA_DIRECTORY, input_mode
from training_job.model import Channel, S3DataSource, TrainingJob
from training_job.spelling import nearest


def mount(job: TrainingJob, channel: Channel, source: S3DataSource, place: Place) -> Mount | Refusal:
    """The folder of the mapped bucket, read-only."""
    bucket, _, prefix = source.s3_uri.partition("://")[2].partition("/")
    mapping = place.buckets.get(bucket)
    if mapping is None:
        return Refusal(
            f"bucket {bucket!r} is not mapped in {place.source}{nearest(bucket, place.buckets)}; add\n"
            f'      [local.buckets.{bucket}]\n      path = "the directory that stands for it"'
        )
    for what, asked, known in (
        ("input mode", input_mode(job, channel), "File"),
        ("S3DataType", source.s3_data_type, "S3Prefix"),
        ("S3DataDistributionType", source.s3_data_distribution_type or "FullyReplicated", "FullyReplicated"),
    ):
        if asked != known:
            return Refusal(f"{what} {asked} is not run here yet, only {known}; it works in the cloud")
    folder = place.inside(mapping, prefix)
    if folder is None:
        return Refusal(f"the prefix {prefix!r} must neither begin with / nor hold ..")
    return Mount(
        source=str(folder),
        target=f"{DATA_DIRECTORY}/{channel.channel_name}",
        read_only=True,
        stands_for=source.s3_uri,
    )
