"""The commands of homeport-local, each a short story: read the job, survey the machine, plan, run, say how it went."""

from __future__ import annotations

import argparse
import json
import os
import sys
from datetime import datetime
from pathlib import Path

from local_mode.aws_identity import may_be_here
from local_mode.console import Console, doctor_text, plan_text
from local_mode.docker_engine import DockerEngine
from local_mode.hydration import hydrate
from local_mode.place import Place, read_place
from local_mode.plan import Options, plan_run
from local_mode.preflight import check
from local_mode.runner import run_plan
from local_mode.signals import stop_signals
from training_job.errors import Fault, ImageNotFound, JobRefused
from training_job.job_file import Changes, read_job
from training_job.model import TrainingJob
from training_job.secret_names import masked

_OUR_IMAGES = ("homeport/tensorflow:cpu", "homeport/tensorflow:gpu")


def run(asked: argparse.Namespace) -> int:
    """The command that was asked for; its exit code."""
    return {"train": _train, "plan": _plan, "hydrate": _hydrate, "doctor": _doctor}[asked.command](asked)


def _train(asked: argparse.Namespace) -> int:
    with stop_signals() as events:
        job, place = _read(asked)
        engine = DockerEngine.connect()
        machine = engine.machine()
        console = Console(asked.job, machine, sys.stderr if asked.json else sys.stdout)
        with console:
            result = run_plan(plan_run(job, machine, place, _options(asked)), engine, console, events)
    console.ends(result)
    if asked.json:
        print(json.dumps(masked(result.description), indent=2))
    return result.outcome.exit_code


def _plan(asked: argparse.Namespace) -> int:
    job, place = _read(asked)
    machine = DockerEngine.connect().machine()
    plan = plan_run(job, machine, place, _options(asked))
    check(plan)
    print(plan_text(plan, machine))
    return 0


def _hydrate(asked: argparse.Namespace) -> int:
    return hydrate(asked, read_place(_here(), os.environ))


def _doctor(_asked: argparse.Namespace) -> int:
    place = read_place(_here(), os.environ)
    engine = DockerEngine.connect()

    def there(reference: str) -> bool:
        try:
            engine.image(reference)
        except ImageNotFound:
            return False
        return True

    print(doctor_text(engine.machine(), place, [(name, there(name)) for name in _OUR_IMAGES]))
    return 0


def _read(asked: argparse.Namespace) -> tuple[TrainingJob, Place]:
    """The job and the place; the place first, for the region that the job's hyperparameters name."""
    place = read_place(_here(), os.environ, Path(asked.runs) if asked.runs else None)
    changes = Changes(
        settings=tuple(asked.set),
        name=asked.name,
        instance_type=asked.instance_type,
        instance_count=asked.instance_count,
    )
    return read_job(Path(asked.job), now=datetime.now(), region=place.region, changes=changes), place


def _here() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise JobRefused("this folder", [Fault("", "is gone; go to one that is there")]) from None


def _options(asked: argparse.Namespace) -> Options:
    if asked.virtual_gpus is not None and asked.virtual_gpus < 1:
        raise JobRefused("--virtual-gpus", [Fault("", f"must be 1 or more, not {asked.virtual_gpus}")])
    return Options(
        gpus=tuple(gpu for gpu in asked.gpus.split(",") if gpu) if asked.gpus is not None else None,
        virtual_gpus=asked.virtual_gpus,
        live_code=asked.live_code,
        strict=asked.strict,
        credentials=not asked.no_credentials and may_be_here(os.environ, Path.home()),
    )
