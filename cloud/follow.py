"""Follow a job to its end: its statuses with their messages, and every host's log, each line once.

Whatever hinders a look is waited out: throttling, faults of the service, a network that is gone for a while. Between
two looks nothing is held but the run's folder, so whoever is killed goes on where the folder says.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from cloud.aws import Aws
from cloud.aws_errors import BOTOCORES, ClientError, CredentialsExpired, explained, is_passing
from cloud.log_streams import Page, list_streams, merged, read_page
from cloud.run_folder import Progress, RunFolder
from training_job.errors import AccountCannot

ENDED = ("Completed", "Failed", "Stopped")
INTERVAL_SECONDS = 3.0
SETTLE_SECONDS = 15.0
"""How long logs may lag behind the end of the job; CloudWatch promises no bound."""
LATE_SECONDS = 60.0
"""The same for a host that trained and has no stream yet."""
PATIENCE_SECONDS = 900.0
"""How long nothing but failures may come back before a person is asked to look."""
_RESTART = ("Interrupted", "Starting", "Restarting")


T = TypeVar("T")


class Watcher(Protocol):
    """Who is told how it goes."""

    def transition(self, status: str, message: str) -> None:
        """The job is somewhere else, or says something else about where it is."""

    def lines(self, lines: Sequence[tuple[str, bytes]]) -> None:
        """Lines with their hosts, in order."""

    def hindered(self, why: str) -> None:
        """A look failed, and will be tried again."""


class Wishes(Protocol):
    """What the person at the terminal wants meanwhile."""

    def pause(self, seconds: float) -> None:
        """Wait, or until something is wished."""

    def stop_wanted(self) -> bool:
        """Whether the job is to be stopped, asked once. Raises Left to leave it."""

    def renewed(self, problem: CredentialsExpired) -> None:
        """Return once there may be new credentials. Raises CredentialsExpired where nobody can give any."""


@dataclass
class Follower:
    """One job being followed. `clock` counts seconds."""

    job: str
    aws: Aws
    folder: RunFolder
    watcher: Watcher
    wishes: Wishes
    clock: Callable[[], float] = time.monotonic
    _told: list[tuple[str, str]] = field(default_factory=list)
    _streams: list[str] = field(default_factory=list)
    _quiet_since: float | None = None
    _failing_since: float | None = None
    _expired: bool = False
    _stopping: bool = False

    def follow(self) -> dict[str, Any]:
        """DescribeTrainingJob's answer once the job has ended and its logs are whole.

        Raises Left; CredentialsExpired; AccountCannot where AWS does not answer any more.
        """
        with self.folder.followed() as progress:
            self.watcher.lines(list(self.folder.kept()))
            while True:
                try:
                    self._stopping = self._stopping or self.wishes.stop_wanted()
                    if self._stopping:
                        self._asked(lambda: stop(self.aws, self.job))
                        self._stopping = False
                    answer = self._look(progress)
                except CredentialsExpired as problem:
                    self._renew(problem)
                    continue
                except BOTOCORES as error:
                    self._wait_out(error)
                    continue
                self._failing_since, self._expired = None, False
                if answer is not None:
                    return answer
                self.wishes.pause(INTERVAL_SECONDS)

    def _look(self, progress: Progress) -> dict[str, Any] | None:
        """One look at everything; the answer where it was the last."""
        answer = self._asked(lambda: self.aws("sagemaker").describe_training_job(TrainingJobName=self.job))
        restarted = self._tell(answer.get("SecondaryStatusTransitions", []))
        if restarted or len(self._streams) < _hosts(answer) or _has_ended(answer):
            self._streams = self._asked(lambda: list_streams(self.aws, self.job))
        fresh = self._read(progress)
        if not _has_ended(answer):
            return None
        now = self.clock()
        if fresh or self._quiet_since is None:
            self._quiet_since = now
        lacking = "TrainingStartTime" in answer and len(self._streams) < _hosts(answer)
        return answer if now - self._quiet_since >= (LATE_SECONDS if lacking else SETTLE_SECONDS) else None

    def _tell(self, transitions: Sequence[Mapping[str, Any]]) -> bool:
        """Say what is new; whether the hosts were started anew."""
        restarted = False
        for index, step in enumerate(transitions):
            told = (step["Status"], step.get("StatusMessage", ""))
            if self._told[index : index + 1] != [told]:
                self._told[index:] = [told]
                self.watcher.transition(*told)
                restarted = restarted or told[0] in _RESTART
        return restarted

    def _read(self, progress: Progress) -> bool:
        """Keep and say every line that is there; whether there was any."""
        fresh = False
        open_streams = list(self._streams)
        while open_streams:
            pages = [self._page(stream, progress) for stream in open_streams]
            self._keep(pages, progress)
            fresh = fresh or any(page.lines for page in pages)
            open_streams = [page.stream for page in pages if not page.last]
        return fresh

    def _page(self, stream: str, progress: Progress) -> Page:
        return self._asked(lambda: read_page(self.aws, stream, progress))

    def _keep(self, pages: Sequence[Page], progress: Progress) -> None:
        lines: dict[str, list[bytes]] = {}
        for page in pages:
            lines.setdefault(page.host, []).extend(line for _, line in page.lines)
            progress.tokens[page.stream] = page.token
            progress.events[page.stream] = progress.events.get(page.stream, 0) + len(page.lines)
        self.folder.keep(lines, progress)
        self.watcher.lines(list(merged(pages)))

    def _asked(self, ask: Callable[[], T]) -> T:
        """An answer; expired credentials as such, what passes as botocore raised it, anything else explained."""
        try:
            return ask()
        except BOTOCORES as error:
            if is_passing(error):
                raise
            raise explained(error, f"following {self.job}", self.aws.region) from None

    def _renew(self, problem: CredentialsExpired) -> None:
        """Look for new credentials, by ourselves at first."""
        if self._expired:
            self.wishes.renewed(problem)
        self._expired = True
        self.aws.renew()

    def _wait_out(self, error: Exception) -> None:
        now = self.clock()
        if self._failing_since is None:
            self._failing_since = now
            self.watcher.hindered(str(explained(error, "AWS", self.aws.region)))
        if now - self._failing_since > PATIENCE_SECONDS:
            problem = explained(error, f"following {self.job}", self.aws.region)
            raise AccountCannot(f"{problem}. {how_to_go_on(self.job)}")
        self.wishes.pause(INTERVAL_SECONDS)


def stop(aws: Aws, job: str) -> None:
    """StopTrainingJob. That it has ended meanwhile is no error; botocore's other errors pass."""
    try:
        aws("sagemaker").stop_training_job(TrainingJobName=job)
    except ClientError as error:
        if "status" not in str(error):
            raise


def how_to_go_on(job: str) -> str:
    """What to do where following ends before the job."""
    return f"The job goes on. Follow it: homeport-cloud logs {job} --follow · stop it: homeport-cloud stop {job}"


def _has_ended(answer: Mapping[str, Any]) -> bool:
    return answer["TrainingJobStatus"] in ENDED


def _hosts(answer: Mapping[str, Any]) -> int:
    resources = answer.get("ResourceConfig", {})
    groups = resources.get("InstanceGroups") or [resources]
    return sum(group.get("InstanceCount", 0) for group in groups)
