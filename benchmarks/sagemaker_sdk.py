"""The SageMaker SDK's local mode in an environment of its own, made on the first run and kept under .cache/."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

VERSION = "2.257.7"
NETWORK = "sagemaker-local"
"""What it leaves on the engine, beside its containers."""

_HERE = Path(__file__).resolve().parent
_PLACE = _HERE.parent / ".cache" / f"sagemaker-{VERSION}"
PYTHON = _PLACE / "bin" / "python"
# It prefers `docker compose` v2 where there is one. docker-compose 1.29.2 pins a PyYAML that no longer builds; with
# these it runs, as Debian's does.
_COMPOSE = "docker-compose==1.29.2"
_COMPOSE_NEEDS = ("docker==6.1.3", "requests<2.32", "distro", "dockerpty", "docopt", "python-dotenv", "texttable")


def install() -> str:
    """Make the environment where it is not there yet. Returns why it cannot be made, or nothing."""
    whole = _PLACE / ".whole"
    if whole.exists():
        return ""
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    try:
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(_PLACE)],
            [*pip, f"sagemaker[local]=={VERSION}", *_COMPOSE_NEEDS],
            [*pip, "--no-deps", _COMPOSE],
        ):
            subprocess.run(command, check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        return (f"{error.stdout}{error.stderr}".strip().splitlines() or [str(error)])[-1]
    whole.touch()
    return ""


def command(image: str, hosts: int) -> list[str]:
    """What trains on `image` with so many hosts."""
    return [str(PYTHON), str(_HERE / "sdk_train.py"), image, str(hosts)]


def environment() -> dict[str, str]:
    """What it finds besides: its docker-compose, and nothing that leads to AWS."""
    return {
        "PATH": f"{PYTHON.parent}{os.pathsep}{os.environ['PATH']}",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
