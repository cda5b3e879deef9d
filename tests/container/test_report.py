"""What a job used while it ran, and the page about it."""

from __future__ import annotations

import json

from tests.container.conftest import Shell, wait_for

BUSY = "i=0; until [ -e /opt/ml/input/data/fsx/go ]; do i=$((i+1)); done; echo loss=0.5"
MORE = '[inputs]\nfsx = "fsx://training-data"\n[[metric_definitions]]\nname = "loss"\nregex = "loss=([0-9.]+)"\n'


def test_what_each_host_uses_is_written_down_and_shown(shell: Shell) -> None:
    name, process = shell.begin(shell.job(BUSY, hosts=2, more=MORE))
    usage = shell.folder / "runs" / name / "usage.jsonl"
    wait_for(lambda: usage.exists() and all(host in usage.read_text() for host in ("algo-1", "algo-2")))
    (shell.folder / "fsx" / "go").touch()
    ran = shell.end(name, process)
    assert ran.code == 0, ran.err

    points = [json.loads(line) for line in usage.read_text().splitlines()]
    made = shell.start("report", name)
    path, said = made.communicate(timeout=60)

    assert max(point["CPUUtilization"] for point in points) > 5
    assert all(0 < point["MemoryBytes"] < 1 << 30 for point in points)
    assert (made.returncode, said) == (0, "")
    page = (shell.folder / path.strip()).read_text()
    for part in (name, "Completed", "CPU, % of one core", "loss=0.5", "algo-2", "ResourceConfig.InstanceType"):
        assert part in page
