"""push: the job's image to the account's registry, and what it is called there."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime

from cloud.aws import Aws
from cloud.commands import read
from cloud.engine_images import EngineImages
from cloud.place import CloudPlace
from cloud.pushing import Pushed, push_image
from cloud.rehearsals import keep_pushed, rehearsed
from cloud.stack_outputs import read_account
from cloud.transfer_progress import TransferProgress


def run(asked: argparse.Namespace) -> int:
    """Send the image, unless it is there, and say by which digest; its exit code. The digest alone is on stdout."""
    job, place = read(asked)
    aws = Aws(place.region)
    account = read_account(aws, place)
    with TransferProgress("push", sys.stderr) as progress:
        pushed = push_image(
            job, account, aws, EngineImages.connect, progress, stack=place.written.stack_name, tag=asked.tag
        )
    if pushed is None:
        print(
            f"{asked.job}: SageMaker takes its image from where it is named; there is nothing to send", file=sys.stderr
        )
        return 0
    for line in _told(pushed, place):
        print(line, file=sys.stderr)
    print(pushed.image.by_digest)
    return 0


def _told(pushed: Pushed, place: CloudPlace) -> list[str]:
    """What came of it, and whether the image has been rehearsed; a run that did is told of where its image is now."""
    image = pushed.image
    named = image.by_tag if image.tag else image.by_digest
    lines = [f"created      repository {image.repository} in {image.host}"] if pushed.created else []
    lines.append(f"{'sent' if pushed.sent else 'there already':<12} {named}")
    rehearsal = rehearsed(image.id, place.runs)
    if rehearsal is None:
        return [*lines, "rehearsed    no run here has completed with this image: homeport-local train JOB"]
    keep_pushed(image, rehearsal, datetime.now(UTC).isoformat())
    return [*lines, f"rehearsed    {rehearsal.name}"]
