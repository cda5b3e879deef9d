"""SageMaker's side of the closed loop: the request, as it was sent, run by local mode with the image that was pushed.

It has the account's own view: the registry by digest, the bucket at the stand-in's S3, the file system by its id.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cloud.sagemaker_front import Job

_POLL_SECONDS = 0.1
_TOLD = (
    "TrainingJobStatus",
    "SecondaryStatus",
    "SecondaryStatusTransitions",
    "FailureReason",
    "FinalMetricDataList",
    "ModelArtifacts",
    "TrainingStartTime",
    "TrainingEndTime",
    "TrainingTimeInSeconds",
    "BillableTimeInSeconds",
)
Say = Callable[[str, str, list[str]], None]


@dataclass
class LocalSageMaker:
    """A control plane whose instances are this machine's containers."""

    folder: Path
    bucket: str
    endpoint: str
    file_system: str
    mount_name: str
    content: Path
    """What is on the file system."""
    pull: Callable[[str], None]
    """Brings an image here from its registry, signed in as the service."""
    say: Say
    """Given job, host and lines: puts them into CloudWatch."""
    ran: list[dict[str, Any]] = field(default_factory=list)
    """How local mode described each job."""

    def run(self, job: Job) -> None:
        """Carry a job out, tell how it goes meanwhile, and how it went."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "homeport.toml").write_text(
            f'[local.file_systems."{self.file_system}"]\nmount_name = "{self.mount_name}"\npath = "{self.content}"\n'
            f'[local.buckets.{self.bucket}]\nendpoint = "{self.endpoint}"\n'
        )
        request = self.folder / f"{job.name}.json"
        request.write_text(json.dumps(job.request))
        job.enter("Starting", "Preparing the instances for training")
        job.enter("Downloading", "Downloading the training image")
        self.pull(job.request["AlgorithmSpecification"]["TrainingImage"])
        with (self.folder / f"{job.name}.out").open("wb") as out:
            words = [sys.executable, "-m", "local_mode", "train", str(request), "--name", job.name]
            process = subprocess.Popen(words, cwd=self.folder, env=self._environment(), stdout=out, stderr=out)
            self._relay(job, process)
        self._end(job)

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HOMEPORT_ONLY")}
        here = str(Path(__file__).parents[2])
        return kept | {
            "PYTHONPATH": here,
            "HOMEPORT_FILE": "homeport.toml",
            "HOMEPORT_STATE": str(self.folder / "state"),
        }

    def _relay(self, job: Job, process: subprocess.Popen[bytes]) -> None:
        read: dict[Path, int] = {}
        asked = running = False
        while True:
            ended = process.poll() is not None
            for log in sorted((self.folder / "runs" / job.name / "logs").glob("*.log")):
                if not running:
                    job.enter("Training", "Training image download completed. Training in progress.")
                    running = True
                whole = log.read_bytes()
                fresh = whole[read.get(log, 0) : whole.rfind(b"\n") + 1]
                read[log] = read.get(log, 0) + len(fresh)
                if fresh:
                    self.say(job.name, log.stem, fresh.decode().splitlines())
            if ended:
                return
            if job.stopped.is_set() and not asked:
                process.terminate()
                asked = True
            time.sleep(_POLL_SECONDS)

    def _end(self, job: Job) -> None:
        described = self.folder / "runs" / job.name / "describe.json"
        if not described.exists():
            said = (self.folder / f"{job.name}.out").read_text()
            job.ends("Failed", FailureReason=f"InternalServerError: {said[-900:]}")
            return
        answer = json.loads(described.read_text())
        self.ran.append(answer)
        job.ends(answer["TrainingJobStatus"], **{name: answer[name] for name in _TOLD if name in answer})
