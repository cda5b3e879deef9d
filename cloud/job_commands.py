"""The commands about jobs that are there: describe, logs, stop, list, compare."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cloud.aws import Aws
from cloud.aws_errors import ClientError, explained, message_of, told
from cloud.commands import here
from cloud.compare import compare_text, compared
from cloud.console import Console
from cloud.follow import ENDED, INTERVAL_SECONDS
from cloud.job_text import describe_text, list_text
from cloud.log_streams import host_of, list_streams, merged, read_page
from cloud.place import CloudPlace, read_cloud_place
from cloud.run_folder import Progress, RunFolder
from cloud.training import as_values, follow_to_end
from training_job.errors import Fault, JobRefused
from training_job.secret_names import masked
from training_job.spelling import nearest

_PAGE = 100
"""Jobs that one answer of ListTrainingJobs may have at most."""


def run(asked: argparse.Namespace) -> int:
    """The command that was asked for; its exit code."""
    runs = getattr(asked, "runs", None)
    place = read_cloud_place(here(), os.environ, Path(runs) if runs else None)
    return _COMMANDS[asked.command](asked, place)


def _list(asked: argparse.Namespace, place: CloudPlace) -> int:
    jobs = _jobs(Aws(place.region), asked.status, asked.limit or None, place.region)
    if asked.json:
        print(json.dumps({"TrainingJobSummaries": jobs}, indent=2))
    elif jobs:
        print(list_text(jobs, datetime.now(UTC)))
    else:
        print(f"no {f'{asked.status} ' if asked.status else ''}jobs in {place.region}", file=sys.stderr)
    return 0


def _jobs(aws: Aws, status: str | None, limit: int | None, region: str) -> list[dict[str, Any]]:
    """Newest first."""
    sorting = {"SortBy": "CreationTime", "SortOrder": "Descending", **({"StatusEquals": status} if status else {})}
    found: list[dict[str, Any]] = []
    with told("listing jobs", region):
        for page in aws("sagemaker").get_paginator("list_training_jobs").paginate(**sorting, MaxResults=_PAGE):
            found += [as_values(summary) for summary in page["TrainingJobSummaries"]]
            if limit and len(found) >= limit:
                return found[:limit]
    return found


def _describe(asked: argparse.Namespace, place: CloudPlace) -> int:
    answer = described(Aws(place.region), asked.name, place.region)
    folder = RunFolder(place.runs / asked.name)
    shown = masked(answer)
    print(json.dumps(shown, indent=2) if asked.json else describe_text(shown, folder, datetime.now(UTC)))
    return 0


def described(aws: Aws, job: str, region: str) -> dict[str, Any]:
    """DescribeTrainingJob's answer as JSON has it. Raises JobRefused where there is no such job; AccountCannot."""
    try:
        return as_values(aws("sagemaker").describe_training_job(TrainingJobName=job))
    except ClientError as error:
        if "not found" not in message_of(error):
            raise explained(error, f"describing {job}", region) from None
    names = [summary["TrainingJobName"] for summary in _jobs(aws, None, 1000, region)]
    hint = nearest(job, names)
    raise JobRefused(job, [Fault("", f"no training job of the account in {region} has that name{hint}")])


def _logs(asked: argparse.Namespace, place: CloudPlace) -> int:
    aws = Aws(place.region)
    answer = described(aws, asked.name, place.region)
    console = Console(sys.stdout, only=asked.host)
    if asked.follow:
        return follow_to_end(asked.name, aws, RunFolder(place.runs / asked.name), console)
    with told(f"reading the logs of {asked.name}", place.region):
        streams = [stream for stream in list_streams(aws, asked.name) if asked.host in (None, host_of(stream))]
        if not streams:
            whose = asked.host or "its hosts"
            print(f"{asked.name} is {answer['SecondaryStatus']}: {whose} said nothing yet", file=sys.stderr)
        _print(aws, streams, console)
    return 0


def _print(aws: Aws, streams: Sequence[str], console: Console) -> None:
    progress, going = Progress(), list(streams)
    while going:
        pages = [read_page(aws, stream, progress) for stream in going]
        console.lines(list(merged(pages)))
        progress.tokens |= {page.stream: page.token for page in pages}
        going = [page.stream for page in pages if not page.last]


def _stop(asked: argparse.Namespace, place: CloudPlace) -> int:
    aws = Aws(place.region)
    status = described(aws, asked.name, place.region)["TrainingJobStatus"]
    if status in ENDED:
        # The service's own words: ValidationException of StopTrainingJob.
        what = f"the request was rejected because the training job is in status {status}"
        raise JobRefused(asked.name, [Fault("", what)])
    with told(f"stopping {asked.name}", place.region):
        aws("sagemaker").stop_training_job(TrainingJobName=asked.name)
    print(f"{asked.name}: Stopping: its hosts get SIGTERM, and SIGKILL after 120 s; what they saved is kept")
    while asked.wait and status not in ENDED:
        time.sleep(INTERVAL_SECONDS)
        answer = described(aws, asked.name, place.region)
        if (status := answer["TrainingJobStatus"]) in ENDED:
            print(f"{asked.name}: {answer['SecondaryStatus']}")
    return 0


def _compare(asked: argparse.Namespace, place: CloudPlace) -> int:
    """Both from their folders; a run in the cloud that has ended unseen, or elsewhere, from the account."""
    here_, there = _folder(asked.local, place), _folder(asked.cloud, place)
    if not here_.is_local:
        raise JobRefused(asked.local, [Fault("", f"{here_.directory} is the folder of no run on this machine")])
    answer = there.answer() or described(Aws(place.region), there.directory.name, place.region)
    rows = compared(here_, there, masked(answer))
    if asked.json:
        print(json.dumps([row.__dict__ for row in rows], indent=2))
    else:
        print(compare_text(here_.directory.name, there.directory.name, rows))
    return 0


def _folder(named: str, place: CloudPlace) -> RunFolder:
    """A run by its name or its folder."""
    return RunFolder(place.runs / Path(named).name if not Path(named).is_dir() else Path(named).resolve())


_COMMANDS: dict[str, Callable[[argparse.Namespace, CloudPlace], int]] = {
    "list": _list,
    "describe": _describe,
    "logs": _logs,
    "stop": _stop,
    "compare": _compare,
}
