"""What the cache lets go: what was used least recently, until it fits; nothing that a job uses."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from local_mode.part_files import spool, sweep

OBJECTS, TREES, PARTS, LOCK = "objects", "trees", "parts", ".lock"


@dataclass(frozen=True)
class _File:
    path: Path
    size: int
    links: int
    used: float


@dataclass(frozen=True)
class _Held:
    """What lies in the cache. Objects by inode; each tree's files by inode, and when it was used."""

    objects: dict[int, _File]
    trees: dict[Path, dict[int, _File]]
    used: dict[Path, float]

    def alone(self) -> dict[int, int]:
        """The size of what only trees hold: a file of a bucket's directory that is not there any more."""
        names = Counter(inode for files in self.trees.values() for inode in files if inode not in self.objects)
        files = {inode: file for tree in self.trees.values() for inode, file in tree.items()}
        return {inode: files[inode].size for inode, count in names.items() if files[inode].links == count}


def make_room(cache: Path, limit: int, needed: int) -> None:
    """Let go of what was used least recently until `needed` bytes more are within the limit and on the disk."""
    lock = lock_now(cache / "lock", fcntl.LOCK_EX)
    if lock is None:
        return
    with lock:
        sweep(cache / PARTS)
        _remove_idle_locks(cache / TREES)
        held = _survey(cache)
        alone = held.alone()
        # Nobody can ask again for a tree of a file that its bucket has lost.
        lost = [tree for tree, files in held.trees.items() if not alone.keys().isdisjoint(files)]
        size = sum(file.size for file in held.objects.values()) + sum(alone.values())
        lacking = needed - shutil.disk_usage(cache).free
        # Where all of it would not be enough, none is let go for it.
        excess = max(size + needed - limit, lacking if lacking <= size else 0)
        for tree in lost:
            excess -= remove_tree(cache, tree, held.trees[tree], held.objects)
        loose = {file.path: file.used for file in held.objects.values() if file.links == 1}
        rest = loose | {tree: used for tree, used in held.used.items() if tree not in lost}
        for path in sorted(rest, key=rest.__getitem__):
            if excess <= 0:
                return
            if path in loose:
                excess -= _remove_loose(path)
            else:
                excess -= remove_tree(cache, path, held.trees[path], held.objects)


def remove_tree(cache: Path, tree: Path, files: dict[int, _File], objects: dict[int, _File]) -> int:
    """Remove a tree that no job uses, and the objects that are then in none. Returns the bytes that are free now."""
    lock = lock_now(tree.with_suffix(LOCK), fcntl.LOCK_EX)
    if lock is None:
        return 0
    with lock:
        drop(cache, tree)
        tree.with_suffix(LOCK).unlink(missing_ok=True)
    of_trees_only = sum(file.size for inode, file in files.items() if inode not in objects and file.links == 1)
    return of_trees_only + sum(_remove_loose(objects[inode].path) for inode in files if inode in objects)


def drop(cache: Path, tree: Path) -> None:
    """Take a tree from its name at once: half of one would be taken for the whole."""
    with spool(cache / PARTS) as bin_:
        tree.rename(bin_ / "tree")


def lock_now(path: Path, how: int) -> IO[str] | None:
    """A lock file, held; None while others hold it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        file = path.open("a")
        try:
            fcntl.flock(file, how | fcntl.LOCK_NB)
            if os.fstat(file.fileno()).st_nlink:
                return file
        except BlockingIOError:
            file.close()
            return None
        # It was removed, with its tree, before it was held.
        file.close()


def _remove_idle_locks(trees: Path) -> None:
    """Remove the locks of trees that were never made."""
    for path in trees.glob(f"*{LOCK}"):
        if not path.with_suffix("").exists() and (lock := lock_now(path, fcntl.LOCK_EX)):
            with lock:
                path.unlink(missing_ok=True)


def _survey(cache: Path) -> _Held:
    trees = {Path(entry): entry.stat().st_mtime for entry in _entries(cache / TREES) if entry.is_dir()}
    return _Held(objects=_files(cache / OBJECTS), trees={tree: _files(tree) for tree in trees}, used=trees)


def _files(folder: Path) -> dict[int, _File]:
    """Every file below a folder."""
    found: dict[int, _File] = {}
    for entry in _entries(folder):
        if entry.is_dir():
            found |= _files(Path(entry))
            continue
        with suppress(FileNotFoundError):
            stat = entry.stat()
            found[stat.st_ino] = _File(Path(entry), stat.st_size, stat.st_nlink, stat.st_mtime)
    return found


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    if folder.is_dir():
        with os.scandir(folder) as entries:
            yield from entries


def _remove_loose(path: Path) -> int:
    """Remove an object that is in no tree, also none in the making. Returns its bytes."""
    with suppress(FileNotFoundError):
        stat = path.stat()
        if stat.st_nlink == 1:
            path.unlink()
            return stat.st_size
    return 0
