"""What a run leaves: the folder runs/<job>/, and its row in the machine's store."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Any

from local_mode.harness import LOCK, is_dead, owner_of, this_process
from local_mode.job_record import JobRecord
from local_mode.job_store import JobStore
from local_mode.part_files import no_room_told, sweep, written
from local_mode.plan import RunPlan
from training_job.errors import (
    DiskFull,
    HomeportError,
    Interrupted,
    MachineCannot,
    NameTaken,
)
from training_job.lifecycle import Outcome, Transition, describe, internal_server_error
from training_job.metrics import MetricPoint
from training_job.secret_names import masked

_ROOM_NEEDED = 64 << 20
_REQUEST = "request.json"


class RunRecord:
    """The folder of one run, all of it owned by whoever runs the job."""

    def __init__(self, plan: RunPlan) -> None:
        self.directory = plan.run_directory
        self.began = False
        self._plan = plan
        self._store = JobStore(plan.place.state)
        self._row: JobRecord | None = None
        self._logs: dict[str, FileIO] = {}
        self._metrics: FileIO | None = None
        self._usage: FileIO | None = None

    @property
    def owner(self) -> str:
        """What tells a later run whether this one still lives: the computer, and the lock it holds."""
        return owner_of(self.directory)

    def enroll(self) -> None:
        """Enter the job in the machine's store, with its GPUs. Raises NameTaken, or GPUsTaken."""
        row = JobRecord.of(
            self._answer([Transition("Starting", _now())]),
            image=self._plan.image,
            directory=self.directory,
            owner=self.owner,
            process=this_process(),
            gpus=tuple(gpu for host in self._plan.hosts for gpu in host.gpus.ids),
        )
        self._store.begin(row)
        self._row = row

    def open(self, hosts: Iterable[str]) -> None:
        """Open what the hosts' lines and the metrics go into."""
        (self.directory / "logs").mkdir()
        # Unbuffered: whoever looks in from another terminal sees every line and value at once.
        self._logs = {host: (self.directory / "logs" / f"{host}.log").open("wb", buffering=0) for host in hosts}
        self._metrics = (self.directory / "metrics.jsonl").open("wb", buffering=0)

    def keep(self, plan: RunPlan) -> None:
        """Write the request and the plan: the job has begun, and its folder stays, however it ends."""
        self.began = True
        self._write(_REQUEST, masked(plan.job.request()))
        self._write("plan.json", masked(plan.to_json()))

    def wrote(self, host: str, lines: bytes) -> None:
        """Keep lines of a host's log, as they came. Raises DiskFull."""
        self._append(self._logs[host], lines)

    def measured(self, points: Sequence[MetricPoint]) -> None:
        """Keep values. Raises DiskFull."""
        if self._metrics and points:
            self._append(self._metrics, "".join(_metric_line(point) for point in points).encode())

    def usage(self, point: Mapping[str, Any]) -> None:
        """Keep what a host used. Raises DiskFull."""
        if self._usage is None:
            self._usage = (self.directory / "usage.jsonl").open("ab", buffering=0)
        self._append(self._usage, f"{json.dumps(point)}\n".encode())

    def entered(self, transitions: Sequence[Transition]) -> HomeportError | None:
        """Tell the store where the job is now. What hinders that is returned: it must not end a job that runs."""
        return self._told(self._answer(transitions))

    def describe(self, answer: Mapping[str, Any]) -> None:
        """Write how it ended."""
        self._write("describe.json", masked(answer))

    def ends(self, answer: Mapping[str, Any], exit_code: int) -> HomeportError | None:
        """Tell the store how it ended; its GPUs are free. What hinders that is returned: describe.json tells it too."""
        return self._told(answer, exit_code)

    def leaves(self) -> None:
        """A job that never began is nowhere."""
        if self._row is not None and not self.began:
            self._store.forget(self._row.name)

    def breaks_off(self, error: BaseException) -> None:
        """Keep the truth about a run that `error` ends: what it was, or that the job never began."""
        if self._row is None:
            return
        code = getattr(error, "exit_code", Interrupted.exit_code if isinstance(error, KeyboardInterrupt) else 1)
        if not self._row.running:
            self._tell(self._row.answer, code)
        elif not self.began:
            self.leaves()
        elif isinstance(error, Interrupted | KeyboardInterrupt):
            self._break_off(Outcome("Stopped", "Stopped", code), "Stopped")
        else:
            self._break_off(internal_server_error(str(error) or type(error).__name__, code), "Failed")

    def _break_off(self, outcome: Outcome, *statuses: str) -> None:
        if self._row is None:
            return
        now = _now()
        transitions = [*self._row.transitions, *(Transition(status, now) for status in statuses)]
        answer = self._answer(transitions, outcome=outcome, end=now)
        with suppress(HomeportError):
            self.describe(answer)
        self._tell(answer, outcome.exit_code)

    def _answer(self, transitions: Sequence[Transition], **end: Any) -> dict[str, Any]:
        plan = self._plan
        artifacts = model_uri(plan, self.directory / "output" / ("model.tar.gz" if plan.compressed else "model"))
        return describe(plan.job.request(), arn=plan.arn, transitions=transitions, model_artifacts=artifacts, **end)

    def _told(self, answer: Mapping[str, Any], exit_code: int | None = None) -> HomeportError | None:
        try:
            self._tell(answer, exit_code)
        except MachineCannot as problem:
            return problem
        return None

    def _tell(self, answer: Mapping[str, Any], exit_code: int | None = None) -> None:
        if self._row is not None:
            self._row = self._row.with_answer(masked(answer), exit_code)
            self._store.tell(self._row)

    def close(self) -> None:
        """Close every file that is open."""
        for file in (*self._logs.values(), self._metrics, self._usage):
            if file:
                file.close()

    def _append(self, file: FileIO, lines: bytes) -> None:
        rest = memoryview(lines)
        with no_room_told(self.directory, len(rest)):
            while rest:
                rest = rest[file.write(rest) :]

    def _write(self, name: str, content: Any) -> None:
        text = f"{json.dumps(content, indent=2)}\n".encode()
        with written(self.directory / name, needed=len(text)) as part:
            part.write(text)


