"""The image that a job is sent with: by digest from a registry, and whether a run here has completed with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cloud.account import Account
from cloud.aws import Aws
from cloud.engine_images import EngineImages
from cloud.pushing import image_for
from cloud.rehearsals import rehearsed
from training_job.errors import HomeportError
from training_job.model import TrainingJob


@dataclass(frozen=True)
class FoundImage:
    """The job's image in a registry, by digest; the run here that completed with it, if any; else why there is none."""

    uri: str | None = None
    image_id: str | None = None
    rehearsal: str | None = None
    problem: str | None = None


def find_image(job: TrainingJob, account: Account, aws: Aws, runs: Path) -> FoundImage:
    """Look for it. Why it cannot be had is a finding too, to be told with whatever else is wrong."""
    try:
        found = image_for(job, account, aws, EngineImages.connect)
    except HomeportError as problem:
        return FoundImage(problem=str(problem))
    if found is None:
        return FoundImage()
    rehearsal = rehearsed(found.id, runs)
    return FoundImage(found.by_digest, found.id, rehearsal.name if rehearsal else None)
