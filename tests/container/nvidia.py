"""An engine that gives out eight GPUs which are none: what is asked of it and what a container sees are real.

Docker 20.10 and later give GPUs out where they find `nvidia-container-runtime-hook` on their PATH. This one makes the
device nodes and the nvidia-smi that NVIDIA's would, with no device behind them.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from docker import APIClient
from docker.errors import DockerException

from tests.container.conftest import wait_for

_COUNT = 8
_HOOK = """#!{python}
import json, subprocess, sys

state = json.load(sys.stdin)
with open(state["bundle"] + "/config.json") as file:
    config = json.load(file)
visible = dict(entry.split("=", 1) for entry in config["process"]["env"]).get("NVIDIA_VISIBLE_DEVICES", "void")
gpus = [] if visible in ("void", "none", "") else visible.split(",")
if set(gpus) - set(map(str, range({count}))):
    sys.exit("nvidia-container-cli: device error: unknown device: " + visible)
root = config["root"]["path"]
listed = "".join(f"echo GPU $((n++)): made of nothing, really number {{gpu}}\\n" for gpu in gpus)
script = "".join(f"mknod -m 666 {{root}}/dev/nvidia{{gpu}} c 195 {{gpu}}\\n" for gpu in gpus)
script += f"cat > {{root}}/usr/bin/nvidia-smi && chmod 755 {{root}}/usr/bin/nvidia-smi"
inside = ["nsenter", "--target", str(state["pid"]), "--mount", "sh", "-ec", script]
subprocess.run(inside, input="#!/bin/bash\\nn=0\\n" + listed, text=True, check=True)
"""
_SMI = """#!/bin/sh
seq 0 {last}
"""


@contextmanager
def gpu_engine(folder: Path) -> Iterator[APIClient]:
    """A dockerd with its own network namespace below `folder`, ended on exit. Its PATH is for the harness too."""
    programs = folder / "bin"
    programs.mkdir(parents=True)
    for name, text in (
        ("nvidia-container-runtime-hook", _HOOK.format(python=sys.executable, count=_COUNT)),
        ("nvidia-smi", _SMI.format(last=_COUNT - 1)),
    ):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    address = f"unix://{folder}/sock"
    command = ["unshare", "--net", "--", "dockerd", "--host", address, "--pidfile", str(folder / "pid")]
    command += ["--data-root", str(folder / "data"), "--exec-root", str(folder / "exec")]
    with (folder / "log").open("wb") as log:
        daemon = subprocess.Popen(
            command, env=os.environ | {"PATH": path_of(folder)}, stdout=log, stderr=log, start_new_session=True
        )
    client = APIClient(base_url=address, version="1.41")
    try:
        wait_for(lambda: _answers(client))
        yield client
    finally:
        client.close()
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(timeout=60)
        shutil.rmtree(folder / "data", ignore_errors=True)


def path_of(folder: Path) -> str:
    """The PATH on which nvidia-smi finds eight GPUs."""
    return f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"


def _answers(client: APIClient) -> bool:
    try:
        return bool(client.ping())
    except (DockerException, OSError):
        return False
