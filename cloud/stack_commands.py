"""stack, cleanup and data: what an account has ready for jobs."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Collection, Sequence

from cloud import data_push, stack
from cloud.aws import Aws
from cloud.cleanup import plan_cleanup
from cloud.commands import here
from cloud.place import CloudPlace, read_cloud_place
from cloud.removal import carry_out, running_jobs, tagged
from cloud.request import PROJECT_TAG
from cloud.stack_client import StackClient
from cloud.upload_progress import UploadProgress
from training_job.errors import Fault, JobRefused


def run(asked: argparse.Namespace) -> int:
    """The command that was asked for; its exit code."""
    place = read_cloud_place(here(), os.environ, None)
    {"stack": _stack, "cleanup": _cleanup, "data": _data}[asked.command](asked, place)
    return 0


def _stack(asked: argparse.Namespace, place: CloudPlace) -> None:
    aws = Aws(place.region)
    client = _client(aws, place)
    if asked.action == "up":
        stack.up(client, aws, parameters_of(asked.parameter), yes=asked.yes)
    elif asked.action == "down":
        stack.down(client, yes=asked.yes)
    else:
        stack.status(client)


def _cleanup(asked: argparse.Namespace, place: CloudPlace) -> None:
    aws = Aws(place.region)
    client = _client(aws, place)
    cleanup = plan_cleanup(
        tagged(aws, client.name, place.region),
        tag=PROJECT_TAG,
        stack=client.name,
        goes_with_stack=_goes_with(client),
        running=running_jobs(aws, place.region),
    )
    print(f"tagged {PROJECT_TAG}={client.name} in {place.region}: {len(cleanup.removals)} to remove")
    for removal in cleanup.removals:
        print(f"  - {removal}")
    for arn in cleanup.left:
        print(f"    {arn} stays: Homeport does not know how to remove it")
    if cleanup.ended_jobs:
        print(f"    {cleanup.ended_jobs} ended training jobs stay on AWS's record, which costs nothing")
    if not cleanup.removals:
        return
    if not asked.yes:
        print("nothing was removed; --yes removes it")
        return
    carry_out(cleanup, aws, client, time.sleep, print)


def _data(asked: argparse.Namespace, place: CloudPlace) -> None:
    with UploadProgress(sys.stdout) as progress:
        data_push.push(asked.dataset, asked.to, place, progress=progress, pause=time.sleep)


def parameters_of(written: Sequence[str]) -> dict[str, str]:
    """NAME=VALUE, each. Raises JobRefused with every fault."""
    faults = [Fault("--parameter", f"must be NAME=VALUE, not {text!r}") for text in written if not _is_pair(text)]
    if faults:
        raise JobRefused("stack up", faults)
    return dict(text.split("=", 1) for text in written)


def _is_pair(text: str) -> bool:
    name, separator, _ = text.partition("=")
    return bool(name and separator)


def _client(aws: Aws, place: CloudPlace) -> StackClient:
    return StackClient(aws, place.written.stack_name, place.region, print, time.sleep)


def _goes_with(client: StackClient) -> Collection[str]:
    """The physical ids of what the stack's deletion removes; none where there is no stack of ours."""
    found = client.observe()
    if found is None or not client.is_ours(found):
        return ()
    template = client.template(found)["Resources"]
    return [
        physical
        for name, physical in client.resources().items()
        if template.get(name, {}).get("DeletionPolicy", "Delete") == "Delete"
    ]
