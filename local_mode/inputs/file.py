"""file:// channels: a directory of this machine, read-only, so that no job can harm its owner's only copy."""

from __future__ import annotations

from urllib.parse import unquote

from local_mode.mounts import Mount, Refusal
from training_job.container import DATA_DIRECTORY, input_mode
from training_job.model import Channel, FileDataSource, TrainingJob


def mount(job: TrainingJob, channel: Channel, source: FileDataSource) -> Mount | Refusal:
    """The directory as the channel. In the cloud the job gets a copy of its own that it may write to."""
    if input_mode(job, channel) != "File":
        return Refusal(f"input mode {input_mode(job, channel)}: a local directory is read in File mode only")
    return Mount(
        source=unquote(source.file_uri.removeprefix("file://")),
        target=f"{DATA_DIRECTORY}/{channel.channel_name}",
        read_only=True,
        stands_for=source.file_uri,
    )
