"""Run the ways to train one after the other, and print what came of each as a table.

    python entrypoints/pets/compare.py entrypoints/pets/compare.toml [ARGUMENT OF homeport-local train …]

Such as --virtual-gpus 2, or --set hyperparameters.epochs=3. This runs on the host; the exit code is the worst job's.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import tomllib


def main(argv: list[str] | None = None) -> int:
    """Run the jobs of a comparison in their order."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("comparison", type=Path, help="which jobs and columns: entrypoints/pets/compare.toml")
    args, more = parser.parse_known_args(argv)
    try:
        comparison = tomllib.loads(args.comparison.read_text())
        jobs, columns = list(comparison["jobs"]), dict(comparison["columns"])
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        parser.error(f"{args.comparison} names no jobs and columns: {type(error).__name__}: {error}")
    rows, worst = [], 0
    for job in jobs:
        code, description = train(args.comparison.parent / job, more)
        rows.append(row(job, description, list(columns.values())))
        worst = max(worst, code)
    print(table(["way", "status", "hosts", "seconds", *columns], rows))
    return worst


def train(job: Path, arguments: Sequence[str]) -> tuple[int, dict]:
    """How a job ended, and its description: an empty one for a job that could not be started."""
    command = [sys.executable, "-m", "local_mode", "train", str(job), "--json", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    return done.returncode, json.loads(done.stdout) if done.stdout.strip() else {}


def row(job: str, description: dict, metrics: Sequence[str]) -> list[str]:
    """A job's line: its status, hosts, seconds of training, and the metrics it has."""
    found = {entry["MetricName"]: f"{entry['Value']:.4g}" for entry in description.get("FinalMetricDataList", ())}
    return [
        job.removesuffix(".toml"),
        description.get("TrainingJobStatus", "not started"),
        str(description.get("ResourceConfig", {}).get("InstanceCount", "-")),
        str(description.get("TrainingTimeInSeconds", "-")),
        *(found.get(name, "-") for name in metrics),
    ]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their longest text, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows)]
    return "\n".join(
        "  ".join(
            text.ljust(width) if place < 2 else text.rjust(width)
            for place, (text, width) in enumerate(zip(line, widths))
        ).rstrip()
        for line in (head, *rows)
    )


if __name__ == "__main__":
    sys.exit(main())