@contextmanager
def run_record(plan: RunPlan) -> Iterator[RunRecord]:
    """The run's folder, made and locked; removed again if the job never began.

    Raises NameTaken, as SageMaker refuses it, and DiskFull where there is no room to begin.
    """
    directory = plan.run_directory
    _sweep(directory.parent, JobStore(plan.place.state))
    made_parents = [folder for folder in directory.parents if not folder.exists()]
    try:
        directory.mkdir(parents=True)
    except FileExistsError:
        raise NameTaken(plan.name, f"{directory} exists. Give another with --name NAME") from None
    except OSError as error:
        what = f"{directory}: cannot be made: {error.strerror}. Write elsewhere with --runs DIRECTORY"
        raise MachineCannot(what) from None
    record = RunRecord(plan)
    try:
        free = shutil.disk_usage(directory).free
        if free < _ROOM_NEEDED:
            raise DiskFull(directory, _ROOM_NEEDED, free)
        with (directory / f"{LOCK}.new").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Held before it has its name: whoever finds it free finds a remain.
            Path(lock.name).rename(directory / LOCK)
            with _in_store(record):
                yield record
    finally:
        record.close()
        (directory / LOCK).unlink(missing_ok=True)
        if not record.began:
            shutil.rmtree(directory, ignore_errors=True)
            for folder in made_parents:
                if not any(folder.iterdir()):
                    folder.rmdir()


@contextmanager
def _in_store(record: RunRecord) -> Iterator[None]:
    """The job's row, as long as the lock is held: whoever finds a running job's lock free finds a killed one."""
    record.enroll()
    try:
        yield
    except BaseException as error:
        with suppress(MachineCannot):
            record.breaks_off(error)
        raise
    else:
        record.leaves()


def _sweep(runs: Path, store: JobStore) -> None:
    """Remove what killed runs left half-done: folders of jobs that never began, files in the making."""
    for lock in runs.glob(f"*/{LOCK}"):
        if is_dead(owner_of(lock.parent)):
            if (lock.parent / _REQUEST).exists():
                sweep(lock.parent)
                lock.unlink(missing_ok=True)
            # One in the store is for whoever makes out the truth about it, and writes it there.
            elif store.find(lock.parent.name) is None:
                shutil.rmtree(lock.parent, ignore_errors=True)


def model_uri(plan: RunPlan, model: Path) -> str:
    """Where the model is, or will be."""
    return f"{plan.delivery.uri}/{model.name}" if plan.delivery else model.as_uri()


def _metric_line(point: MetricPoint) -> str:
    value = {
        "MetricName": point.name,
        "Value": point.value,
        "Timestamp": point.timestamp.isoformat(),
        "Host": point.host,
    }
    return f"{json.dumps(value)}\n"


def _now() -> datetime:
    return datetime.now(UTC)
