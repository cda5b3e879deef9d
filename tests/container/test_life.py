"""How a job ends, by what ended it: what SageMaker's lifecycle (CONTRACT 4) says, seen on real containers."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from docker import APIClient

from local_mode.part_files import SUFFIX
from tests.container.conftest import BASE, Ran, Shell, half_done, printed, wait_for
from tests.held_s3 import Held, held_s3
from tests.s3_server import KEYS

LEAVES = "echo weights > /opt/ml/model/$HOST; echo seen > /opt/ml/output/data/$HOST"
ON_SECOND = f"{LEAVES}; echo ready; [ $HOST = algo-2 ] || {{ trap 'exit 0' TERM; sleep 300 & wait; }}; "
SPOT = "use_spot_instances = true\nmax_run = 3\nmax_wait = 3"
OUT_OF_MEMORY = "Please use an instance type with more memory, or reduce the size of job data processed on an instance."

Process = subprocess.Popen[str]
Act = Callable[[Shell, APIClient, str, Process], None]


@dataclass(frozen=True)
class Cause:
    """What a job does and what is done to it, and how SageMaker says that it ends."""

    script: str
    secondary: str
    code: int
    reason: str | None = None
    hosts: int = 1
    more: str = ""
    kept: tuple[str, ...] = ("algo-1",)
    act: Act | None = None


def when_ready(act: Act) -> Act:
    """`act` once every host has said that it is ready."""

    def wait_and_act(shell: Shell, api: APIClient, name: str, process: Process) -> None:
        wait_for(printed(shell.folder / "runs" / name, "ready"))
        act(shell, api, name, process)

    return wait_and_act


@when_ready
def stop(_: Shell, __: APIClient, ___: str, process: Process) -> None:
    process.terminate()


@when_ready
def kill_container(_: Shell, api: APIClient, name: str, __: Process) -> None:
    api.kill(f"homeport-{name}-algo-1", "SIGKILL")


@when_ready
def remove_container(_: Shell, api: APIClient, name: str, __: Process) -> None:
    api.remove_container(f"homeport-{name}-algo-1", force=True)


@when_ready
def limit_memory(shell: Shell, api: APIClient, name: str, _: Process) -> None:
    """As on an instance with little memory; then let the host want more."""
    api.update_container(f"homeport-{name}-algo-1", mem_limit="32m", memswap_limit="32m")
    (shell.folder / "fsx" / "go").touch()


WANTS_MEMORY = f"{LEAVES}; echo ready; until [ -e /opt/ml/input/data/sync/go ]; do sleep 0.05; done; "
MUCH = "head -c 400M /dev/zero | tr '\\0' x"
SYNC = '[inputs]\nsync = "fsx://training-data"'
WAITS = f"{LEAVES}; trap 'exit 9' TERM; echo ready; sleep 300 & wait"

CAUSES = {
    "exit 0": Cause(LEAVES, "Completed", 0),
    "exit 1 on one of three hosts": Cause(
        f"{ON_SECOND} exit 1", "Failed", 1, "AlgorithmError: , exit code: 1", 3, kept=("algo-1", "algo-2", "algo-3")
    ),
    "exit 255 on one of three hosts": Cause(
        f"{ON_SECOND} exit 255", "Failed", 1, "AlgorithmError: , exit code: 255", 3, kept=("algo-1", "algo-2", "algo-3")
    ),
    "a program that crashed": Cause(
        f"{LEAVES}; sh -c 'kill -SEGV $$'; exit $?", "Failed", 1, "AlgorithmError: , exit code: 139"
    ),
    "killed by somebody": Cause(WAITS, "Failed", 1, "AlgorithmError: , exit code: 137", act=kill_container),
    "removed by somebody": Cause(WAITS, "Failed", 3, "InternalServerError: ", kept=(), act=remove_container),
    "out of memory": Cause(
        f"{WANTS_MEMORY} all=$({MUCH})",
        "Failed",
        1,
        f"ClientError: {OUT_OF_MEMORY}, exit code: 137",
        more=SYNC,
        act=limit_memory,
    ),
    # A moment later the kernel has back what the killed one had (until then whoever asks for memory dies too), and a
    # busy engine has heard of it.
    "a part of it out of memory": Cause(
        f"mkfifo /tmp/quiet; exec 3<> /tmp/quiet; {WANTS_MEMORY} {MUCH} | tail -c 399M > /dev/null; read -t 5 -u 3; "
        "echo lost a rank > /opt/ml/output/failure; exit 1",
        "Failed",
        1,
        "AlgorithmError: OutOfMemory: a process was killed for want of memory. lost a rank, exit code: 1",
        more=SYNC,
        act=limit_memory,
    ),
    "max_run": Cause(WAITS, "MaxRuntimeExceeded", 5, more="max_run = 2"),
    "max_wait": Cause(WAITS, "MaxWaitTimeExceeded", 5, more=SPOT),
    "a stop while training": Cause(WAITS, "Stopped", 4, act=stop),
    "a failure file": Cause(
        f"{LEAVES}; printf 'ValueError: no data' > /opt/ml/output/failure; exit 3",
        "Failed",
        1,
        "AlgorithmError: ValueError: no data, exit code: 3",
    ),
    "a failure file and exit 0": Cause(f"{LEAVES}; echo oops > /opt/ml/output/failure", "Completed", 0),
    "no failure file": Cause(f"{LEAVES}; exit 17", "Failed", 1, "AlgorithmError: , exit code: 17"),
    "a failure file of 2 MB": Cause(
        f"{LEAVES}; yes é | tr -d '\\n' | head -c 2000000 > /opt/ml/output/failure; exit 99",
        "Failed",
        1,
        f"AlgorithmError: {'é' * (1024 - len('AlgorithmError: , exit code: 99'))}, exit code: 99",
    ),
    "a binary failure file": Cause(
        f"{LEAVES}; printf 'a\\000\\377\\033b' > /opt/ml/output/failure; exit 2",
        "Failed",
        1,
        "AlgorithmError: a\x00\ufffd\x1bb, exit code: 2",
    ),
}


@pytest.mark.effect("StoppingCondition.MaxRuntimeInSeconds", "StoppingCondition.MaxWaitTimeInSeconds")
@pytest.mark.parametrize("cause", CAUSES.values(), ids=CAUSES)
def test_a_job_ends_as_its_cause_says(shell: Shell, api: APIClient, cause: Cause) -> None:
    name, process = shell.begin(shell.job(cause.script, hosts=cause.hosts, more=cause.more))
    if cause.act:
        cause.act(shell, api, name, process)
    ran = shell.end(name, process, timeout=60)

    assert_ended(ran, cause.secondary, cause.code)
    assert reason_of(ran).startswith(cause.reason or "")
    assert ("FailureReason" in ran.description) == (cause.reason is not None)
    assert reason_of(ran) == cause.reason or cause.code in (0, 3, 4, 5)
    assert len(reason_of(ran)) <= 1024
    if cause.kept:
        assert ran.packed() == dict.fromkeys(cause.kept, b"weights\n")
        assert ran.packed("output.tar.gz") == dict.fromkeys(cause.kept, b"seen\n")
    else:
        assert not (ran.folder / "output").exists()


def test_an_image_without_train_is_no_job(shell: Shell) -> None:
    ran = shell.train(shell.job(), "--set", f"image={BASE}")

    assert ran.code == 2
    assert 'exec: "train": executable file not found in $PATH' in ran.err
    assert not ran.folder.exists()


@pytest.fixture
def held(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    """A bucket that holds back what is asked of it."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    with held_s3() as server:
        with (shell.folder / "homeport.toml").open("a") as place:
            place.write(f"[local.buckets.slow]\nendpoint = '{server.url}'\n[local.cache]\npath = 'cache'\n")
        yield server


