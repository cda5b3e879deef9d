"""What is told of recorded jobs, running or ended, is an answer that SageMaker's own model allows."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from botocore.model import ListShape, MapShape, ServiceModel, Shape, StructureShape
from botocore.validate import ParamValidator

from local_mode.job_record import STATUSES, JobRecord
from local_mode.job_store import JobStore
from local_mode.job_text import list_answer
from local_mode.plan import RunPlan
from local_mode.reconciling import reconcile
from local_mode.records import run_record
from tests.fakes import NOW, a_job, a_plan, an_fsx_channel
from training_job.errors import HomeportError, MachineCannot
from training_job.lifecycle import Transition


def runs(plan: RunPlan, store: JobStore) -> JobRecord:
    with run_record(plan) as record:
        record.entered([Transition("Starting", NOW), Transition("Downloading", NOW), Transition("Training", NOW)])
        return found(store)


def begins(plan: RunPlan, store: JobStore) -> JobRecord:
    with run_record(plan):
        return found(store)


def is_being_stopped(plan: RunPlan, store: JobStore) -> JobRecord:
    with run_record(plan) as record:
        record.entered([Transition("Starting", NOW), Transition("Training", NOW), Transition("Stopping", NOW)])
        return found(store)


def was_killed(plan: RunPlan, store: JobStore) -> JobRecord:
    job = runs(plan, store)
    store.begin(job)
    reconcile(store, lambda _: None)
    return found(store)


def broke_off(plan: RunPlan, store: JobStore) -> JobRecord:
    return ended_by(MachineCannot("x" * 5000), plan, store)


def ended_by(error: HomeportError, plan: RunPlan, store: JobStore) -> JobRecord:
    def run() -> None:
        with run_record(plan) as record:
            record.keep(plan)
            raise error

    with pytest.raises(HomeportError):
        run()
    return found(store)


def found(store: JobStore) -> JobRecord:
    job = store.find("job-1")
    assert job
    return job


JOBS = [begins, runs, is_being_stopped, was_killed, broke_off]


@pytest.fixture(params=JOBS, ids=lambda made: made.__name__)
def job(request: pytest.FixtureRequest, tmp_path: Path) -> JobRecord:
    """A job as the store tells of it."""
    channels = [an_fsx_channel("train")]
    plan = a_plan(tmp_path, a_job(hosts=2, InputDataConfig=channels, HyperParameters={"api_key": "s3cr3t", "a": "1"}))
    made: Callable[[RunPlan, JobStore], JobRecord] = request.param
    return made(plan, JobStore(plan.place.state))


def test_a_description_is_the_services_answer(job: JobRecord, service: ServiceModel) -> None:
    shape = service.shape_for("DescribeTrainingJobResponse")

    assert ParamValidator().validate(job.answer, shape).generate_report() == ""
    assert list(broken_rules(job.answer, shape)) == []


def test_only_the_current_transition_of_a_running_job_has_no_end(job: JobRecord) -> None:
    steps = job.answer["SecondaryStatusTransitions"]

    assert [step["Status"] for step in steps if "EndTime" not in step] == [job.secondary_status] * job.running
    assert steps[-1]["Status"] == job.secondary_status
    for step, later in pairwise(steps):
        assert step["EndTime"] == later["StartTime"]


def test_a_running_job_has_no_end_and_is_not_billed(job: JobRecord) -> None:
    ends = {"TrainingEndTime", "TrainingTimeInSeconds", "BillableTimeInSeconds"}

    assert bool(job.answer.keys() & ends) is not job.running


def test_a_list_is_the_services_answer(job: JobRecord, service: ServiceModel) -> None:
    shape = service.shape_for("ListTrainingJobsResponse")
    answer = list_answer([job, replace(job, name="job-2")])

    for summary in answer["TrainingJobSummaries"]:
        del summary["Homeport"]

    assert ParamValidator().validate(answer, shape).generate_report() == ""
    assert list(broken_rules(answer, shape)) == []


def test_jobs_are_listed_by_the_services_statuses(service: ServiceModel) -> None:
    known = set(service.shape_for("TrainingJobStatus").metadata["enum"])

    # Nothing is seen here of a job that is being deleted.
    assert set(STATUSES) == known - {"Deleting", "Deleted"}


def broken_rules(value: Any, shape: Shape, place: str = "") -> Iterator[str]:
    """What botocore does not look at: members, enums, greatest lengths, and that a time is one."""
    if isinstance(shape, StructureShape):
        yield from (f"{place}.{name}: unknown" for name in value.keys() - shape.members.keys())
        for name in value.keys() & shape.members.keys():
            yield from broken_rules(value[name], shape.members[name], f"{place}.{name}")
    elif isinstance(shape, ListShape):
        for number, inner in enumerate(value):
            yield from broken_rules(inner, shape.member, f"{place}[{number}]")
    elif isinstance(shape, MapShape):
        for key, inner in value.items():
            yield from broken_rules(inner, shape.value, f"{place}.{key}")
    elif not allowed(value, shape):
        yield f"{place}: {value!r} is none of the service's"


def allowed(value: Any, shape: Shape) -> bool:
    if shape.type_name == "timestamp":
        return datetime.fromisoformat(value).tzinfo is not None
    is_short = shape.type_name != "string" or len(value) <= shape.metadata.get("max", len(value))
    return is_short and value in shape.metadata.get("enum", [value])
