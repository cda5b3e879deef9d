"""The truth about jobs whose harness was killed: every command makes it out before it says anything about jobs.

The store is written while the lock is held. So a job that the store calls running although its lock is free was killed;
one that has ended between the two looks is left as it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local_mode.harness import is_dead
from local_mode.job_record import JobRecord
from local_mode.job_store import JobStore
from local_mode.part_files import sweep, written
from training_job.errors import COMPLETED, FAILED, OVERRAN, STOPPED, HomeportError
from training_job.lifecycle import Transition, describe, internal_server_error

if TYPE_CHECKING:
    from local_mode.engine import Engine

_EXIT_CODES = {
    "Completed": COMPLETED,
    "Failed": FAILED,
    "Stopped": STOPPED,
    "MaxRuntimeExceeded": OVERRAN,
    "MaxWaitTimeExceeded": OVERRAN,
}


def reconcile(store: JobStore, remove: Callable[[Sequence[JobRecord]], None]) -> list[JobRecord]:
    """The jobs of this computer whose harness was killed, told as failed; `remove` takes what they left on the engine.

    Their GPUs are free afterwards. Jobs of other computers are left alone: whether those live cannot be seen here.
    """
    suspects = [job for job in store.running() if is_dead(job.owner)]
    killed = [job for job in suspects if _is_the_same(job, store.find(job.name))]
    if not killed:
        return []
    remove(killed)
    return [job for job in map(_ended, killed) if _settled(store, job)]


def remove_owned(engine: Engine, killed: Sequence[JobRecord]) -> list[str]:
    """Remove what these jobs left on an engine; the names of those that had left something."""
    owners = engine.owners()
    left = [job.name for job in killed if owners.get(job.name) == job.owner]
    if left:
        engine.remove(left)
    return left


def _is_the_same(job: JobRecord, found: JobRecord | None) -> bool:
    return found is not None and found.running and found.process == job.process


def _ended(job: JobRecord) -> JobRecord:
    """The job as it ended: as its harness wrote it down before it could tell the store, else as killed."""
    answer = _written(job) or _killed(job)
    code = _EXIT_CODES.get(answer["SecondaryStatus"], FAILED if answer["TrainingJobStatus"] == "Failed" else STOPPED)
    return job.with_answer(answer, code)


def _written(job: JobRecord) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads((job.directory / "describe.json").read_text())
    except (OSError, ValueError):
        return None
    is_its_end = isinstance(found, dict) and found.get("TrainingJobName") == job.name and "TrainingEndTime" in found
    return found if is_its_end else None


def _killed(job: JobRecord) -> dict[str, Any]:
    """Ended when something was last known of it."""
    last = _last_known(job)
    why = (
        f"the process that ran this job was killed while it was {job.secondary_status}; "
        f"the last that is known of it is of {last.isoformat(timespec='seconds')}"
    )
    answer = describe(
        job.answer,
        arn=job.arn,
        transitions=[*job.transitions, Transition("Failed", last)],
        model_artifacts=job.answer["ModelArtifacts"]["S3ModelArtifacts"],
        outcome=internal_server_error(why, FAILED),
        end=last,
    )
    return answer | {"FinalMetricDataList": _metrics(job)}


def _last_known(job: JobRecord) -> datetime:
    times = [job.changed]
    for path in (*job.logs.glob("*.log"), job.directory / "metrics.jsonl"):
        with suppress(OSError):
            if (found := path.stat()).st_size:
                times.append(datetime.fromtimestamp(found.st_mtime, UTC))
    return min(max(times), datetime.now(UTC))


def _metrics(job: JobRecord) -> list[dict[str, Any]]:
    """The last value of each metric that was written down."""
    final: dict[str, dict[str, Any]] = {}
    with suppress(OSError), (job.directory / "metrics.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            # The last line may be half a line.
            with suppress(ValueError):
                point = json.loads(line)
                final[point["MetricName"]] = {name: point[name] for name in ("MetricName", "Value", "Timestamp")}
    return list(final.values())


def _settled(store: JobStore, job: JobRecord) -> bool:
    """Keep the end in the folder, if it is still there, then in the store."""
    # Removing takes its time, and another command may have settled it meanwhile.
    if not _is_the_same(job, store.find(job.name)):
        return False
    if job.directory.is_dir():
        sweep(job.directory)
        with suppress(HomeportError, OSError):
            _write(job.directory / "describe.json", job.answer)
        with suppress(OSError):
            job.lock.unlink(missing_ok=True)
    return store.tell_killed(job)


def _write(path: Path, answer: dict[str, Any]) -> None:
    text = f"{json.dumps(answer, indent=2)}\n".encode()
    with written(path, needed=len(text)) as part:
        part.write(text)
