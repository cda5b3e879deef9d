"""What hosts left, written as it comes: into one .tar.gz by all cores, or into a folder as it is.

Each appears under its name only when it is whole. The same members give the same bytes, on however many cores: a gzip
header without time and name, and blocks whose borders depend on the content alone. Not on every processor, though:
ISA-L has code of its own for several.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO

from isal import igzip_threaded

from local_mode.host_files import PIECE, Escapes
from local_mode.part_files import NO_ROOM, disk_full, written, written_folder
from local_mode.safe_tar import tarfile
from training_job.errors import DiskFull, MachineCannot

_LEVEL = 2
"""Of ISA-L's 0 to 3. Weights pack as small as with 3 in half the time; 0 makes them larger than they are."""

_BLOCK = 1 << 20
"""Bytes that one thread packs at a time."""

_MOST_THREADS = 16
"""More are faster than any engine sends; each keeps up to five blocks."""

_PAX = ("utf-8", "surrogateescape")

Put = Callable[[str, tarfile.TarInfo, tarfile.TarFile], None]


class Making:
    """An archive or a folder in the making.

    Once the disk is full, what comes is counted and not written, so that the error can say how much room it all takes.
    """

    put: Put

    def __init__(self) -> None:
        self._full: OSError | None = None
        self.needed = 0

    def add(self, host: str, member: tarfile.TarInfo, source: tarfile.TarFile) -> None:
        """Write a member of a host's. An archive leaves devices out, a folder refuses them: Escapes."""
        self.needed += member.size
        if self._full:
            return
        try:
            self.put(host, member, source)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise MachineCannot(
                    f"{host}: left {member.name!r}, which cannot be written here: {error.strerror or error}"
                ) from None
            self._full = error

    def check(self) -> None:
        """Raise what was met when the disk was full."""
        if self._full:
            raise self._full


@contextmanager
def packed(path: Path, threads: int | None = None) -> Iterator[Making]:
    """A .tar.gz in the making, by as many threads as there are cores. Raises DiskFull, MachineCannot."""
    threads = threads or min(os.cpu_count() or 1, _MOST_THREADS)
    with (
        _told(path) as making,
        written(path) as part,
        igzip_threaded.open(  # type: ignore[no-untyped-call]
            part, "wb", _LEVEL, threads=threads, block_size=_BLOCK
        ) as archive,
    ):
        making.put = partial(_pack, archive)
        yield making
        making.check()
        archive.write(bytes(2 * tarfile.BLOCKSIZE))


@contextmanager
def unpacked(path: Path) -> Iterator[Making]:
    """A folder in the making, in which nothing leads outside. Raises DiskFull, Escapes, MachineCannot."""
    with _told(path) as making, written_folder(path) as folder:
        making.put = partial(_unpack, folder)
        yield making
        making.check()


@contextmanager
def _told(path: Path) -> Iterator[Making]:
    making = Making()
    try:
        yield making
    except DiskFull:
        raise disk_full(path, making.needed) from None
    except OSError as error:
        raise MachineCannot(f"{path} cannot be written: {error.strerror or error}") from None


def _pack(archive: IO[bytes], _host: str, member: tarfile.TarInfo, source: tarfile.TarFile) -> None:
    # A TarFile to write to would keep every member; a member knows its header as well.
    if member.isdev():
        return
    archive.write(member.tobuf(tarfile.PAX_FORMAT, *_PAX))
    content = source.extractfile(member) if member.isreg() else None
    while content and (piece := content.read(PIECE)):
        archive.write(piece)
    archive.write(bytes(-member.size % tarfile.BLOCKSIZE))


def _unpack(folder: Path, host: str, member: tarfile.TarInfo, source: tarfile.TarFile) -> None:
    try:
        source.extract(member, folder, filter="data")
    except tarfile.FilterError as error:
        raise Escapes(host, member.name, f"{error}, and with CompressionType NONE it would be a file here") from None
