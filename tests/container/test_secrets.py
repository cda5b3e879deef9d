"""What is planted as a secret reaches the container it is meant for and nothing else that anybody could read."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from docker import APIClient
from docker.errors import ImageNotFound

from tests.container.conftest import Ran, Shell, printed, wait_for
from tests.registry import PASSWORD, Registry, registry, registry_program

ENVIRONMENT = {name: f"planted-{name}" for name in ("WANDB_API_KEY", "HF_TOKEN", "db_password", "My_Secret")}
HYPERPARAMETER = "planted-hyperparameter"
AWS = ("AKIAPLANTEDPLANTED", "planted-aws-secret", "planted-aws-session")
_EVERYWHERE = (*AWS, PASSWORD)
"""What not even the container's own description may hold."""
PLANTED = (*ENVIRONMENT.values(), HYPERPARAMETER, *_EVERYWHERE)

# Takes the credentials, as an SDK does, and keeps them to itself; then says whether it was given everything.
_TAKE = """
for try in $(seq 100); do grep -q 169.254.170.2 /proc/net/fib_trie && break; sleep 0.1; done
sleep 0.1
got=$(bash -c "exec 3<>/dev/tcp/169.254.170.2/80; printf 'GET $AWS_CONTAINER_CREDENTIALS_RELATIVE_URI\\r\\n\\r\\n' >&3
cat <&3")
case "$got$HF_TOKEN$(cat /opt/ml/input/config/hyperparameters.json)" in
    *plante?-aws-session*plante?-HF_TOKEN*plante?-hyperparameter*) echo given ;;
    *) echo not given ;;
esac
for try in $(seq 600); do [ ! -e /opt/ml/input/data/sync/go ] || break; sleep 0.1; done
"""
_ENDS = {"completes": "exit 0", "fails": "exit 3", "is stopped": "exit 1"}
_CODES = {"completes": 0, "fails": 1, "is stopped": 4}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    program = registry_program()
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("docker-registry cannot be had")
        pytest.skip("docker-registry cannot be had: apt-get download docker-registry")
    with registry(program, tmp_path_factory.mktemp("registry")) as served:
        yield served


@pytest.fixture(scope="module")
def private_image(api: APIClient, shell_image: str, server: Registry) -> Iterator[str]:
    """The shell image under a name that only a private registry knows."""
    name = f"{server.address}/team/shell"
    api.tag(shell_image, name, "1")
    steps = list(api.push(name, "1", auth_config=server.sign_in, stream=True, decode=True))
    assert not [step for step in steps if "error" in step], steps
    yield f"{name}:1"
    with suppress(ImageNotFound):
        api.remove_image(f"{name}:1")


@pytest.fixture
def keeper(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, api: APIClient, private_image: str, server: Registry
) -> Shell:
    """Somebody with secrets, whose image has to be pulled. What is theirs lies in `own`, all else in `seen`."""
    own, seen = tmp_path / "own", tmp_path / "seen"
    for folder in (own, seen, seen / "tmp"):
        folder.mkdir()
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    names = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
    pairs = (f"{name} = {value}" for name, value in zip(names, AWS, strict=True))
    (own / "credentials").write_text("\n".join(["[default]", *pairs]))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(own / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(own / "config"))
    monkeypatch.setenv("DOCKER_CONFIG", str(server.signed_in()))
    for name, folder in (("HOMEPORT_CACHE", "cache"), ("XDG_STATE_HOME", "state"), ("TMPDIR", "tmp")):
        monkeypatch.setenv(name, str(seen / folder))
    with suppress(ImageNotFound):
        api.remove_image(private_image)
    return Shell(seen, private_image)


def job(keeper: Shell, end: str) -> Path:
    """A job file with every secret that a job file can hold, kept where its owner keeps it."""
    # An environment variable has at most 512 characters.
    (keeper.folder / "fsx" / "take").write_text(_TAKE)
    path = keeper.job(
        f"trap 'exit 0' TERM; . /opt/ml/input/data/sync/take; {_ENDS[end]}",
        more=f'[hyperparameters]\napi_token = "{HYPERPARAMETER}"\n[inputs]\nsync = "fsx://training-data"',
    )
    planted = "".join(f"{name} = {json.dumps(value)}, " for name, value in ENVIRONMENT.items())
    path.write_text(path.read_text().replace("environment = { ", f"environment = {{ {planted}"))
    return path.rename(keeper.folder.parent / "own" / "job.toml")


def found_in(text: str, secrets: tuple[str, ...] = PLANTED) -> list[str]:
    return [secret for secret in secrets if secret in text]


def described(api: APIClient, name: str) -> str:
    """Everything the engine says of a job's containers, but what their environments are given on purpose."""
    chosen = {"label": f"homeport.job={name}"}
    said: list[Any] = []
    for container in api.containers(all=True, filters=chosen):
        inspected = api.inspect_container(container["Id"])
        allowed = {value.partition("=")[0]: value for value in inspected["Config"].pop("Env")}
        assert not found_in(json.dumps(allowed), _EVERYWHERE)
        said += [container, inspected]
    assert len(said) == 4, "the host and what stands beside it"
    return json.dumps([*said, api.networks(filters=chosen), api.volumes(filters=chosen)])


def command_lines() -> str:
    """Of every process on this computer."""
    lines = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            lines.append(process.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return "\n".join(lines)


def written(folder: Path) -> list[tuple[str, str]]:
    """Every file with a secret in it."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert any(path.name == "plan.json" for path in files)
    return [
        (str(path.relative_to(folder)), secret)
        for path in files
        for secret in PLANTED
        if secret.encode() in path.read_bytes()
    ]


@pytest.mark.parametrize("end", _ENDS)
def test_a_secret_is_in_its_container_and_nowhere_else(
    keeper: Shell, api: APIClient, private_image: str, end: str
) -> None:
    path = job(keeper, end)
    name, process = keeper.begin(path, *["--json"] * (end == "completes"))
    given = printed(keeper.folder / "runs" / name, "given\n")
    wait_for(lambda: given() or process.poll() is not None)
    while_it_ran = described(api, name) + command_lines()
    if end == "is stopped":
        process.send_signal(signal.SIGTERM)
    else:
        (keeper.folder / "fsx" / "go").touch()

    ran: Ran = keeper.end(name, process)

    assert (ran.code, ran.log()) == (_CODES[end], "given\n"), ran.err
    assert found_in(while_it_ran) == []
    assert found_in(ran.out + ran.err) == []
    assert written(keeper.folder) == []
    assert found_in(json.dumps(api.history(private_image))) == []


def test_a_plan_shows_no_secret(keeper: Shell) -> None:
    process = keeper.start("plan", job(keeper, "completes"))

    out, err = process.communicate(timeout=60)

    assert process.returncode == 0, err
    assert "HF_TOKEN=********" in out
    assert found_in(out + err) == []
