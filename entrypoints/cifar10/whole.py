"""Make a data set's directory whole or not at all, beside other runs and after ones that were killed."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from download import ChecksumError, NetworkError

# What the operating system says when the directory named can't be one of ours; anything else is this machine's fault.
WRONG_PLACE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG)


class ForeignDirectoryError(Exception):
    """The directory holds something that this program did not make, so it must not be replaced."""


def ended(program: str, directory: Path, prepare: Callable[[], None]) -> int:
    """Prepare, and return the exit code; where it fails, say in a sentence why.

    2 is the command line's fault, 3 the network's or the disk's, 130 an interruption.
    """
    try:
        prepare()
    except KeyboardInterrupt:
        return _complain(program, "interrupted: nothing half-made is left, and a download goes on next time", 130)
    except ForeignDirectoryError as error:
        return _complain(program, error, 2)
    except (NetworkError, ChecksumError) as error:
        return _complain(program, error, 3)
    except OSError as error:
        return _complain(program, f"can't write {directory}: {error}", 2 if error.errno in WRONG_PLACE else 3)
    return 0


def _complain(program: str, reason: object, exit_code: int) -> int:
    print(f"{program}: {reason}", file=sys.stderr)
    return exit_code


def make_whole(
    directory: Path, *, is_enough: Callable[[dict], bool], make: Callable[[Path, Path], dict]
) -> tuple[dict, bool]:
    """The manifest of the directory once it is whole, and whether it was before.

    `make` gets where downloads go and what to fill, and returns the manifest.
    """
    target = directory.resolve()  # a symlink stays, and what it points to is replaced
    target.parent.mkdir(parents=True, exist_ok=True)
    with alone_in(target.parent), workspace(target) as partial:
        made = completed(target)
        if made and is_enough(made):
            return made, True
        refuse_foreign(target)
        manifest = make(target.parent, partial)
        replace(target, partial)
        return manifest, False


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
