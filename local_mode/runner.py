"""Carry out a RunPlan: start the hosts, follow them, end them, keep what they left. Decides nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from time import monotonic
from typing import TypeVar

from local_mode.checkpoints import Syncing
from local_mode.contents import connect
from local_mode.delivery import deliver
from local_mode.engine import Engine, Host
from local_mode.harness import dead
from local_mode.outputs import Artifacts, collect
from local_mode.plan import HostPlan, RunPlan
from local_mode.preflight import check
from local_mode.preparation import Needs, Prepared, prepared
from local_mode.records import RunRecord, model_uri, run_record
from local_mode.staging import host_archive
from local_mode.supervision import Event, HostEnded, Signal, Supervision, TimePassed
from local_mode.watcher import Watcher
from training_job.errors import HomeportError, Interrupted
from training_job.lifecycle import Exit, Outcome, Transition, conclude, describe
from training_job.metrics import MetricPoint, Metrics

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class FollowerFailed:
    """A host can no longer be followed: the engine is gone."""

    error: BaseException


Events = SimpleQueue[Event | FollowerFailed]


@dataclass
class RunResult:
    """How the run went."""

    plan: RunPlan
    outcome: Outcome
    artifacts: Artifacts
    metrics: Metrics
    seconds: float
    description: dict[str, object]


@dataclass
class _Run:
    """What the steps of one run share."""

    plan: RunPlan
    record: RunRecord
    watcher: Watcher
    events: Events
    metrics: Metrics
    transitions: list[Transition] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    followers: list[threading.Thread] = field(default_factory=list)

    def enter(self, status: str) -> None:
        with self.lock:
            self._enter(status)

    def says(self, text: str) -> None:
        with self.lock:
            self.watcher.says(text)

    def has_started(self) -> None:
        """The first host runs: the job is training."""
        with self.lock:
            if self.transitions[-1].status != "Training":
                self._enter("Training")

    def _enter(self, status: str) -> None:
        self.transitions.append(Transition(status, _now()))
        problem = self.record.entered(self.transitions)
        self.watcher.status(status)
        if problem:
            self.watcher.says(str(problem))

    def follow(self, name: str, host: Host) -> None:
        follower = threading.Thread(target=_follow, args=(self, name, host), daemon=True)
        self.followers.append(follower)
        follower.start()


def run_plan(plan: RunPlan, engine: Engine, watcher: Watcher, events: Events) -> RunResult:
    """Run the job to its end. `events` brings StopAsked from outside; everything started is gone on return."""
    check(plan)
    image = engine.image(plan.image)
    began = monotonic()
    with run_record(plan) as record:
        if swept := dead(engine.owners()):
            engine.remove(swept)
            watcher.swept(swept)
        run = _Run(plan, record, watcher, events, Metrics(plan.job.algorithm_specification.metric_definitions or ()))
        watcher.begins(plan, image)
        run.enter("Starting")
        try:
            with ExitStack() as stack:
                ready = _prepare(run, stack)
                hosts = _start_hosts(run, ready, engine, stack)
                syncing = _keep_in_step(run, ready, hosts, stack)
                supervision = _supervise(run, hosts, syncing)
                if supervision.cause == "exited":
                    run.enter("Uploading")
                artifacts = collect(hosts, record.directory / "output", plan.compressed)
                problem = _take_away(run, syncing, artifacts)
                _tell_unread(run, ready)
        finally:
            # An interruption between the engine's making a thing and our hearing of it leaves nothing either.
            engine.remove([plan.name])
        result = _finish(run, supervision.exits, supervision, artifacts, began)
        if problem:
            raise problem
        return result


def _prepare(run: _Run, stack: ExitStack) -> Prepared:
    if any(channel.mode == "File" for channel in run.plan.channels):
        run.enter("Downloading")

    def failed(error: BaseException) -> None:
        run.events.put(FollowerFailed(error))

    return prepared(run.plan, Needs(run.watcher, lambda: not run.events.empty(), failed, stack))


def _start_hosts(run: _Run, ready: Prepared, engine: Engine, stack: ExitStack) -> dict[str, Host]:
    """The job's network, and on it every host made, filled, started and followed; none waits for another."""
    plan, record = run.plan, run.record
    stack.enter_context(engine.network(plan, record.owner))
    entered: list[AbstractContextManager[Host]] = []
    # Removed side by side too: eight containers one after another take seconds.
    stack.callback(lambda: _all_at_once(entered, lambda context: context.__exit__(None, None, None)))
    if not run.events.empty():
        raise Interrupted
    record.open(host.host for host in plan.hosts)

    def start(host: HostPlan) -> Host:
        host = ready.staged.completed(host)
        context = engine.host(plan, host, record.owner)
        made = context.__enter__()
        entered.append(context)
        made.put(host_archive(host))
        for found in ready.restored:
            made.put(found.archive())
        made.start()
        run.has_started()
        run.follow(host.host, made)
        return made

    started = _all_at_once(plan.hosts, start)
    record.keep(plan)
    with run.lock:
        run.watcher.kept(record.directory)
    return {host.host: container for host, container in zip(plan.hosts, started, strict=True)}


