"""Which ended jobs are let go, and how their folders are removed: nothing else, and nothing elsewhere."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from local_mode.harness import computer, computer_of
from local_mode.job_record import JobRecord
from training_job.errors import Fault, JobRefused, MachineCannot

_AGE = re.compile(r"(\d+)([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_REQUEST = "request.json"
_DESCRIPTION = "describe.json"


def age(text: str) -> timedelta:
    """`30d`, `12h`, `90m`, `4w`. Raises JobRefused."""
    found = _AGE.fullmatch(text)
    try:
        if found:
            return timedelta(**{_UNITS[found[2]]: int(found[1])})
    except OverflowError:
        pass
    raise JobRefused("--older-than", [Fault("", f"{text!r} is no age: a number with m, h, d or w, such as 30d")])


def prunable(
    jobs: Sequence[JobRecord], *, now: datetime, older_than: timedelta | None, keep: int | None
) -> list[JobRecord]:
    """The ended jobs of this computer that ended longer ago than `older_than` and are not among the newest `keep`; and
    those whose folder is gone. `jobs` are newest first."""
    ended = [job for job in jobs if not job.running and computer_of(job.owner) == computer()]
    kept = {job.name for job in ended[: keep or 0]}
    return [
        job
        for job in ended
        if not job.directory.exists()
        or (job.name not in kept and (older_than is None or (job.ended is not None and now - job.ended > older_than)))
    ]


def size_of(directory: Path) -> int:
    """The bytes below a folder; 0 where there is none."""
    return sum(Path(found, name).lstat().st_size for found, _, names in os.walk(directory) for name in names)


def remove_folder(job: JobRecord) -> None:
    """Remove the job's folder, if there is one. Raises MachineCannot where it is another's, or cannot be removed."""
    directory = job.directory
    if not os.path.lexists(directory):
        return
    if directory.is_symlink() or not directory.is_dir() or not _is_of(job):
        raise MachineCannot(f"{directory}: is not the folder that {job.name} left, so it stays as it is")
    try:
        # What names the job goes last: a removal that is cut short is finished by the next.
        for path in directory.iterdir():
            if path.name != _DESCRIPTION:
                _remove(path)
        _remove(directory / _DESCRIPTION)
        directory.rmdir()
    except OSError as error:
        raise MachineCannot(f"{directory}: cannot be removed: {error.strerror}: {error.filename}") from None


def _is_of(job: JobRecord) -> bool:
    """Whether the folder says that it is the job's. One that was already emptied says nothing."""
    paths = [path for name in (_DESCRIPTION, _REQUEST) if (path := job.directory / name).is_file()]
    try:
        if paths:
            return bool(json.loads(paths[0].read_text())["TrainingJobName"] == job.name)
        return not any(job.directory.iterdir())
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
