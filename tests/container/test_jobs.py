"""Jobs as a second terminal sees them: while they run, after their end, and after their harness was killed."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from local_mode.harness import is_dead, owner_of
from tests.container.conftest import Shell, printed, wait_for

WAITS = "trap 'echo saved > /opt/ml/model/w; exit 0' TERM; echo ready; sleep 300 & wait"


def described(shell: Shell, name: str) -> dict[str, Any]:
    """DescribeTrainingJob's answer, from a second terminal."""
    answer: dict[str, Any] = json.loads(shell.ask("describe", name, "--json").stdout)
    return answer


def listed(shell: Shell) -> dict[str, list[str]]:
    """The words of each job's line, by its name."""
    lines = shell.ask("list").stdout.splitlines()[1:]
    return {words[0]: words[1:] for line in lines if (words := line.split())}


def begun(shell: Shell, script: str = WAITS, *, hosts: int = 1) -> tuple[str, subprocess.Popen[str]]:
    """A job whose every host has said `ready`."""
    name, process = shell.begin(shell.job(script, hosts=hosts))
    for number in range(hosts):
        wait_for(printed(shell.folder / "runs" / name, "ready", f"algo-{number + 1}"))
    return name, process


def detached(shell: Shell, script: str, *, hosts: int = 1) -> str:
    """A detached job's name, once its terminal is gone."""
    name = shell.name()
    began = shell.ask("train", shell.job(script, hosts=hosts), "--name", name, "--detach")
    assert (began.returncode, began.stdout) == (0, f"{name}\n"), began.stderr
    return name