def _keep_in_step(run: _Run, ready: Prepared, hosts: Mapping[str, Host], stack: ExitStack) -> Syncing | None:
    """The kept directories in step with S3 from now on; None where there are none."""
    if not ready.kept or ready.work is None:
        return None
    syncing = Syncing(
        hosts,
        ready.kept,
        work=ready.work,
        rescue=run.record.directory / "rescued",
        told=run.says,
        restored=ready.restored,
    )
    return stack.enter_context(syncing)


def _supervise(run: _Run, hosts: Mapping[str, Host], syncing: Syncing | None) -> Supervision:
    """Do as supervision says until no host runs."""
    supervision = Supervision(hosts, started=monotonic(), max_run=run.plan.max_run)
    while supervision.running:
        event = _next(run.events, supervision.deadline)
        if isinstance(event, FollowerFailed):
            raise event.error
        cause = supervision.cause
        signal = supervision.on(event, monotonic())
        if supervision.cause != cause:
            run.enter("Stopping")
        if signal:
            with run.lock:
                run.watcher.signalled(signal)
            if syncing:
                # A host that is read hears no signal before it was read whole.
                syncing.hold()
            _send(signal, hosts)
    for follower in run.followers:
        follower.join()
    return supervision


def _send(signal: Signal, hosts: Mapping[str, Host]) -> None:
    _all_at_once(signal.hosts, lambda name: hosts[name].signal(signal.name))


def _follow(run: _Run, name: str, host: Host) -> None:
    """Relay a host's log to its very end, then say that it has ended. Whatever goes wrong is raised by the waiter."""
    try:
        for line in host.log():
            with run.lock:
                _keep(run, name, line)
        ended = host.wait()
    except BaseException as error:
        run.events.put(FollowerFailed(error))
    else:
        run.events.put(HostEnded(name, ended.code, ended.out_of_memory))


def _keep(run: _Run, name: str, line: bytes) -> None:
    run.record.line(name, line)
    run.watcher.line(name, line)
    for point in run.metrics.read(line.decode(errors="replace"), _now(), name):
        run.record.metric(point)


def _take_away(run: _Run, syncing: Syncing | None, artifacts: Artifacts) -> HomeportError | None:
    """The last of the kept directories and the artifacts to where they go; what hindered it, once all was tried."""
    steps = (lambda: _keep_last(run, syncing), lambda: _deliver(run, artifacts))
    problems = [problem for step in steps if (problem := _tried(step))]
    for other in problems[1:]:
        run.says(str(other))
    return problems[0] if problems else None


def _tried(step: Callable[[], None]) -> HomeportError | None:
    try:
        step()
    except HomeportError as error:
        return error
    return None


def _keep_last(run: _Run, syncing: Syncing | None) -> None:
    for path, count in (syncing.finish() if syncing else {}).items():
        run.says(f"{path}: {count.uploaded:,} files kept, {count.size / 1e6:,.1f} MB, {count.deleted:,} deleted")


def _deliver(run: _Run, artifacts: Artifacts) -> None:
    where = run.plan.delivery
    if where:
        deliver(artifacts, connect(where.bucket), where.uri.key)
        run.says(f"the artifacts are at {where.uri}/")


def _tell_unread(run: _Run, ready: Prepared) -> None:
    for host, channel in ready.pipes.unread if ready.pipes else ():
        run.says(f"{host} never opened {channel}_0")


def _finish(run: _Run, exits: list[Exit], supervision: Supervision, artifacts: Artifacts, began: float) -> RunResult:
    outcome = conclude(exits, supervision.cause, artifacts.failures)
    run.transitions.append(Transition(outcome.secondary_status, _now()))
    description = describe(
        run.plan.job.request(),
        arn=run.plan.arn,
        transitions=run.transitions,
        outcome=outcome,
        end=_now(),
        metrics=list[MetricPoint](run.metrics.final.values()),
        model_artifacts=model_uri(run.plan, artifacts.model),
    )
    run.record.describe(description)
    if problem := run.record.ends(description, outcome.exit_code):
        run.says(str(problem))
    run.watcher.status(outcome.secondary_status)
    return RunResult(run.plan, outcome, artifacts, run.metrics, monotonic() - began, description)


def _next(events: Events, deadline: float | None) -> Event | FollowerFailed:
    try:
        return events.get(timeout=None if deadline is None else max(0.0, deadline - monotonic()))
    except Empty:
        return TimePassed()


def _all_at_once(things: Sequence[T], do: Callable[[T], R]) -> list[R]:
    """`do` for all side by side; every one is finished before the first error is raised."""
    with ThreadPoolExecutor(max_workers=len(things) or 1) as pool:
        futures = [pool.submit(do, thing) for thing in things]
    return [future.result() for future in futures]


def _now() -> datetime:
    return datetime.now(UTC)
