"""A linked directory as a file system's operations: what is here is passed through, the rest comes when asked for.

An object that is no file yet shows its name, size and time, and becomes one when it is opened, renamed or given another
name, owner, mode or time. To truncate, replace or delete it fetches nothing.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from local_mode.inputs.listing import Entry
from local_mode.links import DataRepository, Survey
from local_mode.part_files import SUFFIX
from local_mode.unfetched import Unfetched
from training_job.errors import DiskFull, HomeportError

Caller = Callable[[], tuple[int, int, int]]

_UTIME_NOW, _UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2  # sys/stat.h
_STATFS = ("f_bsize", "f_frsize", "f_blocks", "f_bfree", "f_bavail", "f_files", "f_ffree", "f_favail", "f_namemax")
_STAT = ("st_mode", "st_nlink", "st_size", "st_uid", "st_gid", "st_blocks", "st_blksize", "st_rdev")
_TIMES = ("st_atime", "st_mtime", "st_ctime")
# The kernel has done these; and an O_DIRECT file would take aligned buffers only.
_DONE = os.O_CREAT | os.O_EXCL | getattr(os, "O_DIRECT", 0)


class LinkedDirectory:
    """One method a system call, by FUSE's names. Paths begin with /; what cannot be done is an OSError.

    `caller` tells the user and group that ask; `mounted` is called once there is a mount.
    """

    use_ns = True

    def __init__(self, repository: DataRepository, found: Survey, caller: Caller, mounted: Callable[[], None]) -> None:
        self._repository = repository
        self._caller = caller
        self._mounted = mounted
        self._below = f"{found.subpath}/" if found.subpath else ""
        self._root = str(repository.link.directory / found.subpath)
        self._unfetched = Unfetched((entry.path.removeprefix(self._below), entry) for entry in found.missing)
        for folder in ("", *self._unfetched.folders()):
            Path(self._root, folder).mkdir(parents=True, exist_ok=True)
        self._user, self._group = os.geteuid(), os.getegid()

    def init(self, _path: str) -> None:
        self._mounted()

    def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
        if fh is None and (entry := self._unfetched.get(path[1:])):
            return self._shown(entry)
        found = os.lstat(self._real(path)) if fh is None else os.fstat(fh)
        times = {name: getattr(found, f"{name}_ns") for name in _TIMES}
        return {name: getattr(found, name) for name in _STAT} | times

    def readdir(self, path: str, _fh: int) -> Iterator[tuple[str, dict[str, int], int]]:
        names = dict.fromkeys(self._unfetched.names(path[1:]), stat.S_IFREG)
        with os.scandir(self._real(path)) as entries:
            names |= {entry.name: _kind(entry) for entry in entries if not entry.name.endswith(SUFFIX)}
        for name, kind in {".": stat.S_IFDIR, "..": stat.S_IFDIR, **names}.items():
            yield name, {"st_mode": kind}, 0

    def open(self, path: str, flags: int) -> int:
        flags &= ~_DONE
        if flags & os.O_TRUNC and self._unfetched.get(path[1:]):
            opened = os.open(self._real(path), flags | os.O_CREAT, 0o644)
            self._give_up(path)
            return opened
        self._bring(path)
        return os.open(self._real(path), flags | os.O_NOFOLLOW)

    def create(self, path: str, mode: int, flags: int) -> int:
        flags &= ~_DONE
        opened = os.open(self._real(path), flags | os.O_CREAT | os.O_NOFOLLOW, mode)
        self._own(path)
        return opened

    def read(self, _path: str, size: int, offset: int, fh: int) -> bytes:
        return os.pread(fh, size, offset)

    def write(self, _path: str, data: bytes, offset: int, fh: int) -> int:
        return os.pwrite(fh, data, offset)

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        if fh is not None:
            os.ftruncate(fh, length)
        elif length == 0 and self._unfetched.get(path[1:]):
            os.close(self.open(path, os.O_WRONLY | os.O_TRUNC))
        else:
            self._bring(path)
            os.truncate(self._real(path), length)
        return 0

    def release(self, _path: str, fh: int) -> int:
        os.close(fh)
        return 0

    def fsync(self, _path: str, datasync: int, fh: int) -> int:
        (os.fdatasync if datasync else os.fsync)(fh)
        return 0

    def unlink(self, path: str) -> int:
        if self._unfetched.get(path[1:]):
            with suppress(FileNotFoundError):
                # There may be a file: of an object that has changed in S3 since it was fetched.
                os.unlink(self._real(path))
            self._give_up(path)
        else:
            os.unlink(self._real(path))
            self._give_up_written(path)
        return 0

    def rename(self, old: str, new: str) -> int:
        if self._unfetched.below(old[1:]):
            # As overlayfs says it of a folder it cannot move whole: mv and shutil.move then copy.
            raise _error(errno.EXDEV)
        if self._unfetched.below(new[1:]):
            raise _error(errno.ENOTEMPTY)
        self._bring(old)
        os.rename(self._real(old), self._real(new))
        self._give_up_written(old)
        self._give_up(new)
        return 0

    def link(self, target: str, source: str) -> int:
        self._bring(source)
        os.link(self._real(source), self._real(target), follow_symlinks=False)
        return 0

    def symlink(self, target: str, source: str) -> int:
        os.symlink(source, self._real(target))
        self._own(target)
        return 0

    def readlink(self, path: str) -> str:
        return os.readlink(self._real(path))

    def mkdir(self, path: str, mode: int) -> int:
        os.mkdir(self._real(path), mode)
        self._own(path)
        return 0

    def rmdir(self, path: str) -> int:
        if self._unfetched.below(path[1:]):
            raise _error(errno.ENOTEMPTY)
        os.rmdir(self._real(path))
        return 0

    def mknod(self, path: str, mode: int, dev: int) -> int:
        os.mknod(self._real(path), mode, dev)
        self._own(path)
        return 0

    def chmod(self, path: str, mode: int) -> int:
        self._bring(path)
        os.chmod(self._real(path), mode)
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        self._bring(path)
        os.chown(self._real(path), uid, gid, follow_symlinks=False)
        return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        self._bring(path)
        before, now = os.lstat(self._real(path)), time.time_ns()
        asked = times or (_UTIME_NOW, _UTIME_NOW)
        kept = (before.st_atime_ns, before.st_mtime_ns)
        chosen = [{_UTIME_NOW: now, _UTIME_OMIT: old}.get(new, new) for new, old in zip(asked, kept, strict=True)]
        os.utime(self._real(path), ns=(chosen[0], chosen[1]), follow_symlinks=False)
        return 0

    def statfs(self, _path: str) -> dict[str, int]:
        found = os.statvfs(self._root)
        return {name: getattr(found, name) for name in _STATFS}

    def _real(self, path: str) -> str:
        return self._root + path

    def _shown(self, entry: Entry) -> dict[str, int]:
        """An object as the file that it becomes."""
        item = entry.object
        return {
            "st_mode": stat.S_IFREG | 0o644,
            "st_nlink": 1,
            "st_size": item.size,
            "st_blocks": -(-item.size // 512),
            "st_uid": self._user,
            "st_gid": self._group,
            **dict.fromkeys(_TIMES, item.modified_ns),
        }

    def _bring(self, path: str) -> None:
        """Fetch a path's content if it is not here. EIO where it cannot be had, and why on stderr."""
        entry = self._unfetched.get(path[1:])
        if entry is None:
            return
        try:
            self._repository.fetch(entry, _Silent(), _never)
        except DiskFull as error:
            _say(error)
            raise _error(errno.ENOSPC) from None
        except HomeportError as error:
            _say(error)
            raise _error(errno.EIO) from None
        self._unfetched.remove(path[1:])

    def _give_up(self, path: str) -> None:
        if self._unfetched.remove(path[1:]):
            with _told():
                self._repository.give_up(self._below + path[1:])

    def _give_up_written(self, path: str) -> None:
        with _told():
            self._repository.give_up_written(self._below + path[1:])

    def _own(self, path: str) -> None:
        """Give what was made to who made it, as the kernel would have. Only root can; else it is ours."""
        if self._user != 0:
            return
        user, group, _ = self._caller()
        inherits = os.lstat(os.path.dirname(self._real(path))).st_mode & stat.S_ISGID
        with suppress(PermissionError):
            # A file system that is mounted from elsewhere may trust no root.
            os.chown(self._real(path), user, -1 if inherits else group, follow_symlinks=False)


class _Silent:
    """Nobody watches a first read."""

    def fetching(self, objects: int, size: int) -> None:
        """Say nothing."""

    def fetched(self, size: int) -> None:
        """Say nothing."""


def _kind(entry: os.DirEntry[str]) -> int:
    if entry.is_symlink():
        return stat.S_IFLNK
    if entry.is_dir():
        return stat.S_IFDIR
    return stat.S_IFREG if entry.is_file() else 0


@contextmanager
def _told() -> Iterator[None]:
    """A state that cannot be written is no reason to fail what is done already."""
    try:
        yield
    except HomeportError as error:
        _say(error)


def _never() -> bool:
    return False


def _say(error: HomeportError) -> None:
    print(f"homeport-local: {error}", file=sys.stderr, flush=True)


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
