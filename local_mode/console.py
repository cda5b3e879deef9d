"""Words for people: how a run goes, what a plan holds, what this machine has. Plain text, one writer."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from local_mode.buckets import Folder, find_bucket
from local_mode.engine import Image
from local_mode.machine import Machine
from local_mode.outputs import Artifacts
from local_mode.place import Place
from local_mode.plan import RunPlan, describe_gpus
from local_mode.progress import Progress
from local_mode.runner import RunResult
from local_mode.supervision import Signal
from local_mode.terminal import Stream
from training_job import instance_types
from training_job.errors import how_to_build
from training_job.log_text import duration, lines_text
from training_job.secret_names import masked

_STATUS_OF_AN_END = ("Completed", "Failed", "Stopped", "MaxRuntimeExceeded", "MaxWaitTimeExceeded")
_ENDS_A_LINE = ("Training", "Interrupted", "Stopping")


class Console:
    """The watcher that a person reads. `job_file` is named in the command that tells more; `kept` hears where the job's
    folder is once it stays."""

    def __init__(
        self, job_file: str, machine: Machine, stream: Stream, kept: Callable[[Path], None] = lambda _: None
    ) -> None:
        self._job_file = job_file
        self._machine = machine
        self._stream = stream
        self._kept = kept
        self._mid_line = False
        self._fetch: Progress | None = None

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._fetch_ends()
        if error is not None:
            self._settle()

    def begins(self, plan: RunPlan, image: Image) -> None:
        """The header: what runs on what, with which data, and what differs from the cloud."""
        groups = " + ".join(f"{group.instance_type} × {group.instance_count}" for group in plan.job.instance_groups)
        self._say(f"{plan.name} · {groups} · {plan.image} {image.digest[:15]}")
        for mount in plan.hosts[0].mounts:
            access = "read-only" if mount.read_only else "read and write"
            channel = mount.target.rpartition("/")[2]
            self._say(f"  {channel:<12} {_near(mount.source)} as {mount.stands_for}, {access}")
        if share := describe_gpus([host.gpus for host in plan.hosts], self._machine):
            self._say(f"  {'GPUs':<12} {share}")
        kinds = Counter(entry.kind for entry in plan.ledger)
        self._say(
            f"  {'differs':<12} {kinds['emulated']} emulated, {kinds['recorded']} recorded: "
            f"homeport-local plan {self._job_file}"
        )

    def kept(self, directory: Path) -> None:
        """Said nowhere; whoever waits for it hears of it."""
        self._kept(directory)

    def swept(self, jobs: list[str]) -> None:
        """What an earlier run left, removed."""
        self._say(f"removed what killed runs had left: {', '.join(jobs)}")

    def staged(self, channel: str, what: str) -> None:
        """Which data a channel is, once it is ready."""
        self._fetch_ends()
        self._say(f"  {channel:<12} {what}")

    def says(self, text: str) -> None:
        """A line."""
        self._say(f"  {text}")

    def fetching(self, objects: int, size: int) -> None:
        """A bar on a terminal, a line for every tenth elsewhere."""
        self._settle()
        self._fetch = Progress("  data", self._stream)
        self._fetch.fetching(objects, size)

    def fetched(self, size: int) -> None:
        """It is further on."""
        if self._fetch is not None:
            self._fetch.fetched(size)

    def status(self, status: str) -> None:
        """`Starting · Training` on one line; an end is told by `ends`."""
        if status in _STATUS_OF_AN_END:
            return
        self._write(f" · {status}" if self._mid_line else status)
        self._mid_line = True
        if status in _ENDS_A_LINE:
            self._settle()

    def wrote(self, host: str, lines: bytes) -> None:
        """Lines of a host's log, each with its host, and the rank where mpirun said which."""
        self._write(lines_text(host, lines))

    def signalled(self, signal: Signal) -> None:
        """Why the log goes quiet, and what a person can do about it."""
        then = "; SIGKILL follows, at once on Ctrl-C" if signal.name == "SIGTERM" else ""
        self._say(f"{signal.name} sent to {', '.join(signal.hosts)}{then}")

    def ends(self, result: RunResult) -> None:
        """Status, duration, why it failed, the final metrics, where the model is, what the cloud would bill."""
        outcome = result.outcome
        self._write(" · " if self._mid_line else "")
        self._mid_line = False
        self._say(f"{outcome.secondary_status} in {duration(result.seconds)}")
        if result.plan.limits.interruptions:
            self._say(f"  {_work_lost(result)}")
        if outcome.failure_reason is not None:
            self._say(f"  {outcome.failed_host} failed first: its log is {result.plan.run_directory}/logs")
            self._say("\n".join(f"  {line}" for line in outcome.failure_reason.splitlines()))
        for point in result.metrics.final.values():
            self._say(f"  {point.name} {point.value:g}")
        for name in result.metrics.silent:
            self._say(f"  {name}: no line matched its regex")
        for name in sorted(result.metrics.too_slow):
            self._say(f"  {name}: its regex was dropped: it could not decide a line in time")
        if result.artifacts:
            self._left(result.artifacts)
        for text in _bill(result.plan):
            self._say(text)

    def _left(self, artifacts: Artifacts) -> None:
        for collision in artifacts.collisions:
            writers = f"was written by {', '.join(collision.hosts)}; {collision.hosts[0]}'s was kept"
            self._say(f"  {collision.archive}: {collision.path} {writers}")
        empty = "" if artifacts.model_files else ": empty, nothing was saved in /opt/ml/model"
        self._say(f"  model  {_near(artifacts.model)} ({artifacts.model_size / 1e6:.1f} MB{empty})")
        if artifacts.output_files:
            self._say(f"  output {_near(artifacts.output)}")

    def _fetch_ends(self) -> None:
        if self._fetch is not None:
            self._fetch.close()
        self._fetch = None

    def _settle(self) -> None:
        """End a line that was begun."""
        if self._mid_line:
            self._write("\n")
        self._mid_line = False

    def _say(self, text: str) -> None:
        self._settle()
        self._write(f"{text}\n")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def plan_text(plan: RunPlan, machine: Machine) -> str:
    """The plan for a person: every host with what it finds, then the ledger."""
    lines = [f"{plan.name} · {plan.image} · network {plan.network}{', isolated' if plan.isolated else ''}"]
    for host in plan.hosts:
        shown = masked(host.to_json())
        started = " ".join([*(host.entrypoint or ()), *host.command])
        lines.append(f"{host.host} · {host.hostname} · {started}")
        lines += [
            f"  {mount.target}  {mount.source} as {mount.stands_for}{', read-only' if mount.read_only else ''}"
            for mount in host.mounts
        ]
        lines += [f"  {path}  {json.dumps(content, separators=(',', ':'))}" for path, content in shown["files"].items()]
        lines += [f"  {name}={value}" for name, value in shown["environment"].items()]
    if share := describe_gpus([host.gpus for host in plan.hosts], machine):
        lines.append(f"GPUs {share}")
    lines.append("What becomes of each field here:")
    width = max(len(entry.field) for entry in plan.ledger)
    for kind in ("honoured", "emulated", "recorded"):
        lines += [f"  {kind:<9} {entry.field:<{width}}  {entry.how}" for entry in plan.ledger if entry.kind == kind]
    return "\n".join(lines)


