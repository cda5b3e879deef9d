"""Make a data set's directory whole or not at all, beside other runs and after ones that were killed."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

# What the operating system says when the directory named can't be one of ours; anything else is this machine's fault.
WRONG_PLACE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG)


class ForeignDirectoryError(Exception):
    """The directory holds something that this program did not make, so it must not be replaced."""


def complain(program: str, reason: object, exit_code: int) -> int:
    """One line on stderr, and the exit code for it."""
    print(f"{program}: {reason}", file=sys.stderr)
    return exit_code


@contextlib.contextmanager
def alone_in(parent: Path) -> Iterator[None]:
    """Keep a second run beside this one waiting; the lock is on the directory itself, so it leaves no file."""
    descriptor = os.open(parent, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"Waiting for another run in {parent}", flush=True)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:
            pass  # Lustre mounted without `flock` has no locks: go without
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def workspace(target: Path) -> Iterator[Path]:
    """A path beside the target to write to; what this run or an earlier one leaves there is removed."""
    partial, replaced = siblings(target)
    if replaced.exists() and not target.exists():  # killed between the two renames of `replace`
        replaced.rename(target)
    shutil.rmtree(replaced, ignore_errors=True)
    shutil.rmtree(partial, ignore_errors=True)
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def siblings(target: Path) -> tuple[Path, Path]:
    """Where the new directory grows, and where the old one waits for its end."""
    return target.parent / f".{target.name}.partial", target.parent / f".{target.name}.replaced"


def replace(target: Path, partial: Path) -> None:
    """Put the new directory in the place of the old one."""
    _, replaced = siblings(target)
    if target.exists():
        target.rename(replaced)
    partial.rename(target)
    shutil.rmtree(replaced, ignore_errors=True)


def completed(target: Path) -> dict | None:
    """The manifest, if every file that it names is there with its size."""
    try:
        manifest = json.loads((target / "dataset.json").read_text())
        whole = all(
            (target / name / file).stat().st_size == expected["bytes"]
            for name, split in manifest["splits"].items()
            for file, expected in split["files"].items()
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return manifest if whole else None


def refuse_foreign(target: Path) -> None:
    """Never replace what this program did not make."""
    if target.exists() and any(target.iterdir()) and not (target / "dataset.json").exists():
        raise ForeignDirectoryError(f"{target} holds what this program did not make: empty it or name another.")