def tail(log: Path) -> str:
    """Its last line."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 100))
        return file.read().decode().rpartition("\n")[0].rpartition("\n")[2]


def test_a_second_terminal_sees_a_job_run_and_stops_it(shell: Shell) -> None:
    name, process = begun(shell, hosts=2)

    assert listed(shell)[name][:2] == ["InProgress", "Training"]
    answer = described(shell, name)
    assert [step["Status"] for step in answer["SecondaryStatusTransitions"]] == ["Starting", "Training"]
    assert "TrainingStartTime" in answer
    assert "TrainingEndTime" not in answer
    assert sorted(shell.ask("logs", name).stdout.splitlines()) == ["algo-1 │ ready", "algo-2 │ ready"]
    stopped = shell.ask("stop", name, "--wait")
    ran = shell.end(name, process, timeout=30)

    assert (stopped.returncode, stopped.stdout) == (0, f"{name}: Stopped\n")
    assert (ran.code, ran.packed()) == (4, {"w": b"saved\n"})
    assert described(shell, name) == ran.description
    assert listed(shell)[name][:2] == ["Stopped", "Stopped"]


def test_what_a_job_was_can_be_asked_after_its_terminal_is_gone(shell: Shell) -> None:
    ran = shell.train(shell.job("echo from $HOST; echo boom > /opt/ml/output/failure; exit 3", hosts=2))
    name = ran.folder.name

    assert described(shell, name)["FailureReason"] == "AlgorithmError: boom\n, exit code: 3"
    told = shell.ask("describe", name).stdout
    assert f"{name} · Failed" in told
    assert "AlgorithmError: boom" in told
    assert shell.ask("logs", name, "--host", "algo-2").stdout == "from algo-2\n"
    refused = shell.ask("stop", name)
    assert (refused.returncode, "the training job is in status Failed" in refused.stderr) == (2, True)


def test_following_loses_no_line_and_ends_with_the_job(shell: Shell) -> None:
    name = detached(shell, "echo ready; sleep 1; seq 20000; printf end", hosts=2)

    following = shell.start("logs", name, "--follow")
    one = shell.start("logs", name, "--follow", "--host", "algo-2")
    out, _ = following.communicate(timeout=60)
    alone, _ = one.communicate(timeout=60)

    assert following.returncode == one.returncode == 0
    lines = ["ready", *map(str, range(1, 20001)), "end"]
    for host in ("algo-1", "algo-2"):
        assert [line.partition(" │ ")[2] for line in out.splitlines() if line.startswith(host)] == lines
    assert alone == "\n".join(lines)


def test_values_can_be_read_while_their_job_runs(shell: Shell) -> None:
    metric = "[[metric_definitions]]\nname = 'loss'\nregex = 'loss: ([0-9.]+)'"
    name, process = shell.begin(shell.job(f"echo loss: 0.5; {WAITS}", more=metric))
    kept = shell.folder / "runs" / name / "metrics.jsonl"

    wait_for(lambda: kept.exists() and '"Value": 0.5' in kept.read_text())

    assert listed(shell)[name][0] == "InProgress"
    shell.ask("stop", name, "--wait")
    assert "  loss 0.5" in shell.end(name, process).out.splitlines()


def test_a_terminal_that_is_not_read_holds_up_neither_a_job_nor_its_log(shell: Shell) -> None:
    name, process = shell.begin(shell.job(f"seq 500000; {WAITS}"))
    folder = shell.folder / "runs" / name

    wait_for(lambda: (folder / "logs/algo-1.log").exists() and tail(folder / "logs/algo-1.log") == "ready")
    stopped = shell.ask("stop", name, "--wait")

    assert (stopped.returncode, stopped.stdout) == (0, f"{name}: Stopped\n")
    assert (folder / "output/model.tar.gz").exists()
    assert process.poll() is None
    ran = shell.end(name, process)
    assert ran.code == 4
    shown = [line for line in ran.out.splitlines() if line.startswith("algo-1 │ ")]
    assert shown == [*(f"algo-1 │ {number}" for number in range(1, 500_001)), "algo-1 │ ready"]


def test_a_second_stop_does_not_cut_short_what_a_script_is_given(shell: Shell) -> None:
    name, process = begun(
        shell, "trap 'sleep 2; echo saved > /opt/ml/model/w; exit 0' TERM; echo ready; sleep 300 & wait"
    )

    assert shell.ask("stop", name).returncode == 0
    again = shell.ask("stop", name, "--wait")
    ran = shell.end(name, process, timeout=30)

    assert (again.returncode, ran.packed()) == (0, {"w": b"saved\n"})


def test_a_killed_harness_is_found_out_by_the_next_command(shell: Shell, left: Callable[[], list[str]]) -> None:
    name, process = begun(shell, "echo ready; sleep 300", hosts=2)
    process.kill()
    process.communicate()
    assert left()

    line = listed(shell)[name]

    assert line[:2] == ["Failed", "Failed"]
    assert left() == []
    answer = described(shell, name)
    assert answer["FailureReason"].startswith("InternalServerError: the process that ran this job was killed")
    assert answer == json.loads((shell.folder / "runs" / name / "describe.json").read_text())
    assert shell.ask("logs", name, "--host", "algo-1").stdout == "ready\n"
    refused = shell.ask("stop", name)
    assert (refused.returncode, "is in status Failed" in refused.stderr) == (2, True)
    with sqlite3.connect(shell.state / "jobs.sqlite") as store:
        assert store.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_following_ends_when_the_harness_is_killed(shell: Shell) -> None:
    name, process = begun(shell, "echo ready; sleep 300")
    following = shell.start("logs", name, "--follow")
    assert following.stdout.readline() == "algo-1 │ ready\n"

    process.kill()
    process.communicate()

    assert following.wait(30) == 0
    following.communicate()


def test_a_name_is_taken_while_its_job_runs_and_afterwards(shell: Shell) -> None:
    name, process = begun(shell)

    beside = shell.ask("train", "job.toml", "--name", name, "--runs", "elsewhere")
    shell.ask("stop", name)
    shell.end(name, process, timeout=30)
    after = shell.ask("train", "job.toml", "--name", name, "--runs", "elsewhere")

    assert (beside.returncode, after.returncode) == (2, 2)
    assert "names must be unique, and a training job with this name already exists (InProgress" in beside.stderr
    assert "already exists (Stopped" in after.stderr
    assert not (shell.folder / "elsewhere").exists()


def test_jobs_of_one_file_that_begin_in_the_same_second_have_names_of_their_own(shell: Shell) -> None:
    job = shell.job("echo $TRAINING_JOB_NAME")
    base = f"{shell.name()}-{'x' * 60}"
    job.write_text(job.read_text().replace('name = "shell"', f'name = "{base}"'))

    ran = [process.communicate(timeout=120) for process in [shell.start("train", job, "--json") for _ in range(5)]]

    names = [json.loads(out)["TrainingJobName"] for out, _ in ran]
    assert len(set(names)) == 5, names
    for name in names:
        assert re.fullmatch(r"job-[0-9]+-[0-9]+-x+-[0-9]{8}-[0-9]{6}", name)
        assert len(name) == 63
        assert (shell.folder / "runs" / name / "logs" / "algo-1.log").read_text() == f"{name}\n"
    assert {line[0] for line in listed(shell).values()} == {"Completed"}


def test_a_detached_job_outlives_its_terminal_and_says_everything_in_its_folder(shell: Shell) -> None:
    name = shell.name()
    script = "echo ready; while [ ! -e /opt/ml/input/data/sync/go ]; do sleep 0.1; done; echo done"
    job = shell.job(script, more='[inputs]\nsync = "fsx://training-data"')

    terminal = shell.start("train", job, "--name", name, "--detach")
    out, err = terminal.communicate(timeout=60)
    answer = described(shell, name)

    assert (terminal.returncode, out) == (0, f"{name}\n")
    assert f"homeport-local logs {name} --follow" in err
    assert answer["TrainingJobStatus"] == "InProgress"
    assert not is_dead(owner_of(shell.folder / "runs" / name))
    (shell.folder / "fsx" / "go").touch()
    assert shell.ask("logs", name, "--follow").stdout == "algo-1 │ ready\nalgo-1 │ done\n"
    assert described(shell, name)["TrainingJobStatus"] == "Completed"
    said = (shell.folder / "runs" / name / "harness.log").read_text()
    assert f"{name} · ml.m5.large × 1" in said
    assert "algo-1 │ done" in said
    wait_for(lambda: "Completed in" in (shell.folder / "runs" / name / "harness.log").read_text())


def test_the_end_of_a_terminal_is_nothing_to_a_detached_job(shell: Shell) -> None:
    terminal = shell.start("train", shell.job(WAITS), "--name", shell.name(), "--detach")
    name = terminal.communicate(timeout=60)[0].strip()
    wait_for(printed(shell.folder / "runs" / name, "ready"))

    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGKILL):
        with pytest.raises(ProcessLookupError):
            os.killpg(terminal.pid, number)

    assert described(shell, name)["TrainingJobStatus"] == "InProgress"
    assert shell.ask("stop", name, "--wait").stdout == f"{name}: Stopped\n"


@pytest.mark.parametrize(
    ("more", "code", "told"),
    [
        ('inputs.train = "file://nowhere"', 2, "there is no such directory"),
        ('inputs.train = "fsx://training-data/nowhere"', 2, "nowhere"),
        ('container_entry_point = ["/nothing"]', 2, "the container cannot start"),
    ],
)
def test_what_keeps_a_detached_job_from_beginning_is_told_at_once(
    shell: Shell, more: str, code: int, told: str
) -> None:
    refused = shell.ask("train", shell.job(more=more), "--name", shell.name(), "--detach")

    assert (refused.returncode, refused.stdout) == (code, "")
    assert told in refused.stderr
    assert listed(shell) == {}
    assert not (shell.folder / "runs").exists()


def test_a_detached_job_that_is_interrupted_before_it_begins_is_no_job(shell: Shell) -> None:
    name = shell.name()
    terminal = shell.start("train", shell.job(WAITS), "--name", name, "--detach")
    folder = shell.folder / "runs" / name
    wait_for(folder.exists)

    terminal.send_signal(signal.SIGINT)
    out, err = terminal.communicate(timeout=60)

    # Ctrl-C may come when the job has begun just now: then it is stopped.
    if terminal.returncode == 0:
        assert shell.ask("stop", name, "--wait").returncode in (0, 2)
    else:
        assert (terminal.returncode, out) == (130, ""), err
        assert not folder.exists()


def test_ended_jobs_are_pruned_and_running_ones_are_not(shell: Shell) -> None:
    ended = shell.train(shell.job("true"))
    name, process = begun(shell)

    would = shell.ask("prune")
    assert ended.folder.is_dir()
    did = shell.ask("prune", "--yes")
    shell.ask("stop", name)
    shell.end(name, process, timeout=30)

    assert (would.returncode, did.returncode) == (0, 0)
    assert "1 job, 0.0 MB would be removed; remove them with --yes" in would.stdout
    assert not ended.folder.exists()
    assert list(listed(shell)) == [name]
    assert [path.name for path in (shell.folder / "runs").iterdir()] == [name]


def test_the_commands_work_from_any_folder(shell: Shell, tmp_path: Path) -> None:
    ran = shell.train(shell.job("echo hello"))
    (tmp_path / "elsewhere").mkdir()
    shell.folder = tmp_path / "elsewhere"

    assert shell.ask("logs", ran.folder.name).stdout == "algo-1 │ hello\n"
