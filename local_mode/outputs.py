"""What the hosts left, merged: model.tar.gz and output.tar.gz, rooted as in the cloud, or the same as folders.

model.tar.gz holds the children of /opt/ml/model, output.tar.gz those of /opt/ml/output/data (developer guide,
your-algorithms-training-algo-output). What SageMaker does when two hosts write one path is not documented: here the
host with the lowest number wins, and every such path is reported.

With OutputDataConfig.CompressionType NONE the model is left uncompressed. Under which prefix is not documented either.
`output/model/` is where public programs look for it; SageMaker SDK 2.257.7 (Estimator.model_data in estimator.py,
Session._gen_s3_model_data_source in session.py) takes S3ModelArtifacts for the prefix and adds a / where none ends it.
That output/data stays uncompressed as well, under `output/data/`, is a guess of ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from local_mode.archives import Making, packed, unpacked
from local_mode.engine import Host
from local_mode.host_files import files_of
from local_mode.plan import MODEL_DIRECTORY, OUTPUT_DIRECTORY
from local_mode.safe_tar import tarfile

_FAILURE_BYTES = 1 << 16


@dataclass(frozen=True)
class Collision:
    """A path that several hosts wrote; the first of `hosts` is the one that was kept."""

    archive: str
    path: str
    hosts: tuple[str, ...]


@dataclass(frozen=True)
class OutputFile:
    """A file to be delivered: its key from the job's output folder on, and where it is."""

    key: str
    path: Path


@dataclass(frozen=True)
class Artifacts:
    """What the job left, in archives or folders; a file count of 0 is one with nothing in it."""

    model: Path
    output: Path
    model_files: int = 0
    model_size: int = 0
    """Bytes of the model's archive, or of its files."""
    output_files: int = 0
    collisions: list[Collision] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    files: tuple[OutputFile, ...] = ()
    """What is to be delivered. UNVERIFIED: a model.tar.gz always, an output.tar.gz only if something is in it."""


def collect(hosts: Mapping[str, Host], directory: Path, compressed: bool = True) -> Artifacts:
    """Fetch every host's directories into archives in `directory`, or into folders there.

    Raises DiskFull, leaving no half archive; Escapes for what cannot be a file here; MachineCannot.
    """
    made = packed if compressed else unpacked
    model, output = (
        directory / name for name in (("model.tar.gz", "output.tar.gz") if compressed else ("model", "data"))
    )
    failures: dict[str, str] = {}
    with made(model) as making:
        models = _Merge(model.name, making)
        _gather(hosts, MODEL_DIRECTORY, models)
    with made(output) as making:
        outputs = _Merge(output.name, making, below="data/")
        _gather(hosts, OUTPUT_DIRECTORY, outputs, failures)
    model_parts = tuple(_files(model))
    return Artifacts(
        model=model,
        output=output,
        model_files=models.files,
        model_size=sum(file.path.stat().st_size for file in model_parts),
        output_files=outputs.files,
        collisions=models.collisions + outputs.collisions,
        failures=failures,
        files=(*model_parts, *(_files(output) if outputs.files else ())),
    )


def _gather(hosts: Mapping[str, Host], directory: str, merge: _Merge, failures: dict[str, str] | None = None) -> None:
    for name, host in hosts.items():
        with files_of(name, host, directory) as found:
            for member, source in found:
                if failures is not None and member.name == "failure" and member.isreg():
                    failures[name] = _text(member, source)
                else:
                    merge.add(name, member, source)
        if merge.orphans:
            # The content of what they link to has gone by. It is rare enough to let it come once more.
            with files_of(name, host, directory) as found:
                for member, source in found:
                    merge.adopt(name, member, source)
            merge.orphans.clear()


def _text(member: tarfile.TarInfo, source: tarfile.TarFile) -> str:
    content = source.extractfile(member)
    return content.read(_FAILURE_BYTES).decode(errors="replace") if content else ""