CHECKPOINTS = 'checkpoint_s3_uri = "s3://slow/held/"'
CHANNEL = '[inputs]\ntrain = {{ uri = "s3://slow/held/", input_mode = "{0}" }}'
SOURCE = '[hyperparameters]\nsagemaker_submit_directory = "s3://slow/held/file"'
# What the job asks of a bucket before it has containers, and which of the bucket's answers never comes.
SILENCES = {
    "a list of checkpoints": (CHECKPOINTS, "LIST", ["Starting"]),
    "whether checkpoints may be written": (CHECKPOINTS, "PUT", ["Starting"]),
    "a checkpoint": (CHECKPOINTS, "GET", ["Starting"]),
    "the source archive": (SOURCE, "HEAD", ["Starting"]),
    "a list of a pipe's objects": (CHANNEL.format("Pipe"), "LIST", ["Starting"]),
    "a list of what FastFile shows": (CHANNEL.format("FastFile"), "LIST", ["Starting"]),
    "a list of a channel's objects": (CHANNEL.format("File"), "LIST", ["Starting", "Downloading"]),
    "an object of a channel": (CHANNEL.format("File"), "GET", ["Starting", "Downloading"]),
}
SOON = 4  # seconds that a stop takes at most, on a machine that has other things to do


@pytest.mark.parametrize(("more", "silent", "passed"), SILENCES.values(), ids=SILENCES)
def test_a_job_that_is_stopped_before_it_has_containers_is_stopped_at_once(
    shell: Shell, held: Held, more: str, silent: str, passed: list[str]
) -> None:
    held.holds = (silent,)
    name, process = shell.begin(shell.job(LEAVES, more=more))
    wait_for(lambda: held.asked.is_set() or process.poll() is not None)

    stopped = time.monotonic()
    process.terminate()
    ran = shell.end(name, process, timeout=30)

    assert time.monotonic() - stopped < SOON
    assert_ended(ran, "Stopped", 4)
    assert statuses(ran) == [*passed, "Stopping", "Stopped"]
    assert "BillableTimeInSeconds" not in ran.description or "Downloading" in passed
    assert not (ran.folder / "output").exists()