def doctor_text(machine: Machine, place: Place, images: Iterable[tuple[str, bool]]) -> str:
    """What this machine has, for a person."""
    lines = [
        f"engine       {machine.engine}{', rootless' if machine.rootless else ''}",
        f"cores        {machine.cores}",
        f"memory       {machine.memory / 2**30:.1f} GiB",
        f"GPUs         {_gpus(machine) or 'none: jobs for GPU instances get virtual ones'}",
        f"place        {place.file or 'no homeport.toml at or above this folder'}",
        f"runs         {place.runs}",
    ]
    for name, system in place.file_systems.items():
        path = place.path(system.path)
        lines.append(f"file system  {name}: {path}{'' if path.is_dir() else ' (not there)'}")
    for name in place.buckets:
        bucket = find_bucket(name, place)
        if isinstance(bucket, Folder):
            lines.append(f"bucket       {name}: {bucket.path}{'' if bucket.path.is_dir() else ' (not there)'}")
        elif bucket:
            lines.append(f"bucket       {name}: S3 at {bucket.url or bucket.region}")
    lines.append(f"cache        {place.cache}, at most {place.cache_bytes / 1e9:g} GB")
    lines.append(f"jobs         {place.state}")
    lines += [f"image        {name}{'' if there else f': not built; {how_to_build(name)}'}" for name, there in images]
    return "\n".join(lines)


def _gpus(machine: Machine) -> str:
    return ", ".join(f"{gpu} (held by {machine.held[gpu]})" if gpu in machine.held else gpu for gpu in machine.gpus)


def _work_lost(result: RunResult) -> str:
    """What interruptions cost, and which of those that were asked for did not come."""
    came, asked = len(result.interruptions), len(result.plan.limits.interruptions)
    lost = duration(sum(interruption.seconds_lost for interruption in result.interruptions))
    ended = "; it ended before the next" if came < asked else ""
    return f"interrupted {came} of {asked} times: {lost} of work lost in all{ended}"


def _near(path: str | os.PathLike[str]) -> str:
    """A path from here, where that is shorter."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)


def _bill(plan: RunPlan) -> list[str]:
    groups = [(group.instance_type, group.instance_count) for group in plan.job.instance_groups]
    total = instance_types.price_per_hour(groups)
    if total is None:
        return []
    names = " + ".join(f"{name} × {count}" for name, count in groups)
    return [
        f"  in the cloud: the same job on {names} bills ${total:,.2f} an hour "
        f"(price of {instance_types.PRICES_OF}, table in training_job/instance_types.py)"
    ]
