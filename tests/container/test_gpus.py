"""Real GPUs, as far as they can be seen without one: what the engine is asked for, and what a container finds."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from docker import APIClient

from local_mode.job_store import JobStore
from tests.container.conftest import Shell, printed, wait_for
from tests.container.nvidia import gpu_engine, path_of

_FSX = '[inputs]\nfsx = "fsx://training-data"\n'
# What NCCL wants is more than some machines let a container have.
_MEMLOCK, _STACK = 1 << 20, 8 << 20
SEEN = 'echo "$NVIDIA_VISIBLE_DEVICES:" $(cd /dev; ls nvidia* 2>/dev/null); nvidia-smi --list-gpus'
AWAIT = "until [ -e /opt/ml/input/data/fsx/go ]; do sleep 0.05; done"
OF_FOUR, OF_EIGHT = ("--instance-type", "ml.p3.8xlarge"), ("--instance-type", "ml.p3.16xlarge")


@pytest.fixture(scope="module")
def engine(api: APIClient, shell_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[APIClient]:
    """An engine of eight GPUs that has the shell's image."""
    if os.getuid() != 0 or not (shutil.which("dockerd") and shutil.which("unshare")):
        if os.environ.get("CI"):
            pytest.fail("CI runs these as root, with dockerd and unshare")
        pytest.skip("a second dockerd needs root, dockerd and unshare")
    with gpu_engine(tmp_path_factory.mktemp("gpus")) as client:
        client.load_image(b"".join(api.get_image(shell_image)))
        yield client


