"""What a notebook instance does at its start, and when it stops itself.

Run in a container that has nothing of SageMaker but the programs it is expected to have, each of which writes down how
it was called.
"""

import json
import os
import re
import shutil
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from docker import APIClient
from docker.errors import ImageNotFound

from cloud.templates import PARTS
from container_engine.connection import connect
from training_job.errors import NoEngine

IMAGE = "homeport/tensorflow:cpu"
SETTINGS = {
    "REGION": "us-west-2",
    "FSX_ID": "fs-0123456789abcdef0",
    "FSX_MOUNT_NAME": "a1b2c3d4",
    "EFS_ID": "fs-0fedcba9876543210",
    "HOMEPORT": "homeport==0.1.0",
    "IDLE_MINUTES": "60",
}
PROGRAMS = ("systemctl", "systemd-run", "dnf", "mount", "aws", "docker")
# sudo does what it is told, and a new environment's pip is a program like the others.
DRIVER = r"""
set -e
mkdir -p /fakes /etc/docker /home/ec2-user/SageMaker /opt/ml/metadata
id ec2-user > /dev/null 2>&1 || useradd ec2-user
echo '{"runtimes": {"nvidia": {}}}' > /etc/docker/daemon.json
for program in $PROGRAMS; do
    printf '#!/bin/sh\necho "%s $*" >> /calls\n' "$program" > "/fakes/$program"
done
printf '#!/bin/sh\nexit 1\n' > /fakes/mountpoint
printf '#!/bin/sh\nshift 2\nexec "$@"\n' > /fakes/sudo
cat > /fakes/python3.11 <<'SH'
#!/bin/sh
mkdir -p "$3/bin"
printf '#!/bin/sh\necho "pip $*" >> /calls\ntouch "$(dirname "$0")/homeport-local"\n' > "$3/bin/pip"
chmod +x "$3/bin/pip"
SH
chmod +x /fakes/*
export PATH=/fakes:$PATH
log=/home/ec2-user/SageMaker/homeport-setup.log
start() {
    rm -f "$log"
    bash -c "$SCRIPT"
    timeout 60 sh -c "until grep -q '^ready\|^failed' $log 2> /dev/null; do sleep 0.1; done"
}
start
"""


def script() -> str:
    """What is run, before the settings are put in front of it."""
    part = next(part for part in PARTS if part.name == "notebook")
    hook = part.template["Resources"]["NotebookStart"]["Properties"]["OnStart"][0]["Content"]
    pieces = hook["Fn::Base64"]["Fn::Join"][1]
    assert [piece["Fn::Sub"].partition("=")[0] for piece in pieces[1:-1]] == list(SETTINGS)
    return str(pieces[-1])


def embedded(name: str) -> str:
    """A program that the script writes to /usr/local/bin."""
    found = re.search(rf"cat > /usr/local/bin/{name} <<'(\w+)'\n(.*?)\n\1\n", script(), re.DOTALL)
    assert found
    return found[2] + "\n"


def with_settings(**changed: str) -> str:
    settings = "".join(f"{name}='{value}'\n" for name, value in (SETTINGS | changed).items())
    return f"#!/bin/bash\n{settings}{script()}"


@pytest.mark.parametrize("text", [with_settings(), embedded("homeport-setup")], ids=["start", "setup"])
def test_the_shell_scripts_are_sound(text: str, tmp_path: Path) -> None:
    path = tmp_path / "script.sh"
    path.write_text(text)
    checks = [["bash", "-n"]] + ([["shellcheck"]] if shutil.which("shellcheck") else [])

    for check in checks:
        checked = subprocess.run([*check, path], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.fixture(scope="module")
def engine() -> APIClient:
    try:
        api = connect().api
        api.inspect_image(IMAGE)
    except (NoEngine, ImageNotFound) as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"{error}: make image")
    return api


def run(engine: APIClient, then: str, text: str) -> str:
    """The output of the driver and what comes after it, of a container that is gone afterwards."""
    container = engine.create_container(
        IMAGE,
        ["-c", DRIVER + then],
        entrypoint="bash",
        user="root",
        environment={"SCRIPT": text, "PROGRAMS": " ".join(PROGRAMS)},
        host_config=engine.create_host_config(network_mode="none"),
    )
    try:
        engine.start(container)
        code = engine.wait(container, timeout=120)["StatusCode"]
        said: str = engine.logs(container).decode()
    finally:
        engine.remove_container(container, force=True)
    assert code == 0, said
    return said


