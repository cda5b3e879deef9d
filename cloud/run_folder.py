"""The folder of a job that runs in the cloud: runs/<job>/, laid out as a run here leaves it.

Lines are kept a page at a time: first the lines, then, in one rename, how far the logs were read and how long the files
are. Whoever goes on after a kill cuts the files back to that length, so no line is lost and none stands there twice.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training_job.errors import Fault, JobRefused, MachineCannot
from training_job.secret_names import masked

_REQUEST, _SENT, _READ, _ANSWER, _LOCK = "request.json", "sent.json", "followed.json", "describe.json", ".follow"


@dataclass(frozen=True)
class Sent:
    """What was sent where. `image_id` is the engine's id of the image, `rehearsal` the run here that completed with
    it, `when` ISO 8601."""

    region: str
    account: str
    image: str
    image_id: str | None = None
    rehearsal: str | None = None
    when: str = ""


@dataclass
class Progress:
    """How far the logs were read: by stream the token that goes on and the events so far, by host the bytes kept."""

    tokens: dict[str, str] = field(default_factory=dict)
    events: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)


class RunFolder:
    """runs/<job>/ of one job."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.logs = directory / "logs"
        self.output = directory / "output"

    @property
    def is_local(self) -> bool:
        """Whether a run on this machine has it."""
        return (self.directory / "plan.json").exists()

    @property
    def unfinished(self) -> bool:
        """Whether a job was sent, or about to be, from here, whose end was not seen yet."""
        return (self.directory / _SENT).exists() and not (self.directory / _ANSWER).exists()

    def check(self) -> None:
        """Raise JobRefused where a run here has the folder."""
        if self.is_local:
            what = f"{self.directory} is the folder of a run on this machine; give another name with --name"
            raise JobRefused(self.directory.name, [Fault("", what)])

    def begin(self, request: Mapping[str, Any], sent: Sent) -> None:
        """Keep what is about to be sent. Raises MachineCannot."""
        with _writing(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
        self._write(_REQUEST, masked(request))
        self._write(_SENT, sent.__dict__)

    def forget(self) -> None:
        """A job that was never created leaves nothing."""
        for name in (_SENT, _REQUEST):
            (self.directory / name).unlink(missing_ok=True)
        # Whatever else is in it is somebody's.
        if self.directory.is_dir() and not any(self.directory.iterdir()):
            self.directory.rmdir()

    def sent(self) -> Sent | None:
        """What was sent from here; None where nothing was."""
        content = read_json(self.directory / _SENT)
        return Sent(**content) if content else None

    def answer(self) -> dict[str, Any]:
        """How the job ended; empty while nobody saw that."""
        return read_json(self.directory / _ANSWER)

    def ended(self, answer: Mapping[str, Any]) -> None:
        """Keep how it ended."""
        self._write(_ANSWER, masked(answer))

    @contextmanager
    def followed(self) -> Iterator[Progress]:
        """How far it was followed, the logs cut to that. Raises MachineCannot while another process follows it."""
        with _writing(self.directory):
            self.logs.mkdir(parents=True, exist_ok=True)
            with (self.directory / _LOCK).open("wb") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    raise MachineCannot(
                        f"{self.directory.name} is followed by another process, which keeps its logs. Look on: "
                        f"tail -F {self.logs}/*.log"
                    ) from None
                progress = Progress(**read_json(self.directory / _READ))
                for log in self.logs.glob("*.log"):
                    os.truncate(log, min(progress.sizes.get(log.stem, 0), log.stat().st_size))
                yield progress

    def kept(self) -> Iterator[tuple[str, bytes]]:
        """The lines that are kept, host by host."""
        for log in sorted(self.logs.glob("*.log"), key=lambda path: host_number(path.stem)):
            with log.open("rb") as lines:
                yield from ((log.stem, line) for line in lines)

    def keep(self, pages: Mapping[str, Sequence[bytes]], progress: Progress) -> None:
        """Append the lines of hosts, then say how far `progress` is with them."""
        with _writing(self.directory):
            for host, lines in pages.items():
                content = b"".join(lines)
                with (self.logs / f"{host}.log").open("ab") as log:
                    log.write(content)
                progress.sizes[host] = progress.sizes.get(host, 0) + len(content)
            self._write(_READ, progress.__dict__)

    def _write(self, name: str, content: Any) -> None:
        target = self.directory / name
        part = target.with_name(f".{name}.part")
        with _writing(target):
            part.write_text(f"{json.dumps(content, indent=2)}\n")
            part.replace(target)


def host_number(host: str) -> tuple[int, str]:
    """`algo-10` comes after `algo-9`."""
    number = host.rpartition("-")[2]
    return int(number) if number.isdigit() else 0, host


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MachineCannot(f"{path} cannot be written: {error.strerror or error}. Write elsewhere: --runs") from None


def read_json(file: Path) -> dict[str, Any]:
    """A file of a run; empty where it is not there, or half of one that a power cut left."""
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