@pytest.fixture
def on_gpus(engine: APIClient, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A place whose engine and nvidia-smi have eight GPUs."""

    socket = engine._custom_adapter.socket_path  # type: ignore[union-attr]
    folder = Path(str(socket)).parent
    monkeypatch.setenv("DOCKER_HOST", f"unix://{socket}")
    monkeypatch.setenv("PATH", path_of(folder))
    with (shell.folder / "homeport.toml").open("a") as place:
        place.write(f"[local.container.ulimits]\nmemlock = {_MEMLOCK}\nstack = {_STACK}\n")
    return shell


@pytest.mark.effect("ResourceConfig.InstanceType")
def test_the_hosts_of_a_job_see_disjoint_gpus(on_gpus: Shell, engine: APIClient) -> None:
    job = on_gpus.job(f"{SEEN}; {AWAIT}", hosts=2, more=_FSX)
    name, process = on_gpus.begin(job, "--instance-type", "ml.p3.8xlarge")
    folder = on_gpus.folder / "runs" / name
    for host in ("algo-1", "algo-2"):
        wait_for(printed(folder, "number", host))

    asked = {
        container["Labels"]["homeport.host"]: engine.inspect_container(container)["HostConfig"]
        for container in engine.containers()
    }
    (on_gpus.folder / "fsx" / "go").touch()
    ran = on_gpus.end(name, process)

    assert ran.code == 0, ran.err
    assert {host: config["DeviceRequests"] for host, config in asked.items()} == {
        host: [{"Driver": "", "Count": 0, "DeviceIDs": ids, "Capabilities": [["gpu"]], "Options": {}}]
        for host, ids in (("algo-1", ["0", "1", "2", "3"]), ("algo-2", ["4", "5", "6", "7"]))
    }
    assert {limit["Name"]: limit["Hard"] for limit in asked["algo-1"]["Ulimits"]} == {
        "memlock": _MEMLOCK,
        "stack": _STACK,
    }
    assert ran.log("algo-2").splitlines() == [
        "4,5,6,7: nvidia4 nvidia5 nvidia6 nvidia7",
        *(f"GPU {number}: made of nothing, really number {number + 4}" for number in range(4)),
    ]


@pytest.mark.effect("ResourceConfig.InstanceType")
def test_two_jobs_of_four_that_begin_at_once_share_no_gpu_and_a_third_is_refused(
    on_gpus: Shell, engine: APIClient
) -> None:
    job = on_gpus.job(f"{SEEN}; {AWAIT}", more=_FSX)
    jobs = dict(on_gpus.begin(job, *OF_FOUR) for _ in range(2))
    for name in jobs:
        wait_for(printed(on_gpus.folder / "runs" / name, "GPU 3: "))

    asked = {
        container["Labels"]["homeport.job"]: engine.inspect_container(container)["HostConfig"]["DeviceRequests"]
        for container in engine.containers()
    }
    third = on_gpus.train(on_gpus.job(SEEN), *OF_FOUR)
    (on_gpus.folder / "fsx" / "go").touch()
    ran = {name: on_gpus.end(name, process) for name, process in jobs.items()}

    given = {name: request["DeviceIDs"] for name, (request,) in asked.items()}
    assert sorted(given.values()) == [["0", "1", "2", "3"], ["4", "5", "6", "7"]]
    assert [job.code for job in ran.values()] == [0, 0]
    for name, ids in given.items():
        assert ran[name].log().splitlines() == [
            f"{','.join(ids)}: {' '.join(f'nvidia{gpu}' for gpu in ids)}",
            *(f"GPU {number}: made of nothing, really number {gpu}" for number, gpu in enumerate(ids)),
        ]
        assert f"{name} holds {','.join(ids)}" in third.err
    assert third.code == 3
    assert "homeport-local stop NAME" in third.err
    assert not third.folder.exists()
    assert JobStore(on_gpus.state).held_gpus() == {}


def of_itself(_: subprocess.Popen[str]) -> None:
    """The host has ended."""


ENDS: dict[str, tuple[str, Callable[[subprocess.Popen[str]], None], int]] = {
    "completed": ("true", of_itself, 0),
    "failed": ("exit 7", of_itself, 1),
    "stopped": ("sleep 300 & wait", subprocess.Popen.terminate, 4),
    "interrupted": ("sleep 300 & wait", lambda harness: harness.send_signal(signal.SIGINT), 130),
    "harness killed": ("sleep 300", subprocess.Popen.kill, -signal.SIGKILL),
}


@pytest.mark.parametrize(("then", "end", "code"), ENDS.values(), ids=ENDS)
def test_the_gpus_of_a_job_are_free_however_it_ends(
    on_gpus: Shell, engine: APIClient, then: str, end: Callable[[subprocess.Popen[str]], None], code: int
) -> None:
    name, process = on_gpus.begin(on_gpus.job(f"trap 'exit 0' TERM; {SEEN}; {then}"), *OF_EIGHT)
    wait_for(printed(on_gpus.folder / "runs" / name, "GPU 7: "))
    end(process)
    ended = on_gpus.end(name, process)
    held = set(JobStore(on_gpus.state).held_gpus().values())

    after = on_gpus.train(on_gpus.job(SEEN), *OF_EIGHT)

    assert ended.code == code, ended.err
    # A harness that is killed frees nothing: the next command does, once the containers are gone.
    assert held == ({name} if code == -signal.SIGKILL else set())
    assert (after.code, after.log().count("GPU ")) == (0, 8), after.err
    assert engine.containers(all=True) == []


def test_the_gpus_that_are_named_are_the_ones_it_gets(on_gpus: Shell) -> None:
    ran = on_gpus.train(on_gpus.job(SEEN), "--instance-type", "ml.p3.8xlarge", "--gpus", "6,1")

    assert ran.code == 0, ran.err
    assert ran.log().splitlines()[0] == "6,1: nvidia1 nvidia6"


def test_a_job_for_cpus_sees_none(on_gpus: Shell) -> None:
    ran = on_gpus.train(on_gpus.job(f"({SEEN}) 2>/dev/null || true"))

    assert ran.code == 0, ran.err
    assert ran.log() == "void:\n"


def test_a_job_that_wants_more_is_refused_with_the_ways_out(on_gpus: Shell) -> None:
    ran = on_gpus.train(on_gpus.job(SEEN, hosts=2), "--instance-type", "ml.p3.16xlarge")

    assert ran.code == 3
    assert "the job wants 16 GPUs" in ran.err
    assert "--virtual-gpus N" in ran.err
