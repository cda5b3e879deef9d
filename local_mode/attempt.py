"""One attempt of a job: prepare, start the hosts, follow and end them, take away what they left. Decides nothing.

A spot interruption is the end of an attempt, not of the job; a fault of the engine is raised.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from shutil import rmtree
from time import monotonic, time
from typing import TypeVar

from local_mode.aws_identity import borrowed
from local_mode.checkpoints import Moment, Syncing
from local_mode.course import Course, Interruption
from local_mode.credentials import Lender, Lending
from local_mode.engine import Engine, Host
from local_mode.plan import HostPlan
from local_mode.preparation import Needs, Prepared, prepared
from local_mode.staging import host_archive
from local_mode.supervision import Event, HostEnded, Signal, StopAsked, Supervision, TimePassed
from local_mode.taking_away import TakenAway, take_away
from local_mode.usage import Sampled, sampling
from training_job.errors import EngineFailed, Interrupted
from training_job.lifecycle import Cause, Exit, first_failure

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class FollowerFailed:
    """A host can no longer be followed: the engine is gone."""

    error: BaseException


Events = SimpleQueue[Event | FollowerFailed]


@dataclass(frozen=True)
class Ended:
    """How an attempt ended, and what was taken away of it; nothing of one that is repeated or never ran."""

    cause: Cause
    exits: tuple[Exit, ...] = ()
    taken: TakenAway | None = None


def attempt(course: Course, engine: Engine, events: Events) -> Ended:
    """Run the hosts once. `events` brings StopAsked from outside; everything started is gone on return.

    Raises EngineFailed, and whatever else is in the way of the job.
    """
    return _Attempt(course, engine, events).run()


class _Attempt:
    """What the steps of one attempt share."""

    def __init__(self, course: Course, engine: Engine, events: Events) -> None:
        self._course = course
        self._plan = course.plan
        self._engine = engine
        self._events = events
        self._again = bool(course.transitions)
        self._followers: list[threading.Thread] = []
        self._over = False

    def run(self) -> Ended:
        ended: Ended | None = None
        self._course.enter("Starting")
        try:
            with ExitStack() as stack:
                stack.callback(self._clear)
                ended = self._run(stack)
        except Interrupted:
            ended = self._stopped_before_the_start()
        except EngineFailed as error:
            if ended is None:
                raise
            self._course.says(f"not all of the job could be removed; the next run will try again: {error}")
        assert ended
        return ended

    def _run(self, stack: ExitStack) -> Ended:
        if self._is_stopped():
            raise Interrupted
        ready = self._prepare(stack)
        hosts = self._start_hosts(ready, stack)
        syncing = self._keep_in_step(ready, hosts, stack)
        stack.enter_context(self._sampling(hosts))
        started = monotonic()
        try:
            supervision = self._supervise(hosts, syncing, started)
        finally:
            self._course.trained += monotonic() - started
        exits = tuple(supervision.exits)
        if supervision.interrupted:
            self._account(supervision, started, ready, syncing)
            return Ended(supervision.cause, exits)
        if supervision.cause == "exited":
            self._course.enter("Uploading")
        if self._again:
            self._forget_outputs()
        taken = take_away(self._course, hosts, syncing)
        for host, channel in ready.pipes.unread if ready.pipes else ():
            self._course.says(f"{host} never opened {channel}_0")
        return Ended(self._stopped_meanwhile(supervision.cause, exits), exits, taken)

    def _is_stopped(self) -> bool:
        return not self._events.empty() or monotonic() >= self._course.waits_until

    def _prepare(self, stack: ExitStack) -> Prepared:
        if any(channel.mode == "File" for channel in self._plan.channels):
            self._course.enter("Downloading")

        def failed(error: BaseException) -> None:
            self._put(FollowerFailed(error))

        needs = Needs(self._course.watcher, self._is_stopped, failed, stack, restart=self._again)
        return prepared(self._plan, needs)

    def _start_hosts(self, ready: Prepared, stack: ExitStack) -> dict[str, Host]:
        """The job's network, and on it every host made, filled, started and followed; none waits for another."""
        plan, record = self._plan, self._course.record
        stack.enter_context(self._engine.network(plan, record.owner))
        entered: list[AbstractContextManager[Host]] = []
        # Removed side by side too: eight containers one after another take seconds.
        stack.callback(lambda: _all_at_once(entered, lambda context: context.__exit__(None, None, None)))
        lender = Lender(lambda: borrowed(plan.place.region), self._course.says)
        lending = stack.enter_context(Lending(plan.credentials, lender))
        if self._is_stopped():
            raise Interrupted
        if self._again:
            self._course.mark_logs()

        def start(host: HostPlan) -> Host:
            host = ready.staged.completed(host)
            context = self._engine.host(plan, host, record.owner)
            made = context.__enter__()
            entered.append(context)
            made.put(host_archive(host))
            for found in ready.restored:
                made.put(found.archive())
            made.start()
            lending.serve(made)
            self._course.has_started()
            self._follow(host.host, made)
            return made

        started = _all_at_once(plan.hosts, start)
        self._course.kept()
        return {host.host: container for host, container in zip(plan.hosts, started, strict=True)}

    def _keep_in_step(self, ready: Prepared, hosts: Mapping[str, Host], stack: ExitStack) -> Syncing | None:
        """The kept directories in step with S3 from now on; None where there are none."""
        if not ready.kept or ready.work is None:
            return None
        syncing = Syncing(
            hosts,
            ready.kept,
            work=ready.work,
            rescue=self._course.record.directory / "rescued",
            told=self._course.says,
            restored=ready.restored,
        )
        return stack.enter_context(syncing)

    def _sampling(self, hosts: Mapping[str, Host]) -> AbstractContextManager[None]:
        """What the hosts use, written down from now on."""
        sampled = {
            host.host: Sampled(hosts[host.host], host.resources.memory, host.gpus.ids) for host in self._plan.hosts
        }
        return sampling(sampled, self._course.record.usage)

    def _supervise(self, hosts: Mapping[str, Host], syncing: Syncing | None, started: float) -> Supervision:
        """Do as supervision says until no host runs."""
        supervision = Supervision(hosts, self._course.deadlines(started))
        while supervision.running:
            event = _next(self._events, supervision.deadline)
            if isinstance(event, FollowerFailed):
                raise event.error
            cause = supervision.cause
            signal = supervision.on(event, monotonic())
            if supervision.cause != cause:
                self._course.enter("Interrupted" if supervision.cause == "spot interruption" else "Stopping")
            if signal:
                self._course.signalled(signal)
                if syncing:
                    # A host that is read hears no signal before it was read whole.
                    syncing.hold()
                _send(signal, hosts)
        for follower in self._followers:
            follower.join()
        return supervision

    def _forget_outputs(self) -> None:
        """A fault may have come after an earlier attempt's model and before the rest."""
        for folder in ("model", "data"):
            rmtree(self._course.record.directory / "output" / folder, ignore_errors=True)

    def _account(self, supervision: Supervision, started: float, ready: Prepared, syncing: Syncing | None) -> None:
        """How much work an interruption took: all that no checkpoint in the bucket holds, since no pass follows it."""
        since = supervision.ending_since or monotonic()
        moment = Moment(time() - (monotonic() - since), since)
        trained, lost, where = since - started, None, None
        for kept, synced in zip(self._plan.kept, ready.kept, strict=True):
            if kept.resumed and syncing:
                lost, where = syncing.lost(synced, moment, trained), str(kept.uri)
        self._course.interrupted(Interruption(trained, lost, where))

    def _stopped_before_the_start(self) -> Ended:
        """A job that is stopped while it is Starting or Downloading is Stopped, and has left nothing."""
        cause: Cause = "waited too long"
        if not self._events.empty():
            event = self._events.get()
            if isinstance(event, FollowerFailed):
                raise event.error
            cause = event.cause if isinstance(event, StopAsked) else cause
        self._course.enter("Stopping")
        self._course.kept()
        return Ended(cause)

    def _stopped_meanwhile(self, cause: Cause, exits: Sequence[Exit]) -> Cause:
        """A stop that came while a job was Uploading stops it too, as the API has it for every job in progress; one
        that has failed has failed. UNVERIFIED: no published job was stopped then."""
        asked = next((event for event in _waiting(self._events) if isinstance(event, StopAsked)), None)
        if asked is None or cause != "exited" or first_failure(exits):
            return cause
        self._course.enter("Stopping")
        return asked.cause

    def _follow(self, name: str, host: Host) -> None:
        follower = threading.Thread(target=self._relay, args=(name, host), daemon=True)
        self._followers.append(follower)
        follower.start()

    def _relay(self, name: str, host: Host) -> None:
        """Relay a host's log to its very end, then say that it has ended. The waiter raises whatever goes wrong."""
        try:
            for lines in host.log():
                with self._course.lock:
                    if self._over:
                        return
                    self._course.wrote(name, lines)
                self._course.measure(name, lines)
            ended = host.wait()
        except BaseException as error:
            self._put(FollowerFailed(error))
        else:
            self._put(HostEnded(name, ended.code, ended.out_of_memory))

    def _put(self, event: Event | FollowerFailed) -> None:
        with self._course.lock:
            if not self._over:
                self._events.put(event)

    def _clear(self) -> None:
        """Nothing of this attempt is heard any more, and nothing is left of it."""
        with self._course.lock:
            self._over = True
            for event in _waiting(self._events):
                if isinstance(event, StopAsked):
                    self._events.put(event)
        # An interruption between the engine's making a thing and our hearing of it leaves nothing either.
        self._engine.remove([self._plan.name])


def _send(signal: Signal, hosts: Mapping[str, Host]) -> None:
    _all_at_once(signal.hosts, lambda name: hosts[name].signal(signal.name))


def _next(events: Events, deadline: float | None) -> Event | FollowerFailed:
    try:
        return events.get(timeout=None if deadline is None else max(0.0, deadline - monotonic()))
    except Empty:
        return TimePassed()


def _waiting(events: Events) -> list[Event | FollowerFailed]:
    """Every event that is there, taken out."""
    return [events.get() for _ in range(events.qsize())]


def _all_at_once(things: Sequence[T], do: Callable[[T], R]) -> list[R]:
    """`do` for all side by side; every one is finished before the first error is raised."""
    with ThreadPoolExecutor(max_workers=len(things) or 1) as pool:
        futures = [pool.submit(do, thing) for thing in things]
    return [future.result() for future in futures]
