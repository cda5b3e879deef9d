"""How long from the command to the first line of user code, on an image that does nothing else.

Side by side in one run: the floor (bare `docker run`), `homeport-local train`, and the SageMaker SDK's local mode. The
image's `train` prints READY, its host, and the time on the clock that it shares with this machine (not so where the
engine has a virtual machine of its own). With several hosts the last one counts, of those whose line was seen.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

import sagemaker_sdk

HOSTS = (1, 8)
REACH = {1: 3.0, 8: 1.5}
"""Hosts to how many times the floor."""
REACH_OF_HELP = 0.15

_DOCKER = shutil.which("docker") or ""
_HOMEPORT = str(Path(sys.executable).with_name("homeport-local"))
_IMAGE = f"homeport-bench/start:{os.getpid()}"
_LONGEST_SECONDS = 300
_FLOOR, _OURS, _PEER = "docker run", "homeport-local train", f"SageMaker SDK {sagemaker_sdk.VERSION}"
_READY = re.compile(r"READY (\S+) (\d+\.\d+)")
_TRAIN = """#!/bin/sh
now=$(date +%s.%N)
config=/opt/ml/input/config/resourceconfig.json
echo "READY ${HOST:-$(sed 's/.*"current_host": *"\\([^"]*\\)".*/\\1/' $config)} $now"
"""


@dataclass(frozen=True, eq=False)
class Way:
    """A way to start hosts: commands that begin together."""

    name: str
    hosts: int
    commands: Sequence[Sequence[str]]
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Sample:
    """One run: seconds from the command to the last first line that was seen, and to its end."""

    ready: float
    end: float
    seen: int
    last_words: str


def main() -> int:
    """Measure, print, clean up. A reach that is missed is said, and fails nothing."""
    parser = argparse.ArgumentParser(description="Seconds from the command to the first line of user code.")
    parser.add_argument("-n", "--runs", type=int, default=5, help="how often each is measured (default: %(default)s)")
    parser.add_argument("--without-sdk", action="store_true", help="leave the SageMaker SDK out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to FILE")
    asked = parser.parse_args()
    if not _DOCKER:
        print("There is no docker command here: the floor, a bare docker run, cannot be measured.", file=sys.stderr)
        return 3
    machine = _machine()
    print(", ".join(f"{name} {value}" for name, value in machine.items()), flush=True)
    helps: list[float] = []
    with _scratch() as scratch:
        # The warm-up says too what does not work here.
        samples: dict[Way, list[Sample]] = {
            way: [] for way in _ways(scratch, with_sdk=not asked.without_sdk) if _works(way, _measure(way, scratch))
        }
        for _ in range(asked.runs):
            for way, runs in samples.items():
                runs.append(_measure(way, scratch))
            helps.append(_measure(Way("help", 0, [[_HOMEPORT, "--help"]]), scratch).end)
    _print_table(samples)
    met = _met(median(helps) <= REACH_OF_HELP)
    print(f"homeport-local --help: {_spread(helps)} s, within {REACH_OF_HELP:g} s {met}")
    print(f"Median of {asked.runs} (least to most). Load average at the end {_load()}")
    if asked.json:
        ways = [
            {"name": way.name, "hosts": way.hosts, "runs": [asdict(run) for run in runs]}
            for way, runs in samples.items()
        ]
        asked.json.write_text(json.dumps({"machine": machine, "help": helps, "ways": ways}, indent=2) + "\n")
    return 0


def _machine() -> dict[str, object]:
    engine, client = _docker("version", "--format", "{{.Server.Version}} {{.Client.Version}}").split()
    return {"cores": os.cpu_count(), "load average": _load(), "engine": engine, "docker command": client}


def _load() -> str:
    return " ".join(f"{load:.1f}" for load in os.getloadavg())


@contextmanager
def _scratch() -> Iterator[Path]:
    """A folder, and the image; afterwards nothing of either, nor of what the SDK leaves on the engine."""
    had_network = sagemaker_sdk.NETWORK in _docker("network", "ls", "--format", "{{.Name}}").split()
    with tempfile.TemporaryDirectory(prefix="homeport-bench-", ignore_cleanup_errors=True) as folder:
        context = Path(folder) / "image"
        context.mkdir()
        (context / "Dockerfile").write_text("FROM homeport/debian:bookworm\nCOPY train /usr/local/bin/train\n")
        (context / "train").write_text(_TRAIN)
        (context / "train").chmod(0o755)
        _docker("build", "--quiet", "--tag", _IMAGE, str(context))
        try:
            yield Path(folder)
        finally:
            _remove_containers()
            _docker("image", "rm", "--force", _IMAGE)
            if not had_network:
                with suppress(subprocess.CalledProcessError):
                    _docker("network", "rm", sagemaker_sdk.NETWORK)


def _ways(scratch: Path, *, with_sdk: bool) -> Iterator[Way]:
    job = scratch / "job.toml"
    job.write_text(f'name = "start"\nimage = "{_IMAGE}"\ninstance_type = "ml.m5.large"\n')
    for hosts in HOSTS:
        names = [f"HOST=algo-{number + 1}" for number in range(hosts)]
        yield Way(_FLOOR, hosts, [[_DOCKER, "run", "--rm", "--env", name, _IMAGE, "train"] for name in names])
        yield Way(_OURS, hosts, [[_HOMEPORT, "train", str(job), "--instance-count", str(hosts), "--runs", "runs"]])
    if not with_sdk:
        return
    if why := sagemaker_sdk.install():
        print(f"{_PEER} is left out, as it cannot be installed here: {why}")
        return
    for hosts in HOSTS:
        yield Way(_PEER, hosts, [sagemaker_sdk.command(_IMAGE, hosts)], sagemaker_sdk.environment())


def _works(way: Way, sample: Sample) -> bool:
    if not sample.seen:
        print(f"{way.name} with hosts: {way.hosts} is left out, as none showed a line: {sample.last_words}")
    return sample.seen > 0


def _measure(way: Way, scratch: Path) -> Sample:
    """Run a way once, in a folder of its own."""
    # Compiled once, in the warm-up, as on any machine; where PYTHONDONTWRITEBYTECODE is set, every start compiles.
    environment = os.environ | {"PYTHONPYCACHEPREFIX": str(scratch / "pycache"), "PYTHONDONTWRITEBYTECODE": ""}
    with tempfile.TemporaryDirectory(dir=scratch, ignore_cleanup_errors=True) as folder:
        environment |= {"TMPDIR": folder} | way.environment
        output = Path(folder) / "output"
        began = time.time()
        with output.open("wb") as stream:
            running = [
                subprocess.Popen(
                    command,
                    cwd=folder,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=subprocess.STDOUT,
                )
                for command in way.commands
            ]
        _await(running)
        end = time.time() - began
        text = output.read_text(errors="replace")
        _remove_containers()
    hosts = {host: float(at) - began for host, at in _READY.findall(text)}
    last_words = (text.strip().splitlines() or ["it said nothing"])[-1]
    return Sample(max(hosts.values(), default=math.nan), end, len(hosts), last_words)


def _await(running: Sequence[subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + _LONGEST_SECONDS
    try:
        with suppress(subprocess.TimeoutExpired):
            for process in running:
                process.wait(deadline - time.monotonic())
    finally:
        for process in running:
            process.terminate()
            process.wait()


def _print_table(samples: Mapping[Way, Sequence[Sample]]) -> None:
    row = "{:<6}{:<24}{:<24}{:<24}{:<12}{:<9}{}".format
    print(f"\n{row('hosts', '', 'to the first line, s', 'to the end, s', 'hosts seen', '× floor', 'reach')}")
    floors = {way.hosts: runs for way, runs in samples.items() if way.name == _FLOOR}
    for way, runs in sorted(samples.items(), key=lambda entry: entry[0].hosts):
        ready, end = [run.ready for run in runs], [run.end for run in runs]
        seen = sorted({run.seen for run in runs})
        # Each against the floor beside it: the machine's load differs from round to round.
        ratio = median(run.ready / floor.ready for run, floor in zip(runs, floors[way.hosts], strict=True))
        met = _met(ratio <= REACH[way.hosts] and seen == [way.hosts])
        reach = f"all {way.hosts} within {REACH[way.hosts]:g} ×: {met}" if way.name == _OURS else ""
        shown = f"{' to '.join(str(count) for count in (seen[0], seen[-1])[: len(seen)])} of {way.hosts}"
        print(row(way.hosts, way.name, _spread(ready), _spread(end), shown, f"{ratio:.2f}", reach))


def _spread(values: Sequence[float]) -> str:
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def _met(within: bool) -> str:
    return "met" if within else "not met"


def _remove_containers() -> None:
    """What is left of any way; the SDK leaves its containers behind."""
    if left := _docker("ps", "--all", "--quiet", "--filter", f"ancestor={_IMAGE}").split():
        _docker("rm", "--force", "--volumes", *left)


def _docker(*words: str) -> str:
    return subprocess.run([_DOCKER, *words], check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(f"{' '.join(error.cmd)}: {error.stderr.strip()}")
    except KeyboardInterrupt:
        sys.exit(130)
