"""What is put into a container before it starts, as a tar."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from time import time

from local_mode.plan import DIRECTORIES, HostPlan
from training_job.container import CONFIG_DIRECTORY

# Observed in a real job: the directory has no x bit, so only root can look into it.
_CONFIG_MODE = 0o644


def host_archive(host: HostPlan) -> bytes:
    """The files of one host below `/`, owned by root. What is mounted is there already."""
    mounted = {mount.target for mount in host.mounts}
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for path in sorted({*DIRECTORIES, *(str(Path(path).parent) for path in host.files)} - mounted):
            archive.addfile(_entry(path, _CONFIG_MODE if path == CONFIG_DIRECTORY else 0o755, directory=True))
        for mode, entries in ((0o644, host.files), (0o755, host.programs)):
            for path, content in entries.items():
                entry = _entry(path, mode)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def _entry(path: str, mode: int, *, directory: bool = False) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path.lstrip("/"))
    entry.type = tarfile.DIRTYPE if directory else tarfile.REGTYPE
    entry.mode = mode
    entry.mtime = int(time())
    return entry