@pytest.mark.parametrize(("way", "code"), [("Ctrl-C", 130), ("homeport-local stop", 4)])
def test_every_way_to_stop_a_job_ends_the_wait_for_a_silent_server(
    shell: Shell, held: Held, way: str, code: int
) -> None:
    held.holds = ("LIST",)
    name, process = shell.begin(shell.job(LEAVES, more=CHECKPOINTS))
    wait_for(lambda: held.asked.is_set() or process.poll() is not None)

    stopped = time.monotonic()
    if way == "Ctrl-C":
        process.send_signal(signal.SIGINT)
    else:
        assert shell.ask("stop", name).returncode == 0
    ran = shell.end(name, process, timeout=30)

    assert time.monotonic() - stopped < SOON
    assert_ended(ran, "Stopped", code)


def test_a_job_that_is_stopped_while_it_uploads_is_stopped_and_its_artifacts_arrive(shell: Shell, held: Held) -> None:
    name, process = shell.begin(shell.job(LEAVES, more='output_path = "s3://slow"'))
    wait_for(lambda: held.asked.is_set() or process.poll() is not None)

    process.terminate()
    held.let_go.set()
    ran = shell.end(name, process, timeout=30)

    assert_ended(ran, "Stopped", 4)
    assert statuses(ran) == ["Starting", "Training", "Uploading", "Stopping", "Stopped"]
    assert sorted(held.written) == [f"/slow/{name}/output/{file}" for file in ("model.tar.gz", "output.tar.gz")]


KILLED = {
    "Starting": (CHECKPOINTS, "LIST", "true", ["Starting"]),
    "Downloading": (CHANNEL.format("File"), "GET", "true", ["Starting", "Downloading"]),
    "Training": ("", "", "sleep 300", ["Starting", "Training"]),
    "Uploading": ('output_path = "s3://slow"', "OUTPUT", "true", ["Starting", "Training", "Uploading"]),
}


@pytest.mark.parametrize(("status", "command"), list(zip(KILLED, ("list", "describe", "stop", "list"), strict=True)))
def test_a_job_whose_harness_is_killed_has_failed_where_it_was_and_the_next_command_says_so(
    shell: Shell, held: Held, left: Callable[[], list[str]], status: str, command: str
) -> None:
    more, silent, then, passed = KILLED[status]
    held.holds = (silent,)
    name, process = shell.begin(shell.job(f"echo ready; {then}", hosts=2, more=more))
    folder = shell.folder / "runs" / name
    wait_for(lambda: held.asked.is_set() or (not silent and printed(folder, "ready", "algo-2")()))
    killed = datetime.now(UTC)
    process.kill()
    process.communicate()

    asked = shell.ask(command, *([] if command == "list" else [name]))

    found = json.loads((folder / "describe.json").read_text())
    reason = f"InternalServerError: the process that ran this job was killed while it was {status}; "
    assert found["FailureReason"].startswith(reason)
    assert [step["Status"] for step in found["SecondaryStatusTransitions"]] == [*passed, "Failed"]
    assert datetime.fromisoformat(found["TrainingEndTime"]) <= killed + timedelta(seconds=1)
    assert (asked.returncode, left()) == (2 if command == "stop" else 0, [])
    assert "Failed" in asked.stdout + asked.stderr
    assert list(folder.rglob(f"*{SUFFIX}")) == []
    assert not (folder / ".lock").exists()
    held.let_go.set()
    after = shell.train(shell.job("true"))
    assert after.code == 0, after.err
    assert half_done(shell) == []
    assert json.loads(shell.ask("describe", name, "--json").stdout) == found


