"""What is put into a container before it starts, as a tar; and a source directory as sourcedir.tar.gz."""

from __future__ import annotations

import gzip
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


def packed_source(source: Path) -> bytes:
    """A directory as sourcedir.tar.gz, its children at the root, the same bytes each time; an archive as it is."""
    if source.is_file():
        return source.read_bytes()

    def without_traces(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        entry.mtime = 0
        return entry

    stream = io.BytesIO()
    with gzip.GzipFile(fileobj=stream, mode="wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as archive:
        for child in sorted(source.iterdir()):
            archive.add(child, arcname=child.name, filter=without_traces)
    return stream.getvalue()


def _entry(path: str, mode: int, *, directory: bool = False) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path.lstrip("/"))
    entry.type = tarfile.DIRTYPE if directory else tarfile.REGTYPE
    entry.mode = mode
    entry.mtime = int(time())
    return entry
