"""Carry out a RunPlan: attempts until one is the last, and what is known of them then. Decides nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from time import monotonic, sleep

from local_mode.attempt import Ended, Events, attempt
from local_mode.course import Course, Interruption, now
from local_mode.engine import Engine
from local_mode.fetching import answer
from local_mode.harness import dead
from local_mode.outputs import Artifacts
from local_mode.plan import RunPlan
from local_mode.pools import pooled
from local_mode.preflight import check
from local_mode.records import model_uri, run_record
from local_mode.taking_away import TakenAway
from local_mode.watcher import Watcher
from training_job.errors import EngineFailed, HomeportError, Interrupted
from training_job.lifecycle import Outcome, Transition, conclude, describe, internal_server_error
from training_job.metrics import MetricPoint, Metrics

_ENGINE_RETURNS_WITHIN = 60.0  # seconds: a daemon that is started again
_ASKED_EVERY = 0.5  # seconds


@dataclass
class RunResult:
    """How the run went. A job that was stopped before it had containers has no artifacts; `problem` is what hindered
    what it left from going where it is wanted."""

    plan: RunPlan
    outcome: Outcome
    artifacts: Artifacts | None
    metrics: Metrics
    seconds: float
    description: dict[str, object]
    interruptions: tuple[Interruption, ...] = ()
    problem: HomeportError | None = None


def run_plan(plan: RunPlan, engine: Engine, watcher: Watcher, events: Events) -> RunResult:
    """Run the job to its end. `events` brings StopAsked from outside; everything started is gone on return.

    What ends a job that has begun is raised once its end is described.
    """
    check(plan)
    # A pull may take an hour.
    image = answer(partial(engine.image, plan.image), lambda: not events.empty())
    plan = replace(plan, image_id=image.digest)
    if not events.empty():
        raise Interrupted
    began = monotonic()
    with run_record(plan) as record, pooled(plan) as (in_pool, pool):
        if swept := dead(engine.owners()):
            engine.remove(swept)
            watcher.swept(swept)
        metrics = Metrics(plan.job.algorithm_specification.metric_definitions or ())
        course = Course(in_pool, record, watcher, began, metrics)
        watcher.begins(plan, image)
        if pool:
            watcher.staged("warm pool", pool)
        record.open(host.host for host in plan.hosts)
        try:
            ended = _last_attempt(course, engine, events)
        except HomeportError as error:
            if record.began:
                _describe(course, internal_server_error(str(error), error.exit_code), None)
            raise
        return _result(course, ended)


def _last_attempt(course: Course, engine: Engine, events: Events) -> Ended:
    """A spot interruption is followed by another attempt, and a fault of the engine as often as RetryStrategy says."""
    retries = course.plan.limits.retries
    left = retries
    while True:
        try:
            ended = attempt(course, engine, events)
        except EngineFailed as error:
            if not left or not _answers(engine, events):
                raise
            left -= 1
            course.says(f"{error}\n  tried again, {retries - left} of {retries} times (RetryStrategy)")
        else:
            if ended.cause != "spot interruption":
                return ended


def _answers(engine: Engine, events: Events) -> bool:
    """Whether the engine is there, or is there again soon. A stop is no reason to wait."""
    deadline = monotonic() + _ENGINE_RETURNS_WITHIN
    while events.empty():
        try:
            engine.owners()
        except EngineFailed:
            if monotonic() > deadline:
                return False
            sleep(_ASKED_EVERY)
        else:
            return True
    return True


def _result(course: Course, ended: Ended) -> RunResult:
    artifacts, problem = (ended.taken.artifacts, ended.taken.problem) if ended.taken else (None, None)
    outcome = conclude(ended.exits, ended.cause, artifacts.failures if artifacts else {})
    description = _describe(course, outcome, ended.taken)
    seconds = monotonic() - course.began
    interruptions = tuple(course.interruptions)
    return RunResult(course.plan, outcome, artifacts, course.metrics, seconds, description, interruptions, problem)


def _describe(course: Course, outcome: Outcome, taken: TakenAway | None) -> dict[str, object]:
    """Write down how the job ended, and say it."""
    code = taken.problem.exit_code if taken and taken.problem else outcome.exit_code
    end = now()
    course.transitions.append(Transition(outcome.secondary_status, end))
    description = describe(
        course.plan.job.request(),
        arn=course.plan.arn,
        transitions=course.transitions,
        outcome=outcome,
        end=end,
        metrics=list[MetricPoint](course.metrics.final.values()),
        model_artifacts=taken.model if taken else _model_uri(course),
    )
    course.record.describe(description)
    if problem := course.record.ends(description, code):
        course.says(str(problem))
    course.watcher.status(outcome.secondary_status)
    return description


def _model_uri(course: Course) -> str:
    """Where the model would be: the answer always says."""
    name = "model.tar.gz" if course.plan.compressed else "model"
    return model_uri(course.plan, course.record.directory / "output" / name)
