"""Which run here an image has completed, and what became of the image, written into that run's record."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from cloud.images import RegistryImage
from cloud.run_folder import read_json

_PUSHED = "pushed.json"


@dataclass(frozen=True)
class Rehearsal:
    """A run on this machine that completed."""

    name: str
    directory: Path
    ended: str
    """ISO 8601, as the run's describe.json has it."""


def rehearsed(image_id: str, runs: Path) -> Rehearsal | None:
    """The last run below `runs` that completed with this image, by the engine's id of it; None where there is none."""
    found = (_rehearsal(plan.parent, image_id) for plan in runs.glob("*/plan.json"))
    return max((each for each in found if each), key=lambda run: run.ended, default=None)


def keep_pushed(image: RegistryImage, rehearsal: Rehearsal, now: str) -> None:
    """Write into the run's folder which digest of which registry its image has there; `now` is ISO 8601."""
    content = {"Image": image.by_digest, "Tag": image.tag, "Digest": image.digest, "ImageId": image.id, "PushedAt": now}
    target = rehearsal.directory / _PUSHED
    part = target.with_name(f".{_PUSHED}.new")
    part.write_text(f"{json.dumps(content, indent=2)}\n")
    part.replace(target)


def _rehearsal(directory: Path, image_id: str) -> Rehearsal | None:
    plan, answer = read_json(directory / "plan.json"), read_json(directory / "describe.json")
    if plan.get("image_id") != image_id or answer.get("TrainingJobStatus") != "Completed":
        return None
    return Rehearsal(directory.name, directory, str(answer.get("TrainingEndTime", "")))