def test_a_start_mounts_the_file_systems_moves_docker_and_installs_homeport_pinned(engine: APIClient) -> None:
    said = run(engine, "cat /calls; echo ----; cat /etc/docker/daemon.json; echo ----; cat $log", with_settings())

    calls, daemon, log = said.split("----\n")
    volume = "/home/ec2-user/SageMaker"
    assert "systemctl restart docker\n" in calls
    assert (
        f"systemd-run --unit=homeport-idle --on-active=300 --on-unit-active=300 "
        f"/usr/local/bin/homeport-stop-when-idle {SETTINGS['REGION']} 60\n"
    ) in calls
    assert "dnf install --assumeyes --quiet lustre-client\n" in calls
    fsx = f"{SETTINGS['FSX_ID']}.fsx.us-west-2.amazonaws.com@tcp:/a1b2c3d4 /fsx"
    assert f"mount -t lustre -o noatime,flock {fsx}\n" in calls
    assert f"mount -t efs -o tls {SETTINGS['EFS_ID']}:/ /efs\n" in calls
    assert "pip install --quiet homeport==0.1.0\n" in calls
    assert json.loads(daemon) == {
        "runtimes": {"nvidia": {}},
        "data-root": f"{volume}/.docker",
        "default-shm-size": "8G",
    }
    assert log.endswith("ready: homeport==0.1.0\n")


def test_the_next_start_installs_nothing_that_is_there(engine: APIClient) -> None:
    said = run(engine, "echo ----; rm /calls; start; cat /calls; cat $log", with_settings())

    again = said.rpartition("----\n")[2]
    assert "pip" not in again
    assert again.endswith("ready: homeport==0.1.0\n")


def test_without_file_systems_none_is_mounted_and_a_wheel_comes_from_the_bucket(engine: APIClient) -> None:
    wheel = "s3://a-bucket/homeport-0.1.0-py3-none-any.whl"

    said = run(engine, "cat /calls", with_settings(FSX_ID="", FSX_MOUNT_NAME="", EFS_ID="", HOMEPORT=wheel))

    there = "/home/ec2-user/SageMaker/.homeport/homeport-0.1.0-py3-none-any.whl"
    assert "mount " not in said
    assert f"aws s3 cp --quiet {wheel} {there} --region us-west-2\n" in said
    assert f"pip install --quiet {there}\n" in said


def test_what_fails_is_told_in_the_log_and_does_not_keep_the_instance_from_starting(engine: APIClient) -> None:
    said = run(engine, "printf '#!/bin/sh\\nexit 32\\n' > /fakes/mount; start; cat $log", with_settings())

    assert re.search(r"failed in line \d+: mount -t lustre", said)


class Idle:
    """The program that looks whether anything runs, on an instance where nothing does."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.module: Any = ModuleType("idle")
        exec(compile(embedded("homeport-stop-when-idle"), "homeport-stop-when-idle", "exec"), self.module.__dict__)
        self.module.MARK = tmp_path / "mark"
        self.module.REGION, self.module.MINUTES = "us-west-2", 60
        self.kernels: list[dict[str, str]] = []
        self.containers = ""
        self.called: list[list[str]] = []
        metadata = tmp_path / "metadata.json"
        metadata.write_text('{"ResourceName": "ours"}')
        real = self.module.pathlib.Path
        self.module.pathlib = SimpleNamespace(Path=lambda path: metadata if "metadata" in path else real(path))
        self.module.jupyter = lambda what: self.kernels if what == "kernels" else []
        self.module.subprocess = SimpleNamespace(run=self._run)
        monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))

    def _run(self, words: list[str], **_: object) -> SimpleNamespace:
        self.called.append(words)
        return SimpleNamespace(stdout=self.containers, returncode=0)

    def looks(self, idle_minutes: float | None) -> bool:
        """Whether a look stops the instance, so many minutes after something ran; None: it has just started."""
        if idle_minutes is not None:
            self.module.MARK.touch()
            then = time.time() - 60 * idle_minutes
            os.utime(self.module.MARK, (then, then))
        assert self.module.main() == 0
        return any("stop-notebook-instance" in words for words in self.called)


@pytest.fixture
def idle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Idle:
    return Idle(tmp_path, monkeypatch)


def test_an_instance_stops_itself_once_nothing_has_run_for_an_hour(idle: Idle) -> None:
    assert idle.looks(61)

    assert idle.called[-1] == [
        "aws", "sagemaker", "stop-notebook-instance", "--region", "us-west-2", "--notebook-instance-name", "ours",
    ]  # fmt: skip


def test_an_instance_that_was_just_started_or_used_does_not_stop(idle: Idle) -> None:
    assert not idle.looks(None)
    assert not idle.looks(59)


def test_an_instance_with_a_container_does_not_stop(idle: Idle) -> None:
    idle.containers = "0123456789ab\n"

    assert not idle.looks(600)


def test_an_instance_that_computes_does_not_stop(idle: Idle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 3.0))

    assert not idle.looks(600)


@pytest.mark.parametrize(("state", "minutes", "stops"), [("busy", 600, False), ("idle", 59, False), ("idle", 61, True)])
def test_an_instance_whose_notebook_is_used_does_not_stop(idle: Idle, state: str, minutes: int, stops: bool) -> None:
    then = datetime.now(UTC) - timedelta(minutes=minutes)
    idle.kernels = [{"execution_state": state, "last_activity": then.strftime("%Y-%m-%dT%H:%M:%S.%fZ")}]

    assert idle.looks(600) is stops


def test_a_jupyter_that_does_not_answer_keeps_no_instance_running(idle: Idle) -> None:
    def refused(_what: str) -> None:
        raise ConnectionRefusedError

    idle.module.jupyter = refused

    assert idle.looks(61)
