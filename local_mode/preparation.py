"""What a run has ready before its first container: channels staged, pipes laid, kept directories restored."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from glob import escape
from pathlib import Path, PurePosixPath

from local_mode import part_files, work
from local_mode.buckets import Folder
from local_mode.cache import Cache
from local_mode.channels import Staged, Staging, Told, stage
from local_mode.checkpoints import check_writable
from local_mode.contents import Stores, connect
from local_mode.epochs import epochs
from local_mode.fetching import answer
from local_mode.inputs.s3 import S3Channel, told_of
from local_mode.kept import KeptDirectory
from local_mode.linked_channels import linked
from local_mode.mirror import Synced
from local_mode.mounts import Mount
from local_mode.object_store import InputRefused
from local_mode.pipes import Feed, Feeders, feeding
from local_mode.plan import RunPlan
from local_mode.restoring import Restored, restored
from training_job.container import DATA_DIRECTORY
from training_job.errors import Fault, JobRefused
from training_job.s3_uri import S3Uri
from training_job.script_mode import SOURCE_ARCHIVE
from training_job.source_archive import packed_source


@dataclass
class Prepared:
    """What is there for the hosts. `work` is None where nothing had to be prepared."""

    staged: Staged = field(default_factory=Staged)
    work: Path | None = None
    kept: tuple[Synced, ...] = ()
    restored: tuple[Restored, ...] = ()
    pipes: Feeders | None = None


@dataclass(frozen=True)
class Needs:
    """What preparing works with. `failed` is told the error that ends a pipe; `restart` says that the job's own
    checkpoints are to come back, even where its bucket is not known."""

    told: Told
    stopped: Callable[[], bool]
    failed: Callable[[BaseException], None]
    stack: ExitStack
    restart: bool = False


def prepared(plan: RunPlan, needs: Needs) -> Prepared:
    """Everything that the plan's hosts find besides their own files; it lasts as long as the stack."""
    _sweep(plan)
    place = plan.place
    work.sweep(place.cache / "work")
    cache = Cache(place.cache, place.cache_bytes)
    cache.sweep()
    if not (plan.channels or plan.linked or plan.kept or isinstance(plan.source, S3Uri)):
        return Prepared(staged=_with_source(plan, Staged(), plan.source))
    directory = needs.stack.enter_context(work.work_directory(place.cache / "work"))
    staging = Staging(cache, place.cache_bytes, directory, needs.told, needs.stopped, needs.stack)
    stores = Stores(place)
    source = _fetched(plan.source, stores, staging) if isinstance(plan.source, S3Uri) else plan.source
    ready = Prepared(staged=_with_source(plan, stage(plan, stores, staging), source), work=directory)
    for channel in plan.linked:
        mount = linked(channel, staging)
        for host in channel.hosts:
            ready.staged.mounts[host].append(mount)
    _lay_pipes(plan, ready, stores, staging, needs)
    _restore(plan, ready, staging, needs.restart)
    return ready


def _sweep(plan: RunPlan) -> None:
    """Remove the parts that killed runs left where this one writes, under their own jobs' names too."""
    places = [(kept.bucket, kept.prefix) for kept in plan.kept]
    if plan.delivery:
        places.append((plan.delivery.bucket, plan.delivery.uri.key))
    for bucket, prefix in places:
        parts = PurePosixPath(prefix).parts
        if isinstance(bucket, Folder) and ".." not in parts:
            named = "/".join("*" if part == plan.name else escape(part) for part in parts)
            for folder in bucket.path.glob(named) if named else (bucket.path,):
                part_files.sweep(folder)


def _with_source(plan: RunPlan, staged: Staged, source: Path | None) -> Staged:
    if source is not None:
        packed = packed_source(source)
        for host in plan.hosts:
            staged.files[host.host][SOURCE_ARCHIVE] = packed
    return staged


