"""Sixty jobs among which harnesses, containers and networks are struck at random: what is told afterwards is true."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from docker import APIClient
from docker.errors import APIError, NotFound

from tests.container.conftest import Shell

JOBS, AT_ONCE, HOSTS = 60, 4, 2
STRIKES = ("nothing", "nothing", "kill -9", "kill -9", "SIGTERM", "container", "network")
# Long enough to be struck at any moment of it, and a little of everything is left.
SCRIPT = "echo begun; echo w > /opt/ml/model/$HOST; echo c > /opt/ml/checkpoints/$HOST; sleep 0.4; echo done"
ENDS = {
    "nothing": {"Completed"},
    "kill -9": {"Completed", "Failed"},
    "SIGTERM": {"Completed", "Stopped"},
    "container": {"Completed", "Failed"},
    "network": {"Completed", "Failed"},
}


@dataclass(frozen=True)
class Struck:
    """A job, what struck it and how many seconds after its start, and how its harness ended."""

    name: str
    strike: str
    after: float
    code: int
    said: str


def strike(what: str, process: subprocess.Popen[str], api: APIClient, name: str) -> None:
    """Whatever is not there cannot be struck."""
    chosen: dict[str, Any] = {"label": f"homeport.job={name}"}
    try:
        match what:
            case "kill -9":
                process.kill()
            case "SIGTERM":
                process.send_signal(signal.SIGTERM)
            case "container":
                for container in api.containers(filters=chosen)[:1]:
                    api.kill(container)
            case "network":
                for network in api.networks(filters=chosen):
                    for container in api.containers(filters=chosen)[:1]:
                        api.disconnect_container_from_network(container["Id"], network["Id"], force=True)
    except (NotFound, APIError):
        pass


def run(shell: Shell, api: APIClient, job: Path, planned: tuple[str, str, float]) -> Struck:
    name, what, after = planned
    # Its own, since what another job writes there while it is put back is told as vanished.
    process = shell.start("train", job, "--name", name, "--set", f"checkpoint_s3_uri=s3://bucket/{name}")
    began = monotonic()
    while process.poll() is None and monotonic() - began < after:
        sleep(0.01)
    strike(what, process, api, name)
    out, err = process.communicate(timeout=180)
    return Struck(name, what, after, process.returncode, out + err)


@pytest.fixture
def seed() -> int:
    """Another one each time; it is told with whatever fails."""
    return random.SystemRandom().randrange(1 << 32)


def test_after_sixty_jobs_and_random_strikes_nothing_is_left_and_nothing_is_untrue(
    shell: Shell, api: APIClient, left: Callable[[], list[str]], seed: int
) -> None:
    chance = random.Random(seed)
    (shell.folder / "homeport.toml").write_text(
        '[local.buckets.bucket]\npath = "s3/bucket"\n[local.cache]\npath = "cache"\n'
    )
    (shell.folder / "s3" / "bucket").mkdir(parents=True)
    job = shell.job(SCRIPT, hosts=HOSTS, more='checkpoint_s3_uri = "s3://bucket/ck"\noutput_path = "s3://bucket/out"')
    prefix = shell.name()
    plans = [(f"{prefix}-c{number}", chance.choice(STRIKES), chance.uniform(0, 3.5)) for number in range(JOBS)]

    with ThreadPoolExecutor(AT_ONCE) as pool:
        struck = list(pool.map(lambda planned: run(shell, api, job, planned), plans))
    # Whoever comes next finds out what became of the killed ones, and removes what they left.
    last = shell.train(job)

    assert last.code == 0, last.err
    assert left() == [], seed
    with sqlite3.connect(shell.state / "jobs.sqlite") as store:
        assert store.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert store.execute("SELECT * FROM gpus").fetchall() == []
    listed = json.loads(shell.ask("list", "--json", "--limit", "0").stdout)["TrainingJobSummaries"]
    statuses = {found["TrainingJobName"]: found["TrainingJobStatus"] for found in listed}
    assert {"Completed", "Failed", "Stopped"} == set(statuses.values()), seed
    for one in struck:
        status = statuses.get(one.name)
        assert "Traceback" not in one.said, (seed, one)
        # A job that was struck before it began is nowhere.
        assert status in ENDS[one.strike] | ({None} if one.strike in ("kill -9", "SIGTERM") else set()), (seed, one)
        folder = shell.folder / "runs" / one.name
        if status is not None:
            described = json.loads((folder / "describe.json").read_text())
            assert described["TrainingJobStatus"] == status, (seed, one)
        else:
            assert not folder.exists(), (seed, one)
        if status == "Completed":
            assert (shell.folder / "s3/bucket/out" / one.name / "output/model.tar.gz").is_file(), (seed, one)
    halves = [path for path in shell.folder.rglob("*") if path.name.endswith(".homeport-part")]
    assert halves == [], seed
