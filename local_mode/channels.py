"""Stage the S3 channels of a run: list what each host gets, fetch it or mount it, and say where it is."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from local_mode import fast_file, fuse
from local_mode.buckets import Endpoint, Folder
from local_mode.cache import Cache
from local_mode.contents import Contents, Stores, contents
from local_mode.fetching import Fetching, answer
from local_mode.inputs.listing import Entry, share, sibling_manifest
from local_mode.inputs.s3 import S3Channel, told_of
from local_mode.mounts import Mount
from local_mode.object_store import InputRefused
from local_mode.plan import HostPlan, RunPlan
from training_job.container import DATA_DIRECTORY
from training_job.errors import Fault, JobRefused


class Told(Fetching, Protocol):
    """Who is told how staging goes."""

    def staged(self, channel: str, what: str) -> None:
        """A channel is ready; `what` says so to a person."""


@dataclass
class Staged:
    """What staging adds to each host, by its name. Entered file systems and locks live as long as the run's stack."""

    mounts: dict[str, list[Mount]] = field(default_factory=lambda: defaultdict(list))
    files: dict[str, dict[str, bytes]] = field(default_factory=lambda: defaultdict(dict))

    def completed(self, host: HostPlan) -> HostPlan:
        """A host with what was staged for it."""
        mounts, files = self.mounts[host.host], self.files[host.host]
        return replace(host, mounts=(*host.mounts, *mounts), files={**host.files, **files})


@dataclass(frozen=True)
class Staging:
    """What staging works with."""

    cache: Cache
    limit: int
    work: Path
    told: Told
    stopped: Callable[[], bool]
    stack: ExitStack


def stage(plan: RunPlan, stores: Stores, staging: Staging) -> Staged:
    """Make the File and FastFile channels of a plan ready. Raises JobRefused with all that is wrong with them."""
    channels = [channel for channel in plan.channels if channel.mode != "Pipe"]
    listed = _listed(channels, plan.name, stores, staging.stopped)
    staged = Staged()
    for channel, found in listed:
        with told_of(channel):
            _stage(staged, channel, found, staging)
    return staged


def _stage(staged: Staged, channel: S3Channel, found: Contents, staging: Staging) -> None:
    """A File or FastFile channel as the directory that it is, mounted, or fetched."""
    if channel.mode == "File":
        _add_manifests(staged, channel, found)
    if (folder := _folder(channel, found)) is not None:
        _mount_everywhere(staged, channel, folder)
        staging.told.staged(channel.name, f"{folder} as {channel.uri}, read-only")
    elif channel.mode == "FastFile" and _can_be_mounted(channel):
        _mount_everywhere(staged, channel, _mounted(channel, found, staging))
        staging.told.staged(channel.name, f"{channel.uri}, read as it is needed, read-only")
    else:
        _fetch(staged, channel, found, staging)
        size = f"{len(found.entries):,} objects, {found.size / 1e6:,.1f} MB"
        staging.told.staged(channel.name, f"{channel.uri}, {size}, read-only{_ahead(channel)}")


def _listed(
    channels: Sequence[S3Channel], job: str, stores: Stores, stopped: Callable[[], bool]
) -> list[tuple[S3Channel, Contents]]:
    found, faults = [], []
    for channel in channels:
        with told_of(channel):
            try:
                listed = answer(partial(contents, channel, stores), stopped)
                if channel.mode == "FastFile":
                    _check_whole_folder(channel, listed)
                found.append((channel, listed))
            except InputRefused as error:
                faults.append(Fault(f"channel {channel.name}", str(error)))
    if faults:
        raise JobRefused(job, faults)
    return found


def _check_whole_folder(channel: S3Channel, found: Contents) -> None:
    """FastFile takes whole folders (developer guide, model-access-training-data)."""
    folder = f"{channel.uri.key.rstrip('/')}/" if channel.uri.key else ""
    beside = next((entry for entry in found.entries if not entry.object.key.startswith(folder)), None)
    if beside:
        raise InputRefused(
            f"{channel.uri}: FastFile takes a whole folder, and {beside.object.key!r} begins so too. "
            f"End the URI with a slash: {channel.uri}/"
        )


def _folder(channel: S3Channel, found: Contents) -> Path | None:
    """The directory that is the channel as it stands, if one is: nothing is copied then."""
    if not isinstance(channel.bucket, Folder) or channel.data_type != "S3Prefix" or channel.sharded:
        return None
    folder = channel.bucket.path / channel.uri.key
    key = f"{channel.uri.key.rstrip('/')}/" if channel.uri.key else ""
    whole = all(entry.object.key.startswith(key) for entry in found.entries)
    return folder if whole and folder.is_dir() else None


def _can_be_mounted(channel: S3Channel) -> bool:
    return isinstance(channel.bucket, Endpoint) and not channel.sharded and fuse.why_not() is None


def _ahead(channel: S3Channel) -> str:
    """Why a FastFile channel was fetched before the start."""
    if channel.mode != "FastFile":
        return ""
    return f"; fetched whole before the start: {fuse.why_not() or 'each host has a share of its own'}"


def _mounted(channel: S3Channel, found: Contents, staging: Staging) -> Path:
    assert isinstance(channel.bucket, Endpoint)
    point = staging.work / channel.name
    prefix = channel.uri.key.rstrip("/")
    # rclone fails to read what its disk has no room to keep.
    kept = staging.limit if found.size < shutil.disk_usage(staging.work).free else 0
    return staging.stack.enter_context(fast_file.mounted(channel.bucket, prefix, point, kept, staging.stopped))


def _fetch(staged: Staged, channel: S3Channel, found: Contents, staging: Staging) -> None:
    """Trees of the cache, the same one for all hosts unless each gets a share."""
    if not channel.sharded:
        _mount_everywhere(staged, channel, _tree(found, found.entries, staging))
        return
    for number, host in enumerate(channel.hosts):
        staged.mounts[host].append(_mount(channel, _tree(found, _entries_of(channel, found, number), staging)))


def _tree(found: Contents, entries: Sequence[Entry], staging: Staging) -> Path:
    return staging.stack.enter_context(staging.cache.tree(found.store, entries, staging.told, staging.stopped))


def _entries_of(channel: S3Channel, found: Contents, number: int) -> Sequence[Entry]:
    return share(found.entries, number, len(channel.hosts)) if channel.sharded else found.entries


def _add_manifests(staged: Staged, channel: S3Channel, found: Contents) -> None:
    for number, host in enumerate(channel.hosts):
        content = sibling_manifest(found.prefix, _entries_of(channel, found, number))
        staged.files[host][f"{DATA_DIRECTORY}/{channel.name}-manifest"] = content


def _mount_everywhere(staged: Staged, channel: S3Channel, directory: Path) -> None:
    for host in channel.hosts:
        staged.mounts[host].append(_mount(channel, directory))


def _mount(channel: S3Channel, directory: Path) -> Mount:
    target = f"{DATA_DIRECTORY}/{channel.name}"
    return Mount(str(directory), target, read_only=True, stands_for=str(channel.uri))