def _fetched(uri: S3Uri, stores: Stores, staging: Staging) -> Path:
    """The source archive."""
    store = stores(uri.bucket)
    found = answer(partial(store.find, uri.key), staging.stopped)
    if found is None:
        raise InputRefused(f"{uri}: the job's source archive is not there")
    return staging.cache.fetch(store, [found], staging.told, staging.stopped)[0]


def _lay_pipes(plan: RunPlan, ready: Prepared, stores: Stores, staging: Staging, needs: Needs) -> None:
    """The Pipe channels' directory becomes /opt/ml/input/data of each host, read-only: what a root container would
    write there could not be removed by everybody."""
    channels = [channel for channel in plan.channels if channel.mode == "Pipe"]
    if not channels:
        return
    feeds = [feed for channel in channels for feed in _feeds(plan.name, channel, stores, staging)]
    pipes = staging.work / "pipes"
    for host in plan.hosts:
        directory = pipes / host.host
        directory.mkdir(parents=True)
        for mount in (*host.mounts, *ready.staged.mounts[host.host]):
            if mount.target.startswith(f"{DATA_DIRECTORY}/"):
                (directory / mount.target.removeprefix(f"{DATA_DIRECTORY}/")).mkdir(exist_ok=True)
        for path, content in ready.staged.files.pop(host.host, {}).items():
            laid = directory / PurePosixPath(path).relative_to(DATA_DIRECTORY)
            with part_files.no_room_told(laid, len(content)):
                laid.parent.mkdir(exist_ok=True)
                laid.write_bytes(content)
        ready.staged.mounts[host.host].append(Mount(str(directory), DATA_DIRECTORY, read_only=True, stands_for="pipes"))
    ready.pipes = needs.stack.enter_context(feeding(pipes, feeds, needs.failed))
    for channel in channels:
        staging.told.staged(channel.name, f"{channel.uri}, through a pipe an epoch")


def _feeds(job: str, channel: S3Channel, stores: Stores, staging: Staging) -> list[Feed]:
    with told_of(channel):
        try:
            return answer(partial(epochs, channel, stores, staging.cache, staging.work), staging.stopped)
        except InputRefused as error:
            raise JobRefused(job, [Fault(f"channel {channel.name}", str(error))]) from None


def _restore(plan: RunPlan, ready: Prepared, staging: Staging, restart: bool) -> None:
    ready.kept = tuple(_synced(kept) for kept in plan.kept)
    for kept, synced in zip(plan.kept, ready.kept, strict=True):
        answer(partial(check_writable, synced.store, synced.prefix, staging.work), staging.stopped)
        if kept.restored or (restart and kept.resumed):
            found = staging.stack.enter_context(restored(synced, staging.cache, staging.told, staging.stopped))
            ready.restored += (found,)
            _tell(kept, found, staging)
        elif isinstance(kept.bucket, Folder) and not kept.is_in_bucket:
            what = f"bucket {kept.uri.bucket} is mapped nowhere: kept in {kept.bucket.path}, and nothing is restored"
            staging.told.staged(PurePosixPath(kept.path).name, what)


def _synced(kept: KeptDirectory) -> Synced:
    if isinstance(kept.bucket, Folder) and not kept.is_in_bucket:
        # In the run's own folder, which nobody has made yet.
        kept.bucket.path.mkdir(parents=True, exist_ok=True)
    store = connect(kept.bucket)
    return Synced(
        kept.path, store, kept.prefix, deletes=not kept.without, skipped=(kept.without,) if kept.without else ()
    )


def _tell(kept: KeptDirectory, found: Restored, staging: Staging) -> None:
    if not found.entries:
        staging.told.staged("checkpoints", f"none at {kept.uri} yet: the job begins anew")
        return
    many = f"{len(found.entries):,} files, {found.size / 1e6:,.1f} MB, the newest {found.newest}"
    staging.told.staged("checkpoints", f"restored from {kept.uri}: {many}")
