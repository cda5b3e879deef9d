"""train: the account and the image, the request, the checks before money goes; then send it, follow it, fetch it."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TextIO

from cloud.answers import ask_account, caller, job_status
from cloud.artifacts import fetch
from cloud.aws import Aws
from cloud.aws_errors import told
from cloud.console import Console
from cloud.follow import Follower, how_to_go_on
from cloud.found_image import FoundImage, find_image
from cloud.place import CloudPlace
from cloud.plan_text import header, price_lines
from cloud.preflight import judge
from cloud.request import Request, checked, create_training_job_request
from cloud.run_folder import RunFolder, Sent
from cloud.source import Source
from cloud.stack_outputs import read_account
from cloud.submit import Undecided, create
from cloud.terminal import Terminal
from training_job.errors import COMPLETED, FAILED, OVERRAN, STOPPED, Fault, HomeportError, JobRefused
from training_job.model import TrainingJob
from training_job.script_mode import SOURCE_CHANNEL
from training_job.secret_names import masked

_OVERRUNS = ("MaxRuntimeExceeded", "MaxWaitTimeExceeded")


@dataclass(frozen=True)
class _Trip:
    """A job on its way to the cloud."""

    job: TrainingJob
    place: CloudPlace
    aws: Aws
    console: Console
    folder: RunFolder


def train(job: TrainingJob, place: CloudPlace, asked: argparse.Namespace, stream: TextIO) -> int:
    """Send the job, unless it was sent from here and goes on; its exit code, 0 at once with --no-wait."""
    name = job.training_job_name
    trip = _Trip(job, place, Aws(place.region), Console(stream), RunFolder(place.runs / name))
    if trip.folder.unfinished and _is_there(trip):
        trip.console.says(f"{name} was sent already, and is followed from where that ended")
    else:
        _send(trip, required=asked.require_rehearsed)
    if not asked.wait:
        trip.console.says(how_to_go_on(name))
        return 0
    return follow_to_end(name, trip.aws, trip.folder, trip.console, as_json=asked.json)


def follow_to_end(job: str, aws: Aws, folder: RunFolder, console: Console, *, as_json: bool = False) -> int:
    """Follow a job, keep how it ended, fetch what it left; its exit code as a run here has it."""
    with Terminal(job) as terminal:
        answer = Follower(job, aws, folder, console, terminal).follow()
    described = as_values(answer)
    artifacts = fetch(aws, described, folder.output, aws.region)
    folder.ended(described)
    console.ends(described, artifacts)
    if as_json:
        print(json.dumps(masked(described), indent=2))
    return exit_code(described)


def exit_code(answer: Request) -> int:
    """0 completed, 1 failed, 4 stopped, 5 ran past its time."""
    if answer.get("SecondaryStatus") in _OVERRUNS:
        return OVERRAN
    return {"Completed": COMPLETED, "Failed": FAILED}.get(str(answer["TrainingJobStatus"]), STOPPED)


def as_values(answer: Request) -> Request:
    """An answer as JSON has it, times in ISO 8601, without the answer's own headers."""
    told = {name: value for name, value in answer.items() if name != "ResponseMetadata"}
    plain: Request = json.loads(json.dumps(told, default=lambda time: time.isoformat()))
    return plain


def _is_there(trip: _Trip) -> bool:
    """Whether there is a job of this name: the one whose sending was not seen to its end."""
    with told(f"looking for {trip.job.training_job_name}", trip.place.region):
        return isinstance(job_status(trip.aws, trip.job.training_job_name), str)


def _send(trip: _Trip, *, required: bool) -> None:
    trip.folder.check()
    whose = caller(trip.aws, trip.place.region)
    account = read_account(trip.aws, trip.place)
    image = find_image(trip.job, account, trip.aws, trip.place.runs)
    source = Source.of(trip.job)
    request = create_training_job_request(
        trip.job,
        account,
        stack=trip.place.written.stack_name,
        image=image.uri,
        source=source.prefix(account.bucket) if source else None,
    )
    _check(trip, checked(request), whose, image)
    _say_rehearsed(trip, image, required=required)
    trip.console.says(header(trip.job, image.uri or "", trip.place))
    for line in price_lines(trip.job):
        trip.console.says(f"  {line}")
    if source:
        _upload(trip, source, account.bucket)
    when = datetime.now(UTC).isoformat()
    sent = Sent(trip.place.region, account.account_id, image.uri or "", image.image_id, image.rehearsal, when)
    trip.folder.begin(request, sent)
    try:
        create(trip.aws, request, trip.place.region)
    except Undecided:
        raise
    except HomeportError:
        trip.folder.forget()
        raise


def _check(trip: _Trip, job: TrainingJob, whose: str, image: FoundImage) -> None:
    """Raise AccountCannot with everything that would keep the job from running; say what could not be looked at."""
    # The source is sent after the checks.
    channels = tuple(each for each in job.channels if each.channel_name != SOURCE_CHANNEL or not trip.job.source_dir)
    looked_at = job.model_copy(update={"input_data_config": channels})
    region = trip.place.region
    answers = ask_account(trip.aws, looked_at, whose=whose, region=region, image=image.problem)
    verdict = judge(looked_at, answers, region=region)
    for unknown in verdict.unknown:
        trip.console.says(f"  {unknown}")
    verdict.check(job.training_job_name)


def _say_rehearsed(trip: _Trip, image: FoundImage, *, required: bool) -> None:
    """Raises JobRefused where no run here has completed with the image, and one is required."""
    if image.rehearsal:
        trip.console.says(f"  rehearsed    {image.rehearsal} completed here with this image")
        return
    what = "no run here has completed with this image. Rehearse it: homeport-local train JOB"
    if required:
        raise JobRefused(trip.job.training_job_name, [Fault("--require-rehearsed", what)])
    trip.console.says(f"  rehearsed    {what}")


def _upload(trip: _Trip, source: Source, bucket: str) -> None:
    with told("sending the source", trip.place.region):
        sent = source.upload(trip.aws, bucket)
    trip.console.says(f"  source       {source.prefix(bucket)} ({'sent' if sent else 'was there'})")