def test_sigterm_reaches_every_host_within_half_a_second_and_is_waited_for(shell: Shell) -> None:
    """The hosts need ten seconds for their work, of the 120 that they have."""
    saves = "date +%s.%N > /opt/ml/model/$HOST; sleep 10; date >> /opt/ml/model/$HOST; exit 0"
    name, process = shell.begin(shell.job(f"trap '{saves}' TERM; echo ready; sleep 300 & wait", hosts=3))
    wait_for(lambda: all(printed(shell.folder / "runs" / name, "ready", f"algo-{n}")() for n in (1, 2, 3)))

    stopped = time.time()
    process.terminate()
    ran = shell.end(name, process, timeout=60)

    assert_ended(ran, "Stopped", 4)
    left = [content.splitlines() for content in ran.packed().values()]
    assert [len(lines) for lines in left] == [2, 2, 2]
    assert max(float(lines[0]) for lines in left) - stopped < 0.5


@pytest.mark.effect("RetryStrategy")
def test_a_container_that_vanishes_is_replaced_as_often_as_the_job_says(shell: Shell, api: APIClient) -> None:
    again = "/opt/ml/input/data/sync/again"
    script = f"[ -e {again} ] && {{ {LEAVES}; exit 0; }}; touch {again}; echo ready; sleep 300"
    more = 'max_retry_attempts = 1\n[inputs]\nsync = { uri = "fsx://training-data", access = "rw" }'
    name, process = shell.begin(shell.job(script, more=more))

    remove_container(shell, api, name, process)
    ran = shell.end(name, process, timeout=60)

    assert_ended(ran, "Completed", 0)
    assert statuses(ran) == ["Starting", "Training", "Starting", "Training", "Uploading", "Completed"]
    assert "tried again, 1 of 1 times (RetryStrategy)" in ran.out


EPOCHS = 14
COUNTS_EPOCHS = f"""cd /opt/ml/checkpoints
n=$(cat epoch 2>/dev/null || echo 0)
[ ! -e /opt/ml/model/before ] || exit 1
touch /opt/ml/model/before
while [ $n -lt {EPOCHS} ]; do
  sleep 1; n=$((n+1)); echo "epoch $n"; echo $n > next; mv next epoch
done
echo $n > /opt/ml/model/epochs"""


@pytest.mark.effect("EnableManagedSpotTraining", "CheckpointConfig")
def test_a_job_interrupted_twice_does_as_many_epochs_and_says_what_it_lost(shell: Shell) -> None:
    more = 'use_spot_instances = true\nmax_run = 60\nmax_wait = 90\ncheckpoint_s3_uri = "s3://{0}/ck"\n'
    for bucket in ("straight", "drilled"):
        (shell.folder / bucket).mkdir()
        with (shell.folder / "homeport.toml").open("a") as place:
            place.write(f"[local.buckets.{bucket}]\npath = '{bucket}'\n")

    straight = shell.begin(shell.job(COUNTS_EPOCHS, more=more.format("straight")))
    wait_for(printed(shell.folder / "runs" / straight[0], "epoch 1"))
    drilled = shell.begin(shell.job(COUNTS_EPOCHS, more=more.format("drilled")), "--interrupt-after", "7,7")
    jobs = [shell.end(*job, timeout=90) for job in (straight, drilled)]

    assert [ran.code for ran in jobs] == [0, 0], jobs[1].out
    assert [ran.packed()["epochs"] for ran in jobs] == [f"{EPOCHS}\n".encode()] * 2
    once = ["Starting", "Training", "Interrupted"]
    assert statuses(jobs[1]) == [*once, *once, "Starting", "Training", "Uploading", "Completed"]
    assert [line for line in jobs[1].out.splitlines() if "s of work are lost, those since the last checkpoint" in line]
    assert "  interrupted 2 of 2 times: " in jobs[1].out
    done = [line for line in jobs[1].log().splitlines() if line.startswith("epoch")]
    assert len(done) > len(set(done)) == EPOCHS  # what was lost was done again
    assert jobs[1].log().count("--- homeport: the job starts anew ---") == 2
    assert jobs[1].description["BillableTimeInSeconds"] < jobs[1].description["TrainingTimeInSeconds"]


def assert_ended(ran: Ran, secondary: str, code: int) -> None:
    status = secondary if secondary in ("Completed", "Failed") else "Stopped"
    found: dict[str, Any] = ran.description
    assert (ran.code, found["TrainingJobStatus"], found["SecondaryStatus"]) == (code, status, secondary), ran.out


def reason_of(ran: Ran) -> str:
    return str(ran.description.get("FailureReason", ""))


def statuses(ran: Ran) -> list[str]:
    return [step["Status"] for step in ran.description["SecondaryStatusTransitions"]]
