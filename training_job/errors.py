"""The errors a person can meet, each with its exit code.

HomeportError                 1
├── JobRefused                2   the job file, or the command, is wrong: every fault at once
│   └── NameTaken                 another job has the name
├── MachineCannot             3   this machine lacks something
│   ├── NoEngine                  no container engine answers
│   ├── EngineFailed              the engine refused, went away, or lost a container
│   ├── ImageNotFound             the image is not here and cannot be had
│   ├── ImageCannotTrain      2   the image has no `train`
│   └── DiskFull                  a disk has no room
├── AccountCannot             3   the AWS account, or our way to it, lacks something
├── StrictRefused             6   --strict, and the ledger has fields with no effect here
├── Left                    130   whoever followed a job in the cloud left it; it goes on
└── Interrupted             130   a stop before the job began
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

COMPLETED, FAILED, STOPPED, OVERRAN = 0, 1, 4, 5


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: where (a key, a field or a file), and what is allowed there."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" if self.where else self.what


class HomeportError(Exception):
    """What, where, why and what to do next, ready to be printed."""

    exit_code = 1


class JobRefused(HomeportError):
    """The job cannot be what was asked for; carries every fault that was found."""

    exit_code = 2

    def __init__(self, subject: str, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        super().__init__("\n".join([f"{subject}: {count}", *(f"  {fault}" for fault in self.faults)]))


class NameTaken(JobRefused):
    """Another job has the name."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(name, [Fault("TrainingJobName", f"is taken: {why}")])


class MachineCannot(HomeportError):
    """This machine lacks what the job needs; the job itself may be right."""

    exit_code = 3


class NoEngine(MachineCannot):
    """No container engine answers."""

    def __init__(self, tried: Sequence[str]) -> None:
        places = "".join(f"\n  {place}" for place in tried)
        super().__init__(
            f"no container engine answers. Tried:{places}\n"
            "Start Docker, Podman or Colima, name its socket in DOCKER_HOST, or run: docker/engine.sh"
        )


class EngineFailed(MachineCannot):
    """The engine refused something, went away, or lost a container: no fault of the job, which may be tried again."""


class ImageNotFound(MachineCannot):
    """The image is not on this machine and no registry gives it."""

    def __init__(self, reference: str, why: str) -> None:
        super().__init__(f"image {reference}: not on this machine, and {why}. {_remedy(reference)}")


def _remedy(reference: str) -> str:
    ours = reference.startswith("homeport/")
    return f"Build it: {how_to_build(reference)}" if ours else "Check the name, or pull it first."


def how_to_build(reference: str) -> str:
    """The command that makes an image of ours."""
    name, _, processor = reference.removeprefix("homeport/").partition(":")
    return f"docker/image.sh {name} gpu" if processor == "gpu" else "make images"


class ImageCannotTrain(MachineCannot):
    """The engine found no program of the name the job starts."""

    exit_code = 2

    def __init__(self, reference: str, why: str) -> None:
        super().__init__(
            f"image {reference}: the container cannot start: {why}\n"
            "SageMaker runs `IMAGE train`: install sagemaker-training in the image, put an executable `train` on its "
            "PATH, or name another program with container_entry_point."
        )


class DiskFull(MachineCannot):
    """A disk has no room; nothing half-written is left behind."""

    def __init__(self, path: Path, needed: int, free: int) -> None:
        super().__init__(
            f"{path}: no room. {needed / 1e6:,.1f} MB are needed there and {free / 1e6:,.1f} MB are free. "
            "Free some, or write elsewhere: --runs DIRECTORY, or HOMEPORT_CACHE for what is fetched."
        )


class AccountCannot(HomeportError):
    """The AWS account lacks something, or refuses it: credentials, rights, a quota, a stack, an image."""

    exit_code = 3


class StrictRefused(HomeportError):
    """--strict: fields that would change the job in the cloud have no effect here."""

    exit_code = 6

    def __init__(self, fields: Iterable[str]) -> None:
        listed = "\n".join(f"  {field}" for field in fields)
        super().__init__(
            "refused by --strict: these fields change the job in the cloud and have no effect here:\n"
            f"{listed}\nTake them out of the job file, or run without --strict."
        )


class Left(HomeportError):
    """Whoever followed a job in the cloud left it. The job goes on."""

    exit_code = 130


class Interrupted(HomeportError):
    """A stop before there was a job, or while its first container was not there yet."""

    exit_code = 130

    def __init__(self) -> None:
        super().__init__("interrupted before the job began; nothing was left")
