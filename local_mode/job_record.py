"""What the store knows of a job. Pure, and quick to import: `list` and `describe` load nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from local_mode.harness import LOCK
from training_job.errors import Fault, JobRefused
from training_job.lifecycle import Transition, transitions_of
from training_job.spelling import nearest

STATUSES = ("InProgress", "Completed", "Failed", "Stopping", "Stopped")
_MOST_NAMED = 8


@dataclass(frozen=True)
class JobRecord:
    """One job of this machine. `told` is DescribeTrainingJob's answer as JSON, secrets masked; what stands above it
    tells parts of it again, for whoever reads many, and lacks `told`. `process` names the harness, `gpus` are what the
    job was given."""

    name: str
    arn: str
    image: str
    instances: tuple[tuple[str, int], ...]
    folder: str
    owner: str
    process: str
    gpus: tuple[str, ...]
    status: str
    secondary_status: str
    created: datetime
    changed: datetime
    started: datetime | None
    ended: datetime | None
    failure_reason: str | None
    exit_code: int | None
    told: str

    @classmethod
    def of(
        cls,
        answer: Mapping[str, Any],
        *,
        image: str,
        directory: Path,
        owner: str,
        process: str,
        gpus: tuple[str, ...] = (),
        exit_code: int | None = None,
    ) -> Self:
        """The record of the job that `answer` describes."""
        return cls(
            name=answer["TrainingJobName"],
            arn=answer["TrainingJobArn"],
            image=image,
            instances=_instances(answer["ResourceConfig"]),
            folder=str(directory),
            owner=owner,
            process=process,
            gpus=gpus,
            status=answer["TrainingJobStatus"],
            secondary_status=answer["SecondaryStatus"],
            created=datetime.fromisoformat(answer["CreationTime"]),
            changed=datetime.fromisoformat(answer["LastModifiedTime"]),
            started=_time(answer.get("TrainingStartTime")),
            ended=_time(answer.get("TrainingEndTime")),
            failure_reason=answer.get("FailureReason"),
            exit_code=exit_code,
            told=json.dumps(answer),
        )

    def with_answer(self, answer: Mapping[str, Any], exit_code: int | None = None) -> Self:
        """The same job, later."""
        return type(self).of(
            answer,
            image=self.image,
            directory=self.directory,
            owner=self.owner,
            process=self.process,
            gpus=self.gpus,
            exit_code=exit_code,
        )

    @cached_property
    def directory(self) -> Path:
        """The run's folder."""
        return Path(self.folder)

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.ended is None

    @cached_property
    def answer(self) -> dict[str, Any]:
        """DescribeTrainingJob's answer."""
        found: dict[str, Any] = json.loads(self.told)
        return found

    @cached_property
    def transitions(self) -> list[Transition]:
        """Its secondary statuses, from the first."""
        return transitions_of(self.answer)

    @property
    def hosts(self) -> list[str]:
        """The names of its hosts."""
        return [f"algo-{number + 1}" for number in range(sum(count for _, count in self.instances))]

    @property
    def logs(self) -> Path:
        """The folder of its logs, a file a host."""
        return self.directory / "logs"

    @property
    def lock(self) -> Path:
        """What its harness holds."""
        return self.directory / LOCK


def chosen_name(asked: str, names: list[str]) -> str:
    """The name that `asked` is, or the only one that begins with it. Raises JobRefused. `names` are newest first."""
    if asked in names:
        return asked
    begun = [name for name in names if asked and name.startswith(asked)]
    if len(begun) == 1:
        return begun[0]
    if begun:
        shown = ", ".join(begun[:_MOST_NAMED]) + (", …" if len(begun) > _MOST_NAMED else "")
        raise JobRefused(asked, [Fault("", f"{len(begun)} jobs' names begin so: {shown}")])
    hint = nearest(asked, names[:1000])
    raise JobRefused(asked, [Fault("", f"no job of this machine has that name{hint}. homeport-local list shows them")])


def _instances(resources: Mapping[str, Any]) -> tuple[tuple[str, int], ...]:
    groups = resources.get("InstanceGroups") or [resources]
    return tuple((group.get("InstanceType", ""), int(group.get("InstanceCount", 1))) for group in groups)


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
