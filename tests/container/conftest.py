"""Jobs on a real engine. The image is a shell: what a host does is the text in its hyperparameter `script`."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from docker import APIClient

from container_engine.address import find_engine
from local_mode.docker_engine import DockerEngine
from local_mode.part_files import SUFFIX
from tests.s3_gate import Gate, gate_before
from tests.s3_server import KEYS, REGION, Served, rclone_s3
from training_job.errors import NoEngine

ROOT = Path(__file__).parents[2]
BASE = "homeport/debian:bookworm"
SHELL = "homeport-test/shell:1"
TENSORFLOW = "homeport/tensorflow:cpu"
PYTORCH = "homeport/pytorch:cpu"
_LABEL = "homeport.job"

# Reads what the job's file says, as a bring-your-own image would.
_TRAIN = """#!/bin/sh
set -u
export HOST="$(sed 's/.*"current_host":"\\([^"]*\\)".*/\\1/' /opt/ml/input/config/resourceconfig.json)"
eval "$SCRIPT"
"""


@dataclass(frozen=True)
class Ran:
    """How homeport-local ended, and what it left."""

    code: int
    out: str
    err: str
    folder: Path

    @property
    def description(self) -> dict[str, Any]:
        """describe.json."""
        found: dict[str, Any] = json.loads((self.folder / "describe.json").read_text())
        return found

    def log(self, host: str = "algo-1") -> str:
        """A host's whole log."""
        return (self.folder / "logs" / f"{host}.log").read_text()

    def packed(self, archive: str = "model.tar.gz") -> dict[str, bytes]:
        """The files of an archive."""
        with tarfile.open(self.folder / "output" / archive) as opened:
            return {
                member.name: content.read() for member in opened if (content := opened.extractfile(member)) is not None
            }


class Shell:
    """A folder with a homeport.toml, in which jobs are run as a person would."""

    def __init__(self, folder: Path, image: str) -> None:
        self.folder = folder
        self.state = folder.with_name(f"{folder.name}-state")
        self._image = image
        self._number = 0
        self.is_elsewhere = False
        (folder / "homeport.toml").write_text(
            '[local.file_systems.training-data]\nmount_name = "fsx"\npath = "fsx"\n'
            '[local.file_systems.home]\ntype = "EFS"\npath = "efs"\n'
        )
        for name in ("fsx", "efs"):
            (folder / name).mkdir()

    def map(self, where: str) -> None:
        """Say what s3://bucket is here, with a cache of this folder's own."""
        self.is_elsewhere = where.startswith("endpoint")
        with (self.folder / "homeport.toml").open("a") as place:
            place.write(f"[local.buckets.bucket]\n{where}\n[local.cache]\npath = 'cache'\n")

    def job(self, script: str = "true", *, hosts: int = 1, more: str = "") -> Path:
        """A job file whose hosts run `script`; `more` is TOML that follows."""
        path = self.folder / "job.toml"
        path.write_text(
            f'name = "shell"\nimage = "{self._image}"\ninstance_type = "ml.m5.large"\ninstance_count = {hosts}\n'
            f"environment = {{ SCRIPT = {json.dumps(script)} }}\n{more}\n"
        )
        return path

    def start(self, *arguments: str | Path, environ: dict[str, str] | None = None) -> subprocess.Popen[str]:
        """homeport-local in a process group of its own, as a terminal starts it."""
        return subprocess.Popen(
            [sys.executable, "-m", "local_mode", *map(str, arguments)],
            cwd=self.folder,
            env=os.environ | {"HOMEPORT_STATE": str(self.state)} | (environ or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def ask(self, *arguments: str | Path, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Give a command in a second terminal, and wait for its end."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=timeout)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def train(self, job: Path, *arguments: str, environ: dict[str, str] | None = None, timeout: float = 600) -> Ran:
        """Run a job to its end."""
        name, process = self.begin(job, *arguments, environ=environ)
        return self.end(name, process, timeout)

    def begin(
        self, job: Path, *arguments: str, environ: dict[str, str] | None = None
    ) -> tuple[str, subprocess.Popen[str]]:
        """Start a job under a name of its own."""
        name = self.name()
        return name, self.start("train", job, "--name", name, *arguments, environ=environ)

    def name(self) -> str:
        """A name that no job has yet."""
        self._number += 1
        return f"job-{os.getpid()}-{self._number}"

    def end(self, name: str, process: subprocess.Popen[str], timeout: float = 600) -> Ran:
        """Wait for it."""
        out, err = process.communicate(timeout=timeout)
        return Ran(process.returncode, out, err, self.folder / "runs" / name)


@dataclass(frozen=True)
class Bucket:
    """s3://bucket of a job: the folder whose files are its objects, wherever the job has them from."""

    folder: Path

    @property
    def objects(self) -> dict[str, bytes]:
        """Every file by its key, also one that is none of ours; but for what rclone has not been sent whole."""
        found = {}
        # Gone since it was listed: whoever waits for an object looks again.
        with suppress(FileNotFoundError):
            for path in self.folder.rglob("*"):
                if path.is_file() and not path.name.startswith(".rclone_temp_"):
                    found[str(path.relative_to(self.folder))] = path.read_bytes()
        return found

    def put(self, key: str, content: bytes) -> None:
        """Somebody else's object."""
        path = self.folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def wait_for(what: Callable[[], bool], seconds: float = 60, every: float = 0.05) -> None:
    """Until `what` holds, looked at `every` so many seconds; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(every)


def hosts_of(count: int) -> list[str]:
    """A job's hosts."""
    return [f"algo-{number + 1}" for number in range(count)]


def half_done(shell: Shell) -> list[str]:
    """Files in the making, work directories and mounts of jobs: none, once a job has ended."""
    work = shell.folder / "cache/work"
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [
        *map(str, shell.folder.rglob(f"*{SUFFIX}")),
        *map(str, work.iterdir() if work.is_dir() else ()),
        *(mount for mount in mounts if mount.startswith(str(work))),
    ]


def printed(folder: Path, text: str, host: str = "algo-1") -> Callable[[], bool]:
    """Whether a host's log holds `text` yet."""
    log = folder / "logs" / f"{host}.log"
    return lambda: log.exists() and text in log.read_text()


def kept(cache: Path) -> list[str]:
    """Every file below a cache but its locks, and what runs had there to work with."""
    files = (path for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock" and path.name != "lock")
    return sorted(str(path.relative_to(cache)) for path in {*files, *cache.glob("work/*"), *cache.glob("parts/*")})


def inputs(mode: str = "File", uri: str = "s3://bucket/set/", more: str = "") -> str:
    """A channel `data` of S3, the digests of what it should hold, and a directory to tell the hosts something."""
    return (
        '[inputs]\nexpected = "fsx://training-data/expected"\nsync = "fsx://training-data/sync"\n'
        f'data = {{ uri = "{uri}", input_mode = "{mode}" }}\n{more}\n'
    )


@pytest.fixture(scope="session")
def api() -> Iterator[APIClient]:
    """The engine; without one a laptop skips and CI fails."""
    try:
        DockerEngine.connect()
    except NoEngine as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    client = APIClient(base_url=find_engine(os.environ, Path.home()).address, version="auto")
    yield client
    client.close()


@pytest.fixture(scope="session")
def shell_image(api: APIClient) -> str:
    """An image whose `train` runs the text in SCRIPT."""
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        for name, text, mode in (
            ("Dockerfile", f"FROM {BASE}\nCOPY train /usr/local/bin/train\n", 0o644),
            ("train", _TRAIN, 0o755),
        ):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text.encode()), mode
            archive.addfile(entry, io.BytesIO(text.encode()))
    context.seek(0)
    steps = list(api.build(fileobj=context, custom_context=True, tag=SHELL, rm=True, decode=True))
    assert not [step for step in steps if "error" in step], steps
    return SHELL


@pytest.fixture
def shell(shell_image: str, tmp_path: Path) -> Shell:
    """A place to run shell jobs in."""
    return Shell(tmp_path, shell_image)


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[Served]:
    """An S3 endpoint on loopback, its buckets folders."""
    with rclone_s3(tmp_path / "s3") as server:
        yield server


@pytest.fixture(params=["a directory", "an endpoint"])
def bucket(request: pytest.FixtureRequest, shell: Shell, s3: Served, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """An empty bucket that is a directory, and one behind an S3 endpoint."""
    (s3.root / "bucket").mkdir(parents=True)
    shell.map(f'path = "{s3.root}/bucket"' if request.param == "a directory" else f'endpoint = "{s3.url}"')
    for name, value in (KEYS | {"AWS_REGION": REGION}).items():
        monkeypatch.setenv(name, value)
    return Bucket(s3.root / "bucket")


@pytest.fixture
def objects(shell: Shell, s3: Served) -> dict[str, bytes]:
    """What s3://bucket/set/ holds; a host can check it with CHECK_FILES."""
    chance = random.Random(7)
    objects = {name: chance.randbytes(size) for name, size in (("a", 10), ("big", 6_000_000), ("deep/c", 3_000_000))}
    for path, content in objects.items():
        s3.put("bucket", f"set/{path}", content)
    for name in ("expected", "sync"):
        (shell.folder / "fsx" / name).mkdir()
    lines = (f"{hashlib.sha256(content).hexdigest()}  {path}\n" for path, content in objects.items())
    (shell.folder / "fsx/expected/algo-1").write_text("".join(lines))
    return objects


@pytest.fixture
def gate(shell: Shell, s3: Served, objects: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:  # noqa: ARG001
    """The endpoint of the bucket."""
    for name, value in (KEYS | {"AWS_REGION": REGION}).items():
        monkeypatch.setenv(name, value)
    with gate_before(s3) as gate, (shell.folder / "homeport.toml").open("a") as place:
        place.write(f"[local.buckets.bucket]\nendpoint = '{gate.url}'\n[local.cache]\npath = 'cache'\n")
        place.flush()
        yield gate


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 80 MB; only root can mount one."""
    if os.getuid() != 0:
        pytest.skip("only root can mount a small file system to fill")
    disk = tmp_path / "small"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80m", "tmpfs", disk], check=True)
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.fixture
def left(api: APIClient) -> Callable[[], list[str]]:
    """What is on the engine with our label and from these tests: nothing, after every job."""
    ours = f"job-{os.getpid()}-"

    def labelled() -> list[str]:
        chosen = {"label": _LABEL}
        found = {
            "Names": api.containers(all=True, filters=chosen),
            "Name": [*api.networks(filters=chosen), *(api.volumes(filters=chosen)["Volumes"] or ())],
        }
        return [
            str(thing[name]) for name, things in found.items() for thing in things if ours in thing["Labels"][_LABEL]
        ]

    return labelled


@pytest.fixture(autouse=True)
def _nothing_is_left(left: Callable[[], list[str]]) -> Iterator[None]:
    yield
    assert left() == []
