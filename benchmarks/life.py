"""How quickly jobs are looked up and stopped and their logs relayed, each beside the floor, in one run.

Look-ups are timed as whole commands, in wall time and in time of the processor, which a busy machine stretches less.
The hosts of a stopped job print the time at which PID 1 heard SIGTERM, on the clock that they share with this machine
(not so where the engine has a virtual machine of its own).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

from local_mode.harness import owner_of, this_process
from local_mode.job_record import JobRecord
from local_mode.job_store import JobStore
from training_job.lifecycle import Outcome, Transition, describe

JOBS = 10_000
HOSTS = 3
LOOK_UP_SECONDS = 0.3
STOP_SECONDS = 0.5
RELAYED = 1_000_000
RELAY_TIMES = 1.3

_PYTHON = sys.executable
_HOMEPORT = str(Path(sys.executable).with_name("homeport-local"))
_DOCKER = shutil.which("docker") or ""
_IMAGE = "homeport/debian:bookworm"
_SCRIPT = "trap 'echo HEARD $(date +%s.%N); exit 0' TERM; echo READY; sleep 300 & wait"
_HEARD = re.compile(r"HEARD (\d+\.\d+)")
_BURST = f"echo BEGUN $(date +%s.%N); exec seq {RELAYED}"
_LONGEST_SECONDS = 120


@dataclass(frozen=True)
class Go:
    """What one go took, in seconds; `processor` is 0 where the work is others'. `memory` is the highest, in MB."""

    seconds: float
    processor: float = 0.0
    memory: float = 0.0


class LinesLost(RuntimeError):
    """A relay that is not whole has no time."""


Way = Callable[[Path], Go]
"""A way to do something, with a folder to do it in."""


@dataclass(frozen=True)
class Line:
    """Ways to do the same by their names, ours first; `limits` are how many seconds ours may take."""

    title: str
    ways: Mapping[str, Way]
    limits: Mapping[str, float]
    needs_engine: bool = False
    within: Mapping[str, tuple[str, float]] = field(default_factory=dict)
    """Ours to the way it is held against, and how many times that one's time it may take."""


# A store with many jobs.


def looked_up(*words: str) -> Way:
    """A command about recorded jobs."""
    return lambda folder: _timed([_HOMEPORT, *words], folder)


def started(*words: str) -> Way:
    """A bare start of Python."""
    return lambda folder: _timed([_PYTHON, *words], folder)


