"""Script mode's source directory as sourcedir.tar.gz: the same bytes here and in the cloud, however often packed."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path


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
