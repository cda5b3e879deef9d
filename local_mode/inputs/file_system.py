"""FSx for Lustre and EFS channels: a directory of this machine stands for the file system.

In the cloud the directory itself is mounted as the channel, live on all hosts; DirectoryPath of an FSx for Lustre file
system begins with its mount name (developer guide, model-access-training-data). Both hold here.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePosixPath

from pydantic import ValidationError

from local_mode.inputs.linked import Link, LinkedChannel, link_of
from local_mode.mounts import Mount, Refusal
from local_mode.place import FileSystem, Place
from training_job.container import DATA_DIRECTORY, input_mode
from training_job.faults import faults_of
from training_job.model import Channel, DataSource, FileSystemDataSource, NamedFileSystem, TrainingJob
from training_job.spelling import nearest

_ID = re.compile("fs-[0-9a-f]{8,18}")


def resolve(source: NamedFileSystem, place: Place) -> FileSystemDataSource | Refusal:
    """A file system by name as CreateTrainingJob knows it: an id, and a path from the mount name on."""
    mapping = place.file_systems.get(source.name) or _by_id(source.name, place)
    if mapping is None:
        return _unmapped(source.name, place)
    path = source.path
    if source.file_system_type == "FSxLustre":
        if mapping.mount_name is None:
            return _no_mount_name(source.name, place)
        path = f"{mapping.mount_name}/{path}".rstrip("/")
    try:
        return FileSystemDataSource(
            file_system_id=mapping.id or (source.name if _ID.fullmatch(source.name) else made_up_id(source.name)),
            file_system_access_mode=source.file_system_access_mode,
            file_system_type=source.file_system_type,
            directory_path=f"/{path}",
        )
    except ValidationError as error:
        return Refusal("; ".join(what for _, what in faults_of(error, FileSystemDataSource)))


def read(
    job: TrainingJob, channel: Channel, source: FileSystemDataSource, place: Place
) -> Mount | LinkedChannel | Refusal:
    """The directory this channel is, mounted read-only where the job says `ro`; a link's, where the mapping has one."""
    mapping = _by_id(source.file_system_id, place)
    if mapping is None:
        return _unmapped(source.file_system_id, place)
    if mapping.type not in (None, source.file_system_type):
        return Refusal(f"{source.file_system_id} is {mapping.type} in {place.source}, not {source.file_system_type}")
    if input_mode(job, channel) != "File":
        return Refusal(f"input mode {input_mode(job, channel)}: file systems are read in File mode only")
    path = PurePosixPath(source.directory_path)
    if not path.is_absolute() or ".." in path.parts:
        return Refusal(f"DirectoryPath {source.directory_path!r} must begin with / and hold no ..")
    parts = path.parts[1:]
    if source.file_system_type == "FSxLustre":
        if mapping.mount_name is None:
            return _no_mount_name(source.file_system_id, place)
        if not parts or parts[0] != mapping.mount_name:
            return Refusal(
                f"DirectoryPath {source.directory_path!r} must begin with the file system's mount name: "
                f"/{mapping.mount_name}/{'/'.join(parts)}"
            )
        parts = parts[1:]
    mount = Mount(
        source=str(place.path(mapping.path).joinpath(*parts)),
        target=f"{DATA_DIRECTORY}/{channel.channel_name}",
        read_only=source.file_system_access_mode == "ro",
        stands_for=f"{'fsx' if source.file_system_type == 'FSxLustre' else 'efs'}:{source.directory_path}",
    )
    link = link_of(mapping, place)
    return (
        LinkedChannel(channel.channel_name, link, "/".join(parts), mount) if isinstance(link, Link) else link or mount
    )


def named(data_source: DataSource, place: Place) -> DataSource | Refusal:
    """`data_source` with a named file system resolved; any other as it is."""
    if data_source.named_file_system is None:
        return data_source
    found = resolve(data_source.named_file_system, place)
    return found if isinstance(found, Refusal) else DataSource(file_system_data_source=found)


def made_up_id(name: str) -> str:
    """A well-formed id for a file system homeport.toml gives none: always the same for one name."""
    return f"fs-{hashlib.sha256(name.encode()).hexdigest()[:17]}"


def _by_id(identifier: str, place: Place) -> FileSystem | None:
    for name, mapping in place.file_systems.items():
        if identifier in (mapping.id, name) or (mapping.id is None and identifier == made_up_id(name)):
            return mapping
    return None


def _no_mount_name(name: str, place: Place) -> Refusal:
    return Refusal(f"{place.source}: [local.file_systems.{name}] needs a mount_name: FSx paths begin with it")


def _unmapped(name: str, place: Place) -> Refusal:
    known = [*place.file_systems, *(mapping.id for mapping in place.file_systems.values() if mapping.id)]
    return Refusal(
        f"file system {name!r} is not mapped in {place.source}{nearest(name, known)}; add\n"
        f'      [local.file_systems.{name}]\n      mount_name = "fsx"\n      path = "the directory that stands for it"'
    )
