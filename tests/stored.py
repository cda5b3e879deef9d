"""Jobs as the store has them, without running any."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from local_mode.harness import owner_of, this_process
from local_mode.job_record import JobRecord
from tests.fakes import NOW, a_job
from training_job.lifecycle import Outcome, Transition, describe

COMPLETED = Outcome("Completed", "Completed", 0)


def a_record(
    runs: Path,
    name: str = "job-1",
    *,
    statuses: tuple[str, ...] = ("Starting", "Training"),
    outcome: Outcome | None = None,
    created: datetime = NOW,
    gpus: tuple[str, ...] = (),
    **job: Any,
) -> JobRecord:
    """A job that enters a status a second, the last of them its end if there is an outcome."""
    ended = (outcome.secondary_status,) if outcome else ()
    transitions = [
        Transition(status, created + timedelta(seconds=second)) for second, status in enumerate((*statuses, *ended))
    ]
    answer = describe(
        a_job(TrainingJobName=name, **job).request(),
        arn=f"arn:aws:sagemaker:us-west-2:000000000000:training-job/{name}",
        transitions=transitions,
        model_artifacts=(runs / name / "output/model.tar.gz").as_uri(),
        outcome=outcome,
        end=transitions[-1].start if outcome else None,
    )
    return JobRecord.of(
        answer,
        image="my/image",
        directory=runs / name,
        owner=owner_of(runs / name),
        process=this_process(),
        gpus=gpus,
        exit_code=outcome.exit_code if outcome else None,
    )


def of_another_computer(job: JobRecord) -> JobRecord:
    """The same job, run elsewhere."""
    return replace(job, owner=f"elsewhere:{job.lock}")
