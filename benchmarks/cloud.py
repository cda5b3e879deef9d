"""How quickly a job in the cloud is planned, and whether following it keeps up with what serves its logs, on loopback.

A plan is timed as a whole command, in wall time and in time of the processor, which a busy machine stretches less. The
logs are those of four hosts, in moto's CloudWatch in a process of its own. Its floor is boto3 alone that reads the same
pages and throws them away; following keeps every line in the run's folder and prints it besides.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

import boto3

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from cloud.aws import ONLY_LOOPBACK, Aws  # noqa: E402
from cloud.console import Console  # noqa: E402
from cloud.follow import Follower  # noqa: E402
from cloud.log_streams import GROUP  # noqa: E402
from cloud.run_folder import RunFolder  # noqa: E402
from cloud.terminal import Terminal  # noqa: E402
from tests.cloud.sagemaker_front import Front, Job, served  # noqa: E402

HOSTS = 4
LINES = 200_000
REGION = "us-west-2"
PLAN_SECONDS = 0.5
FOLLOW_TIMES = 1.5
"""The time of the floor that following may take."""
_BATCH = 10_000
_GOES = 5
_JOB = "many-lines"


def main() -> int:
    """Print what was measured; 1 where a promise is not kept."""
    wall, processor = planned()
    print(f"homeport-cloud plan   {wall:.2f} s, of the processor {processor:.2f} s (at most {PLAN_SECONDS} s)")
    with serving() as url, tempfile.TemporaryDirectory() as folder:
        os.environ |= {"AWS_ENDPOINT_URL": url, ONLY_LOOPBACK: "1", "AWS_EC2_METADATA_DISABLED": "true"}
        os.environ |= {"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "homeport-secret"}
        floor = read_alone()
        seconds, kept = followed(Path(folder))
    rate = f"{LINES / seconds:,.0f} lines a second"
    print(f"boto3 reads {LINES:,} lines of {HOSTS} hosts and throws them away   {floor:.1f} s")
    print(f"following keeps and prints them   {seconds:.1f} s, {rate} ({seconds / floor:.2f} of that; {kept:,} kept)")
    return 0 if kept == LINES and seconds <= FOLLOW_TIMES * floor and processor <= PLAN_SECONDS else 1


def planned() -> tuple[float, float]:
    """The median of whole commands: wall seconds, and seconds of the processor."""
    goes = []
    for _ in range(_GOES):
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        command = [sys.executable, "-m", "cloud", "plan", "entrypoints/cifar10/horovod.toml"]
        subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        goes.append((seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime))
    return median(wall for wall, _ in goes), median(processor for _, processor in goes)


def read_alone() -> float:
    """Seconds that boto3 takes to read every page of every stream."""
    logs = boto3.Session(region_name=REGION).client("logs")
    began = time.monotonic()
    for host in range(HOSTS):
        token: dict[str, str] = {}
        while True:
            answer = logs.get_log_events(
                logGroupName=GROUP, logStreamName=stream_of(host), startFromHead=True, limit=_BATCH, **token
            )
            if token == {"nextToken": answer["nextForwardToken"]}:
                break
            token = {"nextToken": answer["nextForwardToken"]}
    return time.monotonic() - began


def followed(folder: Path) -> tuple[float, int]:
    """Seconds until every line is in the run's folder and printed, and how many are."""
    run = RunFolder(folder / _JOB)
    reached: list[float] = []

    class Watching(Console):
        """Notes when the last line came: what follows is waiting for late ones."""

        def lines(self, lines: list[tuple[str, bytes]]) -> None:  # type: ignore[override]
            super().lines(lines)
            if lines:
                reached.append(time.monotonic())

    began = time.monotonic()
    with Path(os.devnull).open("w") as nowhere, Terminal(_JOB, interactive=False) as terminal:
        Follower(_JOB, Aws(REGION), run, Watching(nowhere), terminal).follow()
    return reached[-1] - began, sum(log.read_bytes().count(b"\n") for log in run.logs.glob("*.log"))


@contextmanager
def serving() -> Iterator[str]:
    """The stand-in in a process of its own, with a job that has ended and said it all."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs,))
    process.start()
    try:
        yield ours.recv()
    finally:
        ours.send("enough")
        process.join()


def serve(parent: Connection) -> None:
    """Fill the logs, then serve until told that it is enough."""
    front = Front()
    with served(front) as url:
        session = boto3.Session("AKIATEST", "homeport-secret", region_name=REGION)
        logs = session.client("logs", endpoint_url=url)
        logs.create_log_group(logGroupName=GROUP)
        now = int(time.time() * 1000) - LINES
        for host in range(HOSTS):
            logs.create_log_stream(logGroupName=GROUP, logStreamName=stream_of(host))
            for start in range(0, LINES // HOSTS, _BATCH):
                numbers = range(start, min(start + _BATCH, LINES // HOSTS))
                events = [{"timestamp": now + n, "message": f"step {n}: loss 0.{n}, 1,234 images/s"} for n in numbers]
                logs.put_log_events(logGroupName=GROUP, logStreamName=stream_of(host), logEvents=events)
        job = front.jobs[_JOB] = Job({}, {"SecondaryStatusTransitions": [], "ResourceConfig": {"InstanceCount": HOSTS}})
        job.ends("Completed")
        parent.send(url)
        parent.recv()


def stream_of(host: int) -> str:
    """A host's stream, as SageMaker calls it."""
    return f"{_JOB}/algo-{host + 1}-1700000000"


if __name__ == "__main__":
    sys.exit(main())
