"""Make the channel of a linked file system ready: mounted so that it comes as it is read, or fetched before."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from local_mode.channels import Staging
from local_mode.contents import connect
from local_mode.fetching import answer
from local_mode.first_read import can_mount, mounted
from local_mode.inputs.linked import LinkedChannel
from local_mode.links import DataRepository
from local_mode.mounts import Mount
from local_mode.object_store import InputRefused


def linked(channel: LinkedChannel, staging: Staging) -> Mount:
    """The channel's mount, for as long as the stack; the plain directory where all of it is here.

    Raises InputRefused where neither S3 nor the directory has it.
    """
    with DataRepository(channel.link, connect(channel.link.bucket)) as repository:
        found = answer(partial(repository.look, channel.subpath), staging.stopped)
        directory = channel.link.directory / channel.subpath
        if not found.objects and not directory.is_dir():
            raise InputRefused(
                f"channel {channel.name}: neither {directory} nor an object below {channel.link.uri} is there"
            )
        how = "all of it here"
        if not found.is_whole and (why := can_mount()):
            how = f"{len(found.missing):,} objects fetched before the start: {why}"
            repository.hydrate(found, staging.told, staging.stopped)
            found = answer(partial(repository.look, channel.subpath), staging.stopped)
    if not found.is_whole:
        how = f"{len(found.missing):,} of {found.objects:,} objects fetched when they are first read"
        directory = staging.stack.enter_context(mounted(channel.link, found, staging.work / f"linked-{channel.name}"))
    access = "read-only" if channel.mount.read_only else "read and write"
    staging.told.staged(channel.name, f"{channel.link.directory} as {channel.mount.stands_for}, {access}; {how}")
    return replace(channel.mount, source=str(directory))
