"""A job as a row of the store. Times are ISO 8601 in UTC with every microsecond, which sorts as they were. Pure."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import cache
from typing import Any

from local_mode.job_record import JobRecord

_BEGUN = "name, arn, image, instances, directory, owner, process, gpus"
_TOLD = "status, secondary_status, created, changed, started, ended, failure_reason, exit_code, told"
TOLD = tuple(_TOLD.split(", "))
"""What changes while a job goes on: the last columns of a row."""
COLUMNS = f"{_BEGUN}, {_TOLD}"
LISTED = COLUMNS.replace("told", "'' AS told")
"""Of many jobs the answers, which are most of what is stored, are not read."""
_NAMES = tuple(COLUMNS.split(", "))
_TIMES = ("created", "changed", "started", "ended")


def row_of(record: JobRecord) -> tuple[Any, ...]:
    """In the order of COLUMNS."""
    return (
        record.name,
        record.arn,
        record.image,
        json.dumps(record.instances),
        record.folder,
        record.owner,
        record.process,
        json.dumps(record.gpus),
        record.status,
        record.secondary_status,
        *(_text(time) if time else None for time in (record.created, record.changed, record.started, record.ended)),
        record.failure_reason,
        record.exit_code,
        record.told,
    )


def record_of(row: tuple[Any, ...]) -> JobRecord:
    """Of a row in the order of COLUMNS."""
    told = dict(zip(_NAMES, row, strict=True))
    told["instances"] = _tuples(told["instances"])
    told["gpus"] = _tuples(told["gpus"])
    told["folder"] = told.pop("directory")
    for time in _TIMES:
        told[time] = datetime.fromisoformat(told[time]) if told[time] else None
    return JobRecord(**told)


@cache
def _tuples(text: str) -> tuple[Any, ...]:
    """A list as JSON; most jobs have the same."""
    return tuple(tuple(inner) if isinstance(inner, list) else inner for inner in json.loads(text))


def _text(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="microseconds")
