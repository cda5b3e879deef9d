"""Is everything there that a plan needs of this machine? Looked at before anything is started."""

from __future__ import annotations

import os
from pathlib import Path

from local_mode.buckets import Folder
from local_mode.plan import RunPlan
from training_job.errors import Fault, JobRefused


def check(plan: RunPlan) -> None:
    """Raise JobRefused with every directory that is missing or cannot be read."""
    mounts = {mount.target: mount for host in plan.hosts for mount in host.mounts}
    faults = [
        Fault(mount.target, f"{why} (it stands for {mount.stands_for})")
        for mount in mounts.values()
        if (why := _fault_of(Path(mount.source)))
    ]
    faults += [
        Fault(f"channel {channel.name}", f"{why} (it stands for s3://{channel.bucket.bucket})")
        for channel in plan.channels
        if isinstance(channel.bucket, Folder) and (why := _fault_of(channel.bucket.path))
    ]
    if isinstance(plan.source, Path) and not plan.source.is_file() and (why := _fault_of(plan.source)):
        faults.append(Fault("source_dir", why))
    if faults:
        raise JobRefused(plan.name, faults)


def _fault_of(directory: Path) -> str | None:
    if not directory.exists():
        return f"{directory}: there is no such directory"
    if not directory.is_dir():
        return f"{directory} is a file: a channel is a directory"
    if not os.access(directory, os.R_OK | os.X_OK):
        return f"{directory} cannot be read by you"
    return None
