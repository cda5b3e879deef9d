"""plan and train, each a short story: read the job, know the account, make the request; then check, send, follow."""

from __future__ import annotations

import argparse
import json
import os
import sys
from datetime import datetime
from pathlib import Path

from cloud.account import planned_account
from cloud.images import local_name
from cloud.place import CloudPlace, read_cloud_place
from cloud.plan_text import plan_text
from cloud.request import create_training_job_request, named_file_systems
from cloud.source import Source
from training_job.errors import Fault, JobRefused
from training_job.job_file import Changes, read_job
from training_job.model import TrainingJob
from training_job.secret_names import masked


def run(asked: argparse.Namespace) -> int:
    """The command that was asked for; its exit code."""
    return {"plan": _plan, "train": _train}[asked.command](asked)


def _plan(asked: argparse.Namespace) -> int:
    """Nobody is asked: what only the stack or the registry knows stands in angle brackets."""
    job, place = read(asked)
    file_systems = [(named.name, named.file_system_type) for named in named_file_systems(job)]
    account = planned_account(place.written, region=place.region, file_systems=file_systems)
    source = Source.of(job)
    request = create_training_job_request(
        job,
        account,
        stack=place.written.stack_name,
        image=_planned_image(job),
        source=source.prefix(account.bucket) if source else None,
    )
    print(json.dumps(masked(request), indent=2) if asked.json else plan_text(job, masked(request), place, asked.job))
    return 0


def _train(asked: argparse.Namespace) -> int:
    # Slow to import, and a plan needs none of it.
    from cloud.training import train  # noqa: PLC0415

    job, place = read(asked)
    return train(job, place, asked, sys.stderr if asked.json else sys.stdout)


def read(asked: argparse.Namespace) -> tuple[TrainingJob, CloudPlace]:
    """The job and the place; the place first, for the region that the job's hyperparameters name."""
    place = read_cloud_place(here(), os.environ, Path(asked.runs) if asked.runs else None)
    changes = Changes(
        settings=tuple(asked.set),
        name=asked.name,
        instance_type=asked.instance_type,
        instance_count=asked.instance_count,
    )
    return read_job(Path(asked.job), now=datetime.now(), region=place.region, changes=changes), place


def here() -> Path:
    """The folder this runs in. Raises JobRefused where that is gone."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise JobRefused("this folder", [Fault("", "is gone; go to one that is there")]) from None


def _planned_image(job: TrainingJob) -> str | None:
    image = job.algorithm_specification.training_image
    return f"<{local_name(job)} by digest, once pushed>" if image and "@sha256:" not in image else image
