"""The port to the objects of a bucket, and the directory that plays one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from local_mode.part_files import SUFFIX, written
from training_job.errors import HomeportError, MachineCannot

CHUNK = 1 << 20
"""Bytes that are moved at once. Larger pieces are slower and take memory: each is collected before it is passed on."""


@dataclass(frozen=True, order=True)
class S3Object:
    """One object: its key, size in bytes, the tag that changes with its content, and when it did (ns since 1970)."""

    key: str
    size: int
    etag: str
    modified_ns: int = field(default=0, compare=False)


NO_FILE = "no file can have this key: it holds an empty part, . or .., or begins or ends with /"


class InputRefused(HomeportError):
    """An input is not what the job says it is: there, permitted, or laid out so that a channel can hold it."""

    exit_code = 2


class ObjectVanished(MachineCannot):
    """An object was listed, and is gone or another one now that it is read."""

    def __init__(self, uri: str) -> None:
        super().__init__(
            f"{uri}: was there when the channel was listed and has changed or gone since. Run the job again when "
            "nobody writes there."
        )


class ObjectStore(Protocol):
    """The objects of one bucket. Raises InputRefused for what is not there, MachineCannot for what cannot be had."""

    identity: str
    """What tells its objects from another store's of the same keys."""

    def listed(self, prefix: str) -> list[S3Object]:
        """Every object whose key begins with `prefix`, by key. Empty ones whose key ends in / are folders."""

    def find(self, key: str) -> S3Object | None:
        """The object of this very key, as it would be listed; None where there is none."""

    def read(self, found: S3Object) -> Generator[bytes, None, None]:
        """Its content in pieces, as listed: raises ObjectVanished if it is another one by now."""

    def file(self, found: S3Object) -> Path | None:
        """Where its content lies as a file of this machine, if it does."""

    def write(self, key: str, source: Path) -> None:
        """Make the content of a file an object, whole or not at all."""

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; those that are not there are no fault."""

    def uri(self, key: str) -> str:
        """A key as people write it."""


class FolderStore:
    """A directory (absolute, without links) as a bucket. What leads out of it is no object."""

    def __init__(self, bucket: str, root: Path) -> None:
        self._bucket = bucket
        self._root = root
        self.identity = f"file://{root}"

    def listed(self, prefix: str) -> list[S3Object]:
        """Every file whose path from the directory on begins with `prefix`."""
        if not self._root.is_dir():
            raise InputRefused(f"s3://{self._bucket}: is {self._root}, and there is no such directory")
        # Only the folder that the prefix ends in can hold what begins with it.
        parent, separator, _ = prefix.rpartition("/")
        if separator and not is_path(parent):
            return []
        folder = self._root / parent
        if not folder.is_dir():
            return []
        if not folder.resolve().is_relative_to(self._root):
            raise InputRefused(f"{self.uri(prefix)}: {folder} leads out of the bucket's directory")
        return sorted(self._walk(folder, parent + separator, prefix, ()))

    def find(self, key: str) -> S3Object | None:
        """The file at the key's path."""
        if not is_path(key) or key.endswith(SUFFIX) or not (path := self._path(key)).is_file():
            return None
        for part in (path, *path.parents):
            if part == self._root:
                break
            if part.is_symlink():
                self._check_link(part, key, ())
        stat = path.stat()
        return S3Object(key, stat.st_size, _etag(stat), stat.st_mtime_ns)

    def read(self, found: S3Object) -> Generator[bytes, None, None]:
        """The file's content."""
        try:
            with self._path(found.key).open("rb") as content:
                while _etag(os.fstat(content.fileno())) == found.etag:
                    if piece := content.read(CHUNK):
                        yield piece
                    else:
                        return
            raise ObjectVanished(self.uri(found.key))
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise ObjectVanished(self.uri(found.key)) from None
        except PermissionError:
            raise MachineCannot(f"{self._path(found.key)} cannot be read by you") from None

    def file(self, found: S3Object) -> Path | None:
        """The file itself."""
        return self._path(found.key)

    def write(self, key: str, source: Path) -> None:
        """Copy a file to the key's path. Raises DiskFull."""
        target = self._path(key)
        try:
            with written(target, needed=source.stat().st_size) as part, source.open("rb") as content:
                shutil.copyfileobj(content, part, CHUNK)
        except PermissionError as error:
            raise MachineCannot(f"{self.uri(key)}: {error.filename} cannot be written by you") from None
        except OSError as error:
            raise MachineCannot(f"{self.uri(key)}: {target} cannot be written: {error.strerror}") from None

    def delete(self, keys: Sequence[str]) -> None:
        """Remove files, and folders that then hold nothing: S3 knows no empty ones."""
        for key in keys:
            path = self._path(key)
            try:
                path.unlink()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                continue
            except OSError as error:
                raise MachineCannot(f"{self.uri(key)}: {path} cannot be removed: {error.strerror}") from None
            with suppress(OSError):
                # A folder is only there for what is in it; one that still holds something stays.
                for folder in path.parents:
                    if folder == self._root:
                        break
                    folder.rmdir()

    def uri(self, key: str) -> str:
        """The key's URI, as in the cloud."""
        return f"s3://{self._bucket}/{key}"

    def _path(self, key: str) -> Path:
        if not is_path(key):
            raise InputRefused(f"{self.uri(key)}: {NO_FILE}")
        return self._root / key

    def _walk(self, folder: Path, at: str, prefix: str, linked: tuple[Path, ...]) -> Iterator[S3Object]:
        """Objects below `folder`, whose key is `at`. `linked` are the folders whose links led here."""
        try:
            entries = list(os.scandir(folder))
        except FileNotFoundError:
            return
        except PermissionError:
            raise MachineCannot(f"{folder} cannot be read by you") from None
        came = (*linked, folder.resolve()) if any(entry.is_symlink() for entry in entries) else linked
        for entry in entries:
            key = f"{at}{entry.name}"
            if not key.startswith(prefix) or entry.name.endswith(SUFFIX):
                continue
            self._check_name(key)
            if entry.is_symlink():
                self._check_link(Path(entry.path), key, came)
            if entry.is_dir():
                yield from self._walk(Path(entry.path), f"{key}/", prefix, came)
            elif entry.is_file():
                with suppress(FileNotFoundError):
                    stat = entry.stat()
                    yield S3Object(key, stat.st_size, _etag(stat), stat.st_mtime_ns)

    def _check_link(self, link: Path, key: str, came: tuple[Path, ...]) -> None:
        try:
            target = link.resolve(strict=True)
        except (OSError, RuntimeError):
            raise InputRefused(f"{self.uri(key)}: {link} is a link to nothing") from None
        if not target.is_relative_to(self._root.resolve()):
            raise InputRefused(f"{self.uri(key)}: {link} leads out of the bucket's directory, to {target}")
        if any(folder.is_relative_to(target) for folder in came):
            raise InputRefused(f"{self.uri(key)}: {link} leads back to a folder it lies in")

    def _check_name(self, key: str) -> None:
        try:
            key.encode()
        except UnicodeEncodeError:
            raise InputRefused(f"s3://{self._bucket}: the name of {key!r} is not UTF-8, which keys are") from None


def is_path(key: str) -> bool:
    """Whether a file below the bucket's directory can have this key, and no other."""
    return not any(part in ("", ".", "..") for part in key.split("/")) and "\0" not in key


def _etag(stat: os.stat_result) -> str:
    return f"{stat.st_ino:x}-{stat.st_mtime_ns:x}-{stat.st_size:x}"
