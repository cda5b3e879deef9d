"""What hosts that have ended left goes where it is wanted: the last of the kept directories, and the artifacts."""

from __future__ import annotations

from collections.abc import Callable

from local_mode.checkpoints import Syncing
from local_mode.contents import connect
from local_mode.course import Course
from local_mode.delivery import deliver
from local_mode.outputs import Artifacts
from training_job.errors import HomeportError


def take_away(course: Course, syncing: Syncing | None, artifacts: Artifacts) -> HomeportError | None:
    """Both to where they go; what hindered it, once all was tried."""
    steps = (lambda: _keep_last(course, syncing), lambda: _deliver(course, artifacts))
    problems = [problem for step in steps if (problem := _tried(step))]
    for other in problems[1:]:
        course.says(str(other))
    return problems[0] if problems else None


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
    where = course.plan.delivery
    if where:
        deliver(artifacts, connect(where.bucket), where.uri.key)
        course.says(f"the artifacts are at {where.uri}/")
