"""What a run leaves: the folder runs/<job>/, and the lock that says whether its harness lives."""

from __future__ import annotations

import fcntl
import json
import shutil
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

from local_mode.part_files import no_room_told, sweep, written
from local_mode.plan import RunPlan
from training_job.errors import DiskFull, Fault, JobRefused, MachineCannot
from training_job.metrics import MetricPoint
from training_job.secret_names import masked

_ROOM_NEEDED = 64 << 20
_LOCK = ".lock"
_REQUEST = "request.json"


class RunRecord:
    """The folder of one run, all of it owned by whoever runs the job."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.began = False
        self._logs: dict[str, FileIO] = {}
        self._metrics: FileIO | None = None

    @property
    def owner(self) -> str:
        """What tells a later run whether this one still lives: the computer, and the lock it holds."""
        return f"{socket.gethostname()}:{self.directory / _LOCK}"

    def open(self, hosts: Iterable[str]) -> None:
        """Open what the hosts' lines and the metrics go into."""
        (self.directory / "logs").mkdir()
        # Unbuffered: whoever looks in from another terminal sees every line at once.
        self._logs = {host: (self.directory / "logs" / f"{host}.log").open("wb", buffering=0) for host in hosts}
        self._metrics = (self.directory / "metrics.jsonl").open("wb", buffering=0)

    def keep(self, plan: RunPlan) -> None:
        """Write the request and the plan: the job has begun, and its folder stays, however it ends."""
        self.began = True
        self._write(_REQUEST, masked(plan.job.request()))
        self._write("plan.json", masked(plan.to_json()))

    def line(self, host: str, line: bytes) -> None:
        """Keep a line of a host's log, as it came. Raises DiskFull."""
        self._append(self._logs[host], line)

    def metric(self, point: MetricPoint) -> None:
        """Keep a value. Raises DiskFull."""
        value = {
            "MetricName": point.name,
            "Value": point.value,
            "Timestamp": point.timestamp.isoformat(),
            "Host": point.host,
        }
        if self._metrics:
            self._append(self._metrics, f"{json.dumps(value)}\n".encode())

    def describe(self, answer: Mapping[str, Any]) -> None:
        """Write how it ended."""
        self._write("describe.json", masked(answer))

    def close(self) -> None:
        """Close every file that is open."""
        for log in self._logs.values():
            log.close()
        if self._metrics:
            self._metrics.close()

    def _append(self, file: FileIO, line: bytes) -> None:
        rest = memoryview(line)
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

    Raises JobRefused where the name is taken, as SageMaker does, and DiskFull where there is no room to begin.
    """
    directory = plan.run_directory
    _sweep(directory.parent)
    made_parents = [folder for folder in directory.parents if not folder.exists()]
    try:
        directory.mkdir(parents=True)
    except FileExistsError:
        raise JobRefused(
            plan.name, [Fault("TrainingJobName", f"is taken: {directory} exists. Give another with --name NAME")]
        ) from None
    except OSError as error:
        what = f"{directory}: cannot be made: {error.strerror}. Write elsewhere with --runs DIRECTORY"
        raise MachineCannot(what) from None
    record = RunRecord(directory)
    try:
        free = shutil.disk_usage(directory).free
        if free < _ROOM_NEEDED:
            raise DiskFull(directory, _ROOM_NEEDED, free)
        with (directory / f"{_LOCK}.new").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Held before it has its name: whoever finds it free finds a remain.
            Path(lock.name).rename(directory / _LOCK)
            yield record
    finally:
        record.close()
        (directory / _LOCK).unlink(missing_ok=True)
        if not record.began:
            shutil.rmtree(directory, ignore_errors=True)
            for folder in made_parents:
                if not any(folder.iterdir()):
                    folder.rmdir()


def _sweep(runs: Path) -> None:
    """Remove what killed runs left half-done: folders of jobs that never began, files in the making."""
    for lock in runs.glob(f"*/{_LOCK}"):
        if _is_dead(f"{socket.gethostname()}:{lock}"):
            if not (lock.parent / _REQUEST).exists():
                shutil.rmtree(lock.parent, ignore_errors=True)
                continue
            sweep(lock.parent)
            lock.unlink(missing_ok=True)


def dead(owners: Mapping[str, str]) -> list[str]:
    """The jobs whose harness ran on this computer and lives no more."""
    return [job for job, owner in owners.items() if _is_dead(owner)]


def _is_dead(owner: str) -> bool:
    computer, _, path = owner.partition(":")
    if computer != socket.gethostname():
        return False
    try:
        with Path(path).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