def _timed(command: Sequence[str], folder: Path) -> Go:
    began = time.perf_counter()
    process = subprocess.Popen(command, env=_environment(folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    # Told, so that Popen does not wait for a process that is reaped.
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit code {process.returncode}")
    return Go(seconds, used.ru_utime + used.ru_stime)


def _fill(state: Path) -> None:
    """As many ended jobs as are to be looked up in, each with an answer of the usual length."""
    began = datetime.now(UTC) - timedelta(seconds=JOBS + 60)
    statuses = ("Starting", "Downloading", "Training", "Uploading", "Completed")
    answer = describe(
        {
            "TrainingJobName": "bench",
            "AlgorithmSpecification": {"TrainingImage": _IMAGE, "TrainingInputMode": "File"},
            "ResourceConfig": {"InstanceType": "ml.p3.16xlarge", "InstanceCount": HOSTS},
            "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
            "HyperParameters": {f"parameter_{number}": json.dumps("x" * 32) for number in range(20)},
        },
        arn="arn:aws:sagemaker:us-west-2:000000000000:training-job/bench",
        transitions=[Transition(status, began) for status in statuses],
        model_artifacts="file:///runs/bench/output/model.tar.gz",
        outcome=Outcome("Completed", "Completed", 0),
        end=began,
    )
    runs = state / "runs"
    store = JobStore(state)
    store.begin(
        JobRecord.of(answer, image=_IMAGE, directory=runs, owner=owner_of(runs), process=this_process(), exit_code=0)
    )
    # Side by side in one transaction: each by itself, as jobs begin, would take a minute.
    with sqlite3.connect(store.path) as opened:
        found = opened.execute("SELECT * FROM jobs")
        row = dict(zip((column[0] for column in found.description), found.fetchone(), strict=True))
        more = (
            row | {"name": f"bench-{number:05}", "created": (began + timedelta(seconds=number)).isoformat()}
            for number in range(1, JOBS)
        )
        marks = ", ".join("?" * len(row))
        opened.executemany(f"INSERT INTO jobs VALUES ({marks})", (tuple(job.values()) for job in more))


# A job that is stopped.


def ours_stops(folder: Path) -> Go:
    """From `homeport-local stop` to SIGTERM in the last host of a job."""
    job = folder / "job.toml"
    job.write_text(
        f'name = "stop"\nimage = "{_IMAGE}"\ninstance_type = "ml.m5.large"\ninstance_count = {HOSTS}\n'
        f'container_entry_point = ["sh", "-c", {json.dumps(_SCRIPT)}]\n'
    )
    name, runs = f"bench-stop-{os.getpid()}", folder / "runs"
    environment = _environment(folder, folder / "state")
    train = [_HOMEPORT, "train", str(job), "--runs", str(runs), "--detach", "--name", name]
    subprocess.run(train, cwd=folder, env=environment, check=True, capture_output=True)
    logs = [runs / name / "logs" / f"algo-{number + 1}.log" for number in range(HOSTS)]
    _wait(lambda: all("READY" in log.read_text() for log in logs))
    began = time.time()
    subprocess.run([_HOMEPORT, "stop", name, "--wait"], env=environment, check=True, capture_output=True)
    heard = [_HEARD.search(log.read_text()) for log in logs]
    subprocess.run(
        [_HOMEPORT, "prune", "--keep", str(JOBS), "--yes"], env=environment, capture_output=True, check=False
    )
    return Go(_last(heard) - began)


def docker_stops(folder: Path) -> Go:  # noqa: ARG001 - every way is called alike
    """From `docker kill` to SIGTERM in the last of as many bare containers."""
    containers = [_docker("run", "--detach", _IMAGE, "sh", "-c", _SCRIPT) for _ in range(HOSTS)]
    try:
        _wait(lambda: all("READY" in _docker("logs", container) for container in containers))
        began = time.time()
        _docker("kill", "--signal", "TERM", *containers)
        _docker("wait", *containers)
        return Go(_last([_HEARD.search(_docker("logs", container)) for container in containers]) - began)
    finally:
        _docker("rm", "--force", *containers)


# A million lines.


def ours_relays(folder: Path) -> Go:
    """From the first line of a job's host to the last in the terminal, each kept in its log as well."""
    job = folder / "job.toml"
    job.write_text(
        f'name = "relay"\nimage = "{_IMAGE}"\ninstance_type = "ml.m5.large"\n'
        f'container_entry_point = ["sh", "-c", {json.dumps(_BURST)}]\n'
    )
    name, runs = f"bench-relay-{os.getpid()}", folder / "runs"
    environment = _environment(folder, folder / "state")
    go = _relayed(
        [_HOMEPORT, "train", str(job), "--runs", str(runs), "--name", name], environment, b"algo-1 \xe2\x94\x82 "
    )
    kept = (runs / name / "logs" / "algo-1.log").read_bytes().count(b"\n")
    if kept != RELAYED + 1:
        raise RuntimeError(f"{RELAYED + 1 - kept:,} lines are not in the log")
    return go


def docker_relays(folder: Path) -> Go:  # noqa: ARG001 - every way is called alike
    """The same by `docker logs --follow` of a bare container, again where it loses lines, as 20.10 does when busy."""
    while True:
        container = _docker("run", "--detach", _IMAGE, "sh", "-c", _BURST)
        try:
            return _relayed([_DOCKER, "logs", "--follow", container], dict(os.environ), b"")
        except LinesLost as lost:
            print(lost, file=sys.stderr)
        finally:
            _docker("rm", "--force", container)


def _relayed(command: Sequence[str], environment: Mapping[str, str], prefix: bytes) -> Go:
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout
    began = ended = 0.0
    wanted = 1
    for line in process.stdout:
        text = line.removeprefix(prefix)
        if text.startswith(b"BEGUN "):
            began = float(text.split()[1])
        elif text == b"%d\n" % wanted:
            wanted += 1
            if wanted > RELAYED:
                ended = time.time()
    _, _, used = os.wait4(process.pid, 0)
    process.returncode = 0
    if not ended:
        raise LinesLost(f"{' '.join(command)}: line {wanted:,} was not relayed")
    return Go(ended - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1e3)


def _last(heard: Sequence[re.Match[str] | None]) -> float:
    if not all(heard):
        raise RuntimeError("a host heard no SIGTERM")
    return max(float(stamp[1]) for stamp in heard if stamp)


def _wait(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _LONGEST_SECONDS
    while not what():
        if time.monotonic() > deadline:
            raise RuntimeError("the hosts did not start in time")
        time.sleep(0.05)


def _docker(*words: str) -> str:
    done = subprocess.run([_DOCKER, *words], check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.stdout.strip()


LINES: tuple[Line, ...] = (
    Line(
        f"{JOBS:,} recorded jobs",
        {
            "list": looked_up("list"),
            "describe": looked_up("describe", "bench-05000"),
            "list --limit 0": looked_up("list", "--limit", "0"),
            "homeport-local --help": looked_up("--help"),
            "python -c pass": started("-c", "pass"),
        },
        {"list": LOOK_UP_SECONDS, "describe": LOOK_UP_SECONDS},
    ),
    Line(
        f"SIGTERM reaches PID 1 of {HOSTS} hosts",
        {"homeport-local stop": ours_stops, "docker kill": docker_stops},
        {"homeport-local stop": STOP_SECONDS},
        needs_engine=True,
    ),
    Line(
        f"{RELAYED:,} lines in a burst",
        {"homeport-local train": ours_relays, "docker logs --follow": docker_relays},
        {},
        needs_engine=True,
        within={"homeport-local train": ("docker logs --follow", RELAY_TIMES)},
    ),
)


def main() -> int:
    """Measure, print, clean up. A reach that is missed is said, and fails nothing."""
    parser = argparse.ArgumentParser(description="How quickly jobs are looked up, stopped and relayed.")
    parser.add_argument("-n", "--runs", type=int, default=5, help="how often each is measured (default: %(default)s)")
    parser.add_argument("-k", "--only", default="", metavar="TEXT", help="lines whose title holds TEXT")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to FILE")
    asked = parser.parse_args()
    print(f"cores {os.cpu_count()}, load average {_load()}", flush=True)
    found: dict[str, dict[str, list[Go]]] = {}
    with tempfile.TemporaryDirectory(prefix="homeport-bench-") as folder:
        _fill(Path(folder) / "state")
        for line in _possible(asked.only):
            found[line.title] = _run(line, Path(folder), asked.runs)
    print(f"Median of {asked.runs} (least to most). Load average at the end {_load()}")
    if asked.json:
        figures = {
            title: {name: [asdict(go) for go in goes] for name, goes in ways.items()} for title, ways in found.items()
        }
        asked.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


def _possible(only: str) -> Iterator[Line]:
    for line in LINES:
        if only not in line.title:
            continue
        if line.needs_engine and not _DOCKER:
            print(f"{line.title}: left out, as there is no docker command here", file=sys.stderr)
            continue
        yield line


def _run(line: Line, scratch: Path, runs: int) -> dict[str, list[Go]]:
    """Every way in turn, so that a busy moment of the machine is nobody's own; a first round is not counted."""
    rounds = [{name: _measured(way, scratch) for name, way in line.ways.items()} for _ in range(runs + 1)][1:]
    goes = {name: [one[name] for one in rounds] for name in line.ways}
    print(f"\n{line.title}")
    for name, taken in goes.items():
        processor = [go.processor for go in taken]
        used = f"{_spread(processor)} of the processor" if any(processor) else ""
        reach = ""
        if limit := line.limits.get(name):
            met = median(go.seconds for go in taken) <= limit
            reach = f"  within {limit:g} s: {'met' if met else 'not met'}"
        if name in line.within:
            other, times = line.within[name]
            ratio = median(go.seconds / held.seconds for go, held in zip(taken, goes[other], strict=True))
            reach = f"  {ratio:.2f} × {other}, within {times:g}: {'met' if ratio <= times else 'not met'}"
        if memory := max(go.memory for go in taken):
            used = f"{used}, {memory:,.0f} MB of memory"
        print(f"  {name:<24}{_spread([go.seconds for go in taken]):<28}{used}{reach}", flush=True)
    return goes


def _measured(way: Way, scratch: Path) -> Go:
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        return way(Path(folder))


def _environment(folder: Path, state: Path | None = None) -> dict[str, str]:
    # Compiled once, in the warm-up, as on any machine; where PYTHONDONTWRITEBYTECODE is set, every start compiles.
    compiled = {"PYTHONPYCACHEPREFIX": str(folder.parent / "pycache"), "PYTHONDONTWRITEBYTECODE": ""}
    return os.environ | compiled | {"HOMEPORT_STATE": str(state or folder.parent / "state")}


def _spread(values: Sequence[float]) -> str:
    return f"{median(values):.3f} ({min(values):.3f} to {max(values):.3f}) s"


def _load() -> str:
    return " ".join(f"{load:.1f}" for load in os.getloadavg())


if __name__ == "__main__":
    sys.exit(main())
