"""What hosts that have ended left, taken to where the job wants it: kept directories, artifacts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from local_mode.checkpoints import Syncing
from local_mode.contents import connect
from local_mode.course import Course
from local_mode.delivery import deliver
from local_mode.engine import Host
from local_mode.outputs import Artifacts, collect
from local_mode.records import model_uri
from training_job.errors import HomeportError


@dataclass(frozen=True)
class TakenAway:
    """The artifacts, the URI under which the model is to be had, and what hindered the rest."""

    artifacts: Artifacts
    model: str
    problem: HomeportError | None


def take_away(course: Course, hosts: Mapping[str, Host], syncing: Syncing | None) -> TakenAway:
    """The last of the kept directories, then the artifacts: each is tried, whatever became of the others.

    Raises what hindered the artifacts from being collected at all: DiskFull, Escapes, MachineCannot.
    """
    plan = course.plan
    unkept = _tried(lambda: _keep_last(course, syncing))
    try:
        artifacts = collect(hosts, plan.run_directory / "output", plan.compressed)
    except HomeportError:
        if unkept:
            course.says(str(unkept))
        raise
    undelivered = _tried(lambda: _deliver(course, artifacts))
    if unkept and undelivered:
        course.says(str(undelivered))
    model = artifacts.model.as_uri() if undelivered else model_uri(plan, artifacts.model)
    return TakenAway(artifacts, model, unkept or undelivered)


def _tried(step: Callable[[], None]) -> HomeportError | None:
    try:
        step()
    except HomeportError as error:
        return error
    return None


def _keep_last(course: Course, syncing: Syncing | None) -> None:
    for path, count in (syncing.finish() if syncing else {}).items():
        course.says(f"{path}: {count.uploaded:,} files kept, {count.size / 1e6:,.1f} MB, {count.deleted:,} deleted")


def _deliver(course: Course, artifacts: Artifacts) -> None:
    if where := course.plan.delivery:
        deliver(artifacts, connect(where.bucket), where.uri.key)
        course.says(f"the artifacts are at {where.uri}/")
