"""Job files on disk, read as a person would have them read."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import NOW, REGION
from training_job.errors import JobRefused
from training_job.job_file import Changes, read_job
from training_job.model import TrainingJob

ReadJob = Callable[..., TrainingJob]
ReadFaults = Callable[..., list[str]]


@pytest.fixture
def read(tmp_path: Path) -> ReadJob:
    """`read(text)`: the job in a TOML file; `read(table)`: in a JSON file. Keywords are Changes."""

    def read(content: str | dict[str, Any], **changes: Any) -> TrainingJob:
        path = tmp_path / ("job.toml" if isinstance(content, str) else "job.json")
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return read_job(path, now=NOW, region=REGION, changes=Changes(**changes))

    return read


@pytest.fixture
def faults(read: ReadJob) -> ReadFaults:
    """The faults of a bad file, each as a person sees it."""

    def faults(content: str | dict[str, Any], **changes: Any) -> list[str]:
        with pytest.raises(JobRefused) as refused:
            read(content, **changes)
        return [str(fault) for fault in refused.value.faults]

    return faults
