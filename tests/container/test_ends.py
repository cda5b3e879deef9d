"""How jobs end: well, badly, early on one host, stopped, too late, and with their harness killed."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.container.conftest import Ran, Shell, printed, wait_for


def test_a_job_that_ends_well_is_completed(shell: Shell) -> None:
    ran = shell.train(shell.job("echo hello; echo weights > /opt/ml/model/w; echo seen > /opt/ml/output/data/d"))

    assert ran.code == 0, ran.err
    assert ran.description["TrainingJobStatus"] == ran.description["SecondaryStatus"] == "Completed"
    assert ran.packed() == {"w": b"weights\n"}
    assert ran.packed("output.tar.gz") == {"d": b"seen\n"}
    assert ran.log() == "hello\n"
    assert "Completed in" in ran.out


def test_the_run_leaves_its_folder_and_nothing_else(shell: Shell) -> None:
    ran = shell.train(shell.job("true"))

    assert sorted(str(path.relative_to(ran.folder)) for path in ran.folder.rglob("*") if path.is_file()) == [
        "describe.json",
        "logs/algo-1.log",
        "metrics.jsonl",
        "output/model.tar.gz",
        "output/output.tar.gz",
        "plan.json",
        "request.json",
    ]
    assert sorted(path.name for path in shell.folder.iterdir()) == ["efs", "fsx", "homeport.toml", "job.toml", "runs"]


def test_the_failing_host_is_named_and_the_others_are_ended(shell: Shell) -> None:
    script = """case $HOST in
      algo-2) echo "ValueError: no data" > /opt/ml/output/failure; exit 3 ;;
      *) sleep 300 ;;
    esac"""
    began = time.monotonic()

    ran = shell.train(shell.job(script, hosts=3))

    assert ran.code == 1
    assert ran.description["TrainingJobStatus"] == "Failed"
    assert ran.description["FailureReason"] == "AlgorithmError: ValueError: no data\n, exit code: 3"
    assert "algo-2 failed first" in ran.out
    assert time.monotonic() - began < 60


def test_a_failed_job_without_a_failure_file_says_its_exit_code(shell: Shell) -> None:
    ran = shell.train(shell.job("exit 17"))

    assert ran.description["FailureReason"] == "AlgorithmError: , exit code: 17"


def test_artifacts_of_a_failed_job_are_kept(shell: Shell) -> None:
    ran = shell.train(shell.job("echo half > /opt/ml/model/w; exit 1"))

    assert (ran.code, ran.packed()) == (1, {"w": b"half\n"})


def test_a_host_that_exits_well_and_early_stops_nobody(shell: Shell) -> None:
    script = "[ $HOST = algo-1 ] && exit 0; sleep 4; echo late; echo $HOST > /opt/ml/model/$HOST"

    ran = shell.train(shell.job(script, hosts=3))

    assert ran.code == 0, ran.out
    assert ran.packed() == {"algo-2": b"algo-2\n", "algo-3": b"algo-3\n"}
    assert "late" in ran.log("algo-3")


@pytest.mark.effect("StoppingCondition.MaxRuntimeInSeconds")
def test_a_job_that_runs_too_long_is_told_so_and_its_work_is_kept(shell: Shell) -> None:
    script = "trap 'echo saved > /opt/ml/model/w; exit 0' TERM; sleep 300 & wait"

    ran = shell.train(shell.job(script, more="max_run = 2"))

    assert ran.code == 5
    assert ran.description["TrainingJobStatus"] == "Stopped"
    assert ran.description["SecondaryStatus"] == "MaxRuntimeExceeded"
    assert ran.packed() == {"w": b"saved\n"}


def test_the_first_ctrl_c_lets_the_script_save_its_work(shell: Shell) -> None:
    script = "trap 'sleep 2; echo saved > /opt/ml/model/w; exit 9' TERM; echo ready; sleep 300 & wait"
    name, process = shell.begin(shell.job(script, hosts=2))
    folder = shell.folder / "runs" / name
    wait_for(lambda: all(printed(folder, "ready", host)() for host in ("algo-1", "algo-2")))

    os.killpg(process.pid, signal.SIGINT)
    ran = shell.end(name, process)

    assert ran.code == 130
    assert ran.description["TrainingJobStatus"] == "Stopped"
    assert [step["Status"] for step in ran.description["SecondaryStatusTransitions"]] == [
        "Starting",
        "Training",
        "Stopping",
        "Stopped",
    ]
    assert ran.packed() == {"w": b"saved\n"}


def test_the_second_ctrl_c_ends_a_script_that_does_not_listen(shell: Shell) -> None:
    name, process = shell.begin(shell.job("trap '' TERM; echo ready; sleep 300"))
    wait_for(printed(shell.folder / "runs" / name, "ready"))

    os.killpg(process.pid, signal.SIGINT)
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)
    ran = shell.end(name, process, timeout=30)

    assert ran.code == 130
    assert "SIGKILL sent to algo-1" in ran.out


def test_sigterm_stops_the_job_as_stop_training_job_does(shell: Shell) -> None:
    name, process = shell.begin(shell.job("trap 'exit 0' TERM; echo ready; sleep 300 & wait"))
    wait_for(printed(shell.folder / "runs" / name, "ready"))

    process.terminate()
    ran = shell.end(name, process, timeout=30)

    assert (ran.code, ran.description["SecondaryStatus"]) == (4, "Stopped")


def test_what_a_killed_harness_leaves_is_removed_by_the_next_run(shell: Shell, left: Callable[[], list[str]]) -> None:
    name, process = shell.begin(shell.job("echo ready; sleep 300", hosts=2))
    wait_for(printed(shell.folder / "runs" / name, "ready"))
    process.kill()
    process.communicate()
    assert left()

    ran = shell.train(shell.job("true"))

    assert ran.code == 0
    assert f"removed what killed runs had left: {name}" in ran.out
    assert left() == []


def test_a_run_beside_another_leaves_the_other_alone(shell: Shell) -> None:
    first, process = shell.begin(
        shell.job(
            "echo ready; while [ ! -e /opt/ml/input/data/sync/go ]; do sleep 0.1; done",
            more='[inputs]\nsync = "fsx://training-data"',
        )
    )
    wait_for(printed(shell.folder / "runs" / first, "ready"))

    second = shell.train(shell.job("true"))
    (shell.folder / "fsx" / "go").touch()

    assert second.code == 0
    assert shell.end(first, process).code == 0


def test_twenty_short_jobs_leave_nothing(shell: Shell, left: Callable[[], list[str]]) -> None:
    """Every third fails, every third is interrupted at a random moment; the seed is printed when it goes wrong."""
    seed = int(os.environ.get("HOMEPORT_SEED", "20261121"))
    moments = random.Random(seed)
    before = set(Path("/tmp").iterdir())
    codes = []
    for number in range(20):
        script = "trap 'exit 0' TERM; echo x > /opt/ml/model/w; sleep 0.3 & wait; exit 0"
        if number % 3 == 1:
            script = "exit 1"
        name, process = shell.begin(shell.job(script, hosts=1 + number % 2))
        if number % 3 == 2:
            time.sleep(moments.uniform(0, 1.5))
            os.killpg(process.pid, signal.SIGINT)
        ran: Ran = shell.end(name, process, timeout=60)
        codes.append(ran.code)
        # Ctrl-C while the interpreter itself starts is told by the interpreter.
        assert "Traceback" not in ran.err or "local_mode" not in ran.err, (seed, number, ran.err)
        assert left() == [], (seed, number)

    assert codes[0::3] == [0] * 7
    assert codes[1::3] == [1] * 7
    assert set(codes[2::3]) <= {0, 130, -signal.SIGINT, 1}
    runs = [path for folder in (shell.folder / "runs").iterdir() for path in (folder, *folder.rglob("*"))]
    assert {path.stat().st_uid for path in runs} == {os.getuid()}
    assert not [path for path in runs if path.name.startswith(".")]
    assert {path.name for path in set(Path("/tmp").iterdir()) - before if "homeport" in path.name.lower()} == set()


@pytest.mark.parametrize("lines", [200_000])
def test_a_burst_of_lines_just_before_the_end_is_whole_and_in_order(shell: Shell, lines: int) -> None:
    ran = shell.train(shell.job(f"seq {lines}; seq {lines} >&2; printf 'no end of line'; exit 1"))

    written = ran.log().splitlines()
    assert len(written) == 2 * lines + 1
    assert [line for line in ran.out.splitlines() if line.startswith("algo-1 │")][-1] == f"algo-1 │ {written[-1]}"
    assert sum(line.startswith("algo-1 │") for line in ran.out.splitlines()) == 2 * lines + 1
    assert written[-1] == "no end of line"


def test_the_lines_of_every_host_are_prefixed_and_kept(shell: Shell) -> None:
    ran = shell.train(shell.job("echo from $HOST; echo worse from $HOST >&2", hosts=3))

    for host in ("algo-1", "algo-2", "algo-3"):
        assert sorted(ran.log(host).splitlines()) == [f"from {host}", f"worse from {host}"]
        assert f"{host} │ from {host}" in ran.out