@dataclass(frozen=True)
class _Kept:
    """What a path of the merged tree is: whose, a tar's type, and where it points."""

    host: str
    type: bytes
    linkname: str


class _Merge:
    """What several hosts left, one after the other; the first to have a path keeps it. Only what is below `below`."""

    def __init__(self, archive: str, making: Making, below: str = "") -> None:
        self._archive = archive
        self._making = making
        self._below = below
        self._kept: dict[str, _Kept] = {}
        self._writers: dict[str, list[str]] = {}
        self.orphans: dict[str, list[tarfile.TarInfo]] = {}
        """Hard links to what this host lost to another, or has elsewhere: by the name of that."""
        self.files = 0

    @property
    def collisions(self) -> list[Collision]:
        """The paths of several hosts; directories of several are merged and no collision."""
        return [Collision(self._archive, path, tuple(hosts)) for path, hosts in self._writers.items()]

    def add(self, host: str, member: tarfile.TarInfo, source: tarfile.TarFile) -> None:
        """Keep a member of a host's, or note that another host had its path first. Pipes are left out."""
        if not member.name.startswith(self._below):
            return
        member.name = member.name.removeprefix(self._below)
        if member.ischr() or member.isblk():
            self._making.add(host, member, source)
        elif member.isreg() or member.isdir() or member.issym() or member.islnk():
            self._merge(host, member, source)

    def adopt(self, host: str, member: tarfile.TarInfo, source: tarfile.TarFile) -> None:
        """Give a host's orphans what they link to: the first its content, the others a link to the first."""
        links = self.orphans.get(member.name, ())
        if not (member.isreg() or member.issym()):
            return
        for link in links:
            member.name = link.name
            self._keep(host, member, source)
            if member.isreg():
                member.type, member.size, member.linkname = tarfile.LNKTYPE, 0, link.name

    def _merge(self, host: str, member: tarfile.TarInfo, source: tarfile.TarFile) -> None:
        if self._taken(host, member):
            return
        if member.islnk():
            target = self._kept.get(member.linkname.removeprefix(self._below))
            if target is None or target.host != host or not member.linkname.startswith(self._below):
                self.orphans.setdefault(member.linkname, []).append(member)
                return
            member.linkname = member.linkname.removeprefix(self._below)
            if target.type == tarfile.SYMTYPE:
                member.type, member.linkname = tarfile.SYMTYPE, target.linkname
        self._keep(host, member, source)

    def _keep(self, host: str, member: tarfile.TarInfo, source: tarfile.TarFile) -> None:
        self._kept[member.name] = _Kept(host, member.type, member.linkname)
        self.files += not member.isdir()
        self._making.add(host, member, source)

    def _taken(self, host: str, member: tarfile.TarInfo) -> bool:
        """Whether another host wrote this path, or has a file where this one has a directory around it."""
        for path in (*map(str, reversed(PurePosixPath(member.name).parents)), member.name):
            kept = self._kept.get(path)
            if kept and not (kept.type == tarfile.DIRTYPE and (path != member.name or member.isdir())):
                writers = self._writers.setdefault(path, [kept.host])
                if host not in writers:
                    writers.append(host)
                return True
        return member.name in self._kept


def _files(made: Path) -> Iterator[OutputFile]:
    """An archive, or every file of a folder. A link is what it points to, since buckets know none; one to nothing is
    no file."""
    if made.is_file():
        yield OutputFile(made.name, made)
    else:
        yield from _below(made, made.name, ())


def _below(folder: Path, key: str, around: tuple[Path, ...]) -> Iterator[OutputFile]:
    around = (*around, folder.resolve())
    for path in sorted(folder.iterdir()):
        if path.is_file():
            yield OutputFile(f"{key}/{path.name}", path)
        # A link back to a folder that it lies in would have no end.
        elif path.is_dir() and path.resolve() not in around:
            yield from _below(path, f"{key}/{path.name}", around)
