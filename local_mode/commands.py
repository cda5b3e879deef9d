"""The commands of homeport-local, each a short story: read the job, survey the machine, plan, run, say how it went."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from local_mode.attempt import Events
from local_mode.aws_identity import may_be_here
from local_mode.console import Console, doctor_text, plan_text
from local_mode.detaching import Detached
from local_mode.docker_engine import DockerEngine
from local_mode.hydration import hydrate
from local_mode.job_record import JobRecord
from local_mode.job_store import GPUsTaken, JobStore
from local_mode.machine import Machine
from local_mode.place import Place, read_place
from local_mode.plan import Options, plan_run
from local_mode.pools import sweep
from local_mode.preflight import check
from local_mode.reconciling import reconcile, remove_owned
from local_mode.runner import RunResult, run_plan
from local_mode.signals import stop_signals
from local_mode.terminal import Stream, Terminal
from training_job.errors import Fault, ImageNotFound, JobRefused, NameTaken
from training_job.job_file import Changes, read_job
from training_job.model import TrainingJob
from training_job.secret_names import masked

_OUR_IMAGES = ("homeport/tensorflow:cpu", "homeport/tensorflow:gpu")


def run(asked: argparse.Namespace) -> int:
    """The command that was asked for; its exit code."""
    return {"train": _train, "plan": _plan, "hydrate": _hydrate, "doctor": _doctor}[asked.command](asked)


def _train(asked: argparse.Namespace) -> int:
    stream = sys.stderr if asked.json else sys.stdout
    if not asked.detach:
        with Terminal(stream) as terminal:
            return _run_job(asked, terminal)
    detached = Detached.fork()
    if detached.pid == 0:
        return _run_job(asked, stream, detached.kept)
    name, code = detached.wait()
    if name:
        print(f"follow it: homeport-local logs {name} --follow · stop it: homeport-local stop {name}", file=sys.stderr)
        print(name)
    return code


def _run_job(asked: argparse.Namespace, stream: Stream, kept: Callable[[Path], None] = lambda _: None) -> int:
    with stop_signals() as events:
        job, place = _read(asked)
        engine = DockerEngine.connect()
        machine = engine.machine()
        console = Console(asked.job, machine, stream, kept)
        with console:
            result = _run_with_free_gpus(asked, job, place, _Harness(engine, machine, console, events))
    console.ends(result)
    if asked.json:
        print(json.dumps(masked(result.description), indent=2))
    if result.problem:
        raise result.problem
    return result.outcome.exit_code


@dataclass(frozen=True)
class _Harness:
    """What runs a job."""

    engine: DockerEngine
    machine: Machine
    console: Console
    events: Events


def _run_with_free_gpus(asked: argparse.Namespace, job: TrainingJob, place: Place, harness: _Harness) -> RunResult:
    """Run the job on GPUs that no other has, planned anew whenever another was given one of them meanwhile; a name that
    is dated becomes that of the next second which no other has."""
    ahead = 0
    while True:
        machine = _with_held(harness.engine, harness.machine, place, harness.console.swept)
        plan = plan_run(job, machine, place, _options(asked))
        try:
            return run_plan(plan, harness.engine, harness.console, harness.events)
        except GPUsTaken:
            continue
        except NameTaken:
            ahead += 1
            taken, (job, _) = job.training_job_name, _read(asked, ahead)
            if job.training_job_name == taken:
                raise


def _with_held(
    engine: DockerEngine, machine: Machine, place: Place, swept: Callable[[list[str]], None] = lambda _: None
) -> Machine:
    """The machine with the GPUs that jobs hold, those of killed ones freed; warm pools whose time is over are gone."""

    def remove(killed: Sequence[JobRecord]) -> None:
        if left := remove_owned(engine, killed):
            swept(left)

    store = JobStore(place.state)
    reconcile(store, remove)
    sweep(place.state, engine)
    return replace(machine, held=store.held_gpus())


def _plan(asked: argparse.Namespace) -> int:
    job, place = _read(asked)
    engine = DockerEngine.connect()
    machine = _with_held(engine, engine.machine(), place)
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

    machine = _with_held(engine, engine.machine(), place)
    print(doctor_text(machine, place, [(name, there(name)) for name in _OUR_IMAGES]))
    return 0


def _read(asked: argparse.Namespace, ahead: int = 0) -> tuple[TrainingJob, Place]:
    """The job, dated so many seconds ahead, and the place; the place first, for the region that the job's
    hyperparameters name."""
    place = read_place(_here(), os.environ, Path(asked.runs) if asked.runs else None)
    changes = Changes(
        settings=tuple(asked.set),
        name=asked.name,
        instance_type=asked.instance_type,
        instance_count=asked.instance_count,
    )
    return read_job(
        Path(asked.job), now=datetime.now() + timedelta(seconds=ahead), region=place.region, changes=changes
    ), place


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
        limit_resources=asked.limit_resources,
        interrupt_after=tuple(_seconds(text) for given in asked.interrupt_after for text in given.split(",")),
        credentials=not asked.no_credentials and may_be_here(os.environ, Path.home()),
    )


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise JobRefused("--interrupt-after", [Fault("", f"must be seconds of training, not {text!r}")])
    return seconds
