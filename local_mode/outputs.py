"""model.tar.gz and output.tar.gz from what the hosts left, merged, streamed and rooted as in the cloud.

model.tar.gz holds the children of /opt/ml/model, output.tar.gz those of /opt/ml/output/data (developer guide,
your-algorithms-training-algo-output). What SageMaker does when two hosts write one path is not documented: here the
host with the lowest number wins, and every such path is reported.
"""

from __future__ import annotations

import errno
import gzip
import io
import shutil
import tarfile
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO

from local_mode.engine import Host
from local_mode.plan import MODEL_DIRECTORY, OUTPUT_DIRECTORY
from training_job.errors import DiskFull

_FAILURE_BYTES = 1 << 16


@dataclass(frozen=True)
class Collision:
    """A path that several hosts wrote; the first of `hosts` is the one that was kept."""

    archive: str
    path: str
    hosts: tuple[str, ...]


@dataclass
class Artifacts:
    """What the job left. Sizes are bytes; a file count of 0 is an archive with nothing in it."""

    model: Path
    output: Path
    model_files: int = 0
    output_files: int = 0
    collisions: list[Collision] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)


def collect(hosts: Mapping[str, Host], directory: Path) -> Artifacts:
    """Fetch every host's directories and pack them into `directory`. Raises DiskFull, leaving no half archive."""
    directory.mkdir(parents=True, exist_ok=True)
    found = Artifacts(directory / "model.tar.gz", directory / "output.tar.gz")
    with _packed(found.model) as archive:
        for name, host in hosts.items():
            with closing(_members(host, MODEL_DIRECTORY)) as members:
                for member, content in members:
                    archive.add(name, member, content)
    found.model_files = archive.files
    found.collisions += archive.collisions
    with _packed(found.output) as archive:
        for name, host in hosts.items():
            with closing(_members(host, OUTPUT_DIRECTORY)) as members:
                for member, content in members:
                    if member.name == "failure" and content is not None:
                        found.failures[name] = content.read(_FAILURE_BYTES).decode(errors="replace")
                    elif member.name.startswith("data/"):
                        _rebase(member, "data")
                        archive.add(name, member, content)
    found.output_files = archive.files
    found.collisions += archive.collisions
    return found


class _Archive:
    """One archive in the making."""

    def __init__(self, name: str, target: tarfile.TarFile) -> None:
        self._name = name
        self._target = target
        self._writers: dict[str, list[str]] = {}
        self._is_directory: dict[str, bool] = {}
        self.files = 0
        self.needed = 0
        self.full: OSError | None = None

    def add(self, host: str, member: tarfile.TarInfo, content: IO[bytes] | None) -> None:
        """Add a member, or note that another host had its path first. Devices are left out, as sockets are."""
        if member.isdev() or self._taken(host, member):
            return
        self._is_directory[member.name] = member.isdir()
        self._writers[member.name] = [host]
        self.needed += member.size
        self.files += not member.isdir()
        if self.full:
            return
        try:
            self._target.addfile(member, content)
        except OSError as error:
            # The rest is still counted, so that the error can say how much room it takes.
            self.full = error

    def _taken(self, host: str, member: tarfile.TarInfo) -> bool:
        """Whether another host wrote this path, or has a file where this one has a directory around it."""
        for path in (*map(str, reversed(PurePosixPath(member.name).parents)), member.name):
            if path in self._writers and not (self._is_directory[path] and (path != member.name or member.isdir())):
                if host not in self._writers[path]:
                    self._writers[path].append(host)
                return True
        return member.name in self._writers

    @property
    def collisions(self) -> list[Collision]:
        """The paths of several hosts; directories of several are merged and no collision."""
        return [Collision(self._name, path, tuple(hosts)) for path, hosts in self._writers.items() if len(hosts) > 1]


@contextmanager
def _packed(path: Path) -> Iterator[_Archive]:
    """An archive that appears under its name only when it is whole."""
    part = path.with_name(f".{path.name}.part")
    archive = None
    try:
        with (
            part.open("wb") as raw,
            gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w") as target,
        ):
            archive = _Archive(path.name, target)
            yield archive
            if archive.full:
                raise archive.full
        part.replace(path)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        part.unlink(missing_ok=True)
        raise DiskFull(path, archive.needed if archive else 0, shutil.disk_usage(path.parent).free) from None
    finally:
        part.unlink(missing_ok=True)


def _members(host: Host, path: str) -> Generator[tuple[tarfile.TarInfo, IO[bytes] | None], None, None]:
    """What is below a directory of a host, named from there, owned by root as everything in the cloud's archives."""
    with (
        closing(host.fetch(path)) as chunks,
        tarfile.open(fileobj=_Stream(chunks), mode="r|", bufsize=1 << 20) as source,
    ):
        for member in source:
            _rebase(member, PurePosixPath(path).name)
            if member.name in ("", "."):
                continue
            member.uid = member.gid = 0
            member.uname = member.gname = "root"
            member.mtime = int(member.mtime)
            member.pax_headers = {}
            content = source.extractfile(member) if member.isreg() else None
            yield member, content


def _rebase(member: tarfile.TarInfo, folder: str) -> None:
    """Name a member, and what a hard link points to, from inside `folder`."""
    member.name = member.name.removeprefix(folder).lstrip("/")
    if member.islnk():
        member.linkname = member.linkname.removeprefix(folder).lstrip("/")


class _Stream(io.RawIOBase):
    """An iterator of bytes as a file to read from."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while size < 0 or len(self._rest) < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            self._rest += chunk
        taken, self._rest = (self._rest, b"") if size < 0 else (self._rest[:size], self._rest[size:])
        return taken
