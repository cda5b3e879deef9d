"""The commands about jobs that are there: list, describe, logs, stop, prune. Quick: they import nothing that trains."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from local_mode.harness import ask_to_stop, computer, computer_of
from local_mode.job_record import JobRecord, chosen_name
from local_mode.job_store import JobStore, state_directory
from local_mode.job_text import describe_text, list_answer, list_text
from local_mode.log_files import log_lines
from local_mode.part_files import written
from local_mode.pruning import age, prunable, remove_folder, size_of
from local_mode.reconciling import reconcile, remove_owned
from training_job.errors import Fault, JobRefused, MachineCannot
from training_job.lifecycle import STOP_GRACE_SECONDS
from training_job.log_text import lines_text
from training_job.spelling import nearest

_PAUSE_SECONDS = 0.1


def run(asked: argparse.Namespace) -> int:
    """The command that was asked for; its exit code."""
    store = JobStore(state_directory(os.environ, Path()))
    reconcile(store, _remove_remains)
    return _COMMANDS[asked.command](asked, store)


def _list(asked: argparse.Namespace, store: JobStore) -> int:
    jobs = store.recent(asked.limit or None, asked.status)
    if asked.json:
        print(json.dumps(list_answer(jobs), indent=2))
        return 0
    if not jobs:
        print(f"no {f'{asked.status} ' if asked.status else ''}jobs yet: homeport-local train JOB", file=sys.stderr)
        return 0
    print(list_text(jobs, datetime.now(UTC)))
    if (more := store.count(asked.status) - len(jobs)) > 0:
        print(f"{more:,} more: --limit N, or --limit 0 for all", file=sys.stderr)
    return 0


def _describe(asked: argparse.Namespace, store: JobStore) -> int:
    job = _chosen(store, asked.name)
    print(json.dumps(job.answer, indent=2) if asked.json else describe_text(job, datetime.now(UTC)))
    return 0


def _logs(asked: argparse.Namespace, store: JobStore) -> int:
    job = _chosen(store, asked.name)
    if asked.host is not None and asked.host not in job.hosts:
        what = f"is no host of {job.name}; it has {', '.join(job.hosts)}{nearest(asked.host, job.hosts)}"
        raise JobRefused("--host", [Fault(asked.host, what)])
    if not job.directory.is_dir():
        raise MachineCannot(f"{job.directory}: the folder of {job.name} is gone, and its logs with it")
    over = _has_ended(store, job) if asked.follow else lambda: True
    for host, line in log_lines(job.logs, asked.host, over, sys.stdout.flush):
        if asked.host is None:
            sys.stdout.write(lines_text(host, line))
        else:
            # One host's log is handed on byte for byte.
            sys.stdout.buffer.write(line)
    return 0


def _report(asked: argparse.Namespace, store: JobStore) -> int:
    # Loads what makes pages, which the other commands need not wait for.
    from local_mode.report import report  # noqa: PLC0415

    job = _chosen(store, asked.name)
    if not job.directory.is_dir():
        raise MachineCannot(f"{job.directory}: the folder of {job.name} is gone, and all that a report tells with it")
    page = job.directory / "report.html"
    with written(page) as part:
        part.write(report(job.directory, job.answer).encode())
    print(page)
    return 0


def _stop(asked: argparse.Namespace, store: JobStore) -> int:
    job = _chosen(store, asked.name)
    if not job.running:
        # The service's own words: ValidationException of StopTrainingJob.
        what = f"the request was rejected because the training job is in status {job.status}"
        raise JobRefused(job.name, [Fault("", what)])
    if computer_of(job.owner) != computer():
        raise MachineCannot(f"{job.name} runs on {computer_of(job.owner)}: stop it there")
    store.ask_stop(job.name, lambda: ask_to_stop(job.process, job.owner))
    if not asked.wait:
        print(f"{job.name}: Stopping: its hosts get SIGTERM, and SIGKILL after {STOP_GRACE_SECONDS} s")
        return 0
    over = _has_ended(store, job)
    while not over():
        time.sleep(_PAUSE_SECONDS)
    found = store.find(job.name)
    print(f"{job.name}: {found.secondary_status if found else 'gone: it never began'}")
    return 0


def _prune(asked: argparse.Namespace, store: JobStore) -> int:
    older_than = age(asked.older_than) if asked.older_than else None
    jobs = prunable(store.recent(), now=datetime.now(UTC), older_than=older_than, keep=asked.keep)
    sizes = {job.name: size_of(job.directory) for job in jobs}
    problems: list[MachineCannot] = []
    for job in jobs:
        where = f"{job.directory} ({sizes[job.name] / 1e6:,.1f} MB)" if job.directory.exists() else "its folder is gone"
        try:
            if asked.yes:
                remove_folder(job)
                store.forget(job.name)
        except MachineCannot as problem:
            problems.append(problem)
            del sizes[job.name]
        else:
            print(f"{job.name}  {job.status}  {where}")
    what = "removed" if asked.yes else "would be removed; remove them with --yes"
    print(f"{len(sizes):,} {'job' if len(sizes) == 1 else 'jobs'}, {sum(sizes.values()) / 1e6:,.1f} MB {what}")
    if problems:
        raise MachineCannot("\n".join(str(problem) for problem in problems))
    return 0


_COMMANDS: dict[str, Callable[[argparse.Namespace, JobStore], int]] = {
    "list": _list,
    "describe": _describe,
    "logs": _logs,
    "report": _report,
    "stop": _stop,
    "prune": _prune,
}


def _chosen(store: JobStore, asked: str) -> JobRecord:
    """The job of this name, or the only one whose name begins so."""
    if job := store.find(asked):
        return job
    job = store.find(chosen_name(asked, store.names()))
    if job is None:
        raise JobRefused(asked, [Fault("", "was removed at this moment")])
    return job


def _has_ended(store: JobStore, job: JobRecord) -> Callable[[], bool]:
    """Whether the job has ended, however: a killed harness is found out too."""

    def over() -> bool:
        reconcile(store, _remove_remains)
        found = store.find(job.name)
        return found is None or not found.running

    return over


def _remove_remains(killed: Sequence[JobRecord]) -> None:
    """Take what killed jobs left from the engine. Where none answers, the next `train` does it before it starts any."""
    # Only here, where a job was killed: to import docker-py takes longer than a command about jobs may.
    from local_mode.docker_engine import DockerEngine  # noqa: PLC0415

    try:
        remove_owned(DockerEngine.connect(), killed)
    except MachineCannot as problem:
        print(
            f"homeport-local: what {', '.join(job.name for job in killed)} left may be there still: {problem}",
            file=sys.stderr,
        )
