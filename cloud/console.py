"""Words for people about a job in the cloud, as it goes. Plain text, one writer."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, TextIO

from training_job.log_text import duration, lines_text


class Console:
    """The watcher that a person reads. `only`: the one host whose lines are shown."""

    def __init__(self, stream: TextIO, *, only: str | None = None) -> None:
        self._stream = stream
        self._only = only

    def says(self, text: str) -> None:
        """A line."""
        self._write(f"{text}\n")

    def transition(self, status: str, message: str) -> None:
        """Where the job is, in the service's own words."""
        self._write(f"{status:<12} {message}".rstrip() + "\n")

    def lines(self, lines: Sequence[tuple[str, bytes]]) -> None:
        """Lines of the hosts' logs, as a run here shows them."""
        shown = (line for line in lines if self._only in (None, line[0]))
        of_hosts = groupby(shown, key=itemgetter(0))
        self._write("".join(lines_text(host, b"".join(line for _, line in some)) for host, some in of_hosts))

    def hindered(self, why: str) -> None:
        """A look failed."""
        self._write(f"{why}; trying on\n")

    def ends(self, answer: Mapping[str, Any], artifacts: Sequence[Path]) -> None:
        """Status, durations, why it failed, the final metrics, where the artifacts are."""
        seconds = answer.get("TrainingTimeInSeconds")
        billed = answer.get("BillableTimeInSeconds")
        took = f" in {duration(seconds)}" if seconds else ""
        self.says(f"{answer.get('SecondaryStatus') or answer['TrainingJobStatus']}{took}")
        if billed:
            self.says(f"  billed {billed:,} s an instance")
        if reason := answer.get("FailureReason"):
            self.says("\n".join(f"  {line}" for line in str(reason).splitlines()))
        for metric in answer.get("FinalMetricDataList", []):
            self.says(f"  {metric['MetricName']} {metric['Value']:g}")
        for path in artifacts:
            size = f"{path.stat().st_size / 1e6:,.1f} MB" if path.is_file() else "files"
            self.says(f"  {path.name.partition('.')[0]:<6} {os.path.relpath(path)} ({size})")

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except BrokenPipeError:
            # Nobody reads any more; the job goes on, and its logs are kept whole.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
