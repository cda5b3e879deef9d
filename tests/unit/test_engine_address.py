"""Where a container engine is looked for, and what counts as an answer."""

from __future__ import annotations

import hashlib
import http.server
import json
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from container_engine import address as engine_address
from container_engine.address import Attempt, engine_candidates, find_engine

SCRIPT = Path(engine_address.__file__)


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


@contextmanager
def listening(path: Path, status: int) -> Iterator[str]:
    class Engine(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/_ping" else 404)
            self.end_headers()

        def address_string(self) -> str:
            return "a Unix socket"

        def log_message(self, *_: object) -> None:
            pass

    path.parent.mkdir(parents=True, exist_ok=True)
    with UnixServer(str(path), Engine) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"unix://{path}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def engine_at() -> Iterator[Callable[..., str]]:
    """Make an engine answer at a socket until the test ends."""
    with ExitStack() as stack:
        yield lambda path, status=200: stack.enter_context(listening(path, status))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home, and no engine of this machine: its default socket is not there."""
    monkeypatch.setattr(engine_address, "DEFAULT_SOCKET", f"unix://{tmp_path}/var/run/docker.sock")
    return tmp_path / "home"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"XDG_RUNTIME_DIR": str(tmp_path / "runtime")}


def write_context(home: Path, name: str, address: str, *, current: bool = False) -> Path:
    """Make a context as `docker context create` does; gives the place of its certificates."""
    key = hashlib.sha256(name.encode()).hexdigest()
    meta = home / ".docker/contexts/meta" / key / "meta.json"
    meta.parent.mkdir(parents=True)
    meta.write_text(json.dumps({"Name": name, "Endpoints": {"docker": {"Host": address}}}))
    if current:
        (home / ".docker/config.json").write_text(json.dumps({"currentContext": name}))
    return home / ".docker/contexts/tls" / key / "docker"


def test_docker_host_is_the_only_candidate_when_set(home: Path) -> None:
    write_context(home, "colima", "unix:///colima.sock", current=True)

    candidates = engine_candidates({"DOCKER_HOST": "tcp://build-box:2375", "DOCKER_CONTEXT": "colima"}, home)

    assert [(each.origin, each.address) for each in candidates] == [("DOCKER_HOST", "tcp://build-box:2375")]


def test_docker_context_is_the_only_candidate_when_set(home: Path) -> None:
    write_context(home, "colima", "unix:///colima.sock")

    candidates = engine_candidates({"DOCKER_CONTEXT": "colima"}, home)

    assert [each.address for each in candidates] == ["unix:///colima.sock"]


def test_the_current_context_comes_before_the_known_sockets(home: Path) -> None:
    write_context(home, "desktop-linux", f"unix://{home}/.docker/run/docker.sock", current=True)

    candidates = engine_candidates({"XDG_RUNTIME_DIR": "/run/user/7"}, home)

    assert [(each.origin, each.address) for each in candidates] == [
        ("docker context desktop-linux", f"unix://{home}/.docker/run/docker.sock"),
        ("docker", engine_address.DEFAULT_SOCKET),
        ("Docker Desktop", f"unix://{home}/.docker/desktop/docker.sock"),
        ("rootless docker", "unix:///run/user/7/docker.sock"),
        ("podman", "unix:///run/user/7/podman/podman.sock"),
        ("podman", "unix:///run/podman/podman.sock"),
        ("colima", f"unix://{home}/.colima/default/docker.sock"),
    ]


def test_docker_config_moves_the_contexts(home: Path, tmp_path: Path) -> None:
    write_context(tmp_path, "elsewhere", "unix:///elsewhere.sock")

    candidates = engine_candidates({"DOCKER_CONFIG": str(tmp_path / ".docker"), "DOCKER_CONTEXT": "elsewhere"}, home)

    assert [each.address for each in candidates] == ["unix:///elsewhere.sock"]


@pytest.mark.parametrize("settings", ["", "{", "[]", '{"currentContext": ""}', '{"auths": {}}'])
def test_a_docker_config_that_names_no_context_is_passed_over(home: Path, settings: str) -> None:
    (home / ".docker").mkdir(parents=True)
    (home / ".docker/config.json").write_text(settings)

    assert engine_candidates({}, home)[0].origin == "docker"


def test_the_first_engine_that_answers_is_taken_and_those_before_it_are_named(
    home: Path, environ: dict[str, str], engine_at: Callable[..., str]
) -> None:
    ailing = engine_at(home / ".docker/run/docker.sock", status=500)
    podman = engine_at(Path(environ["XDG_RUNTIME_DIR"]) / "podman/podman.sock")

    search = find_engine(environ, home)

    assert search.address == podman
    assert search.tried[0] == Attempt("docker", engine_address.DEFAULT_SOCKET, "no such file or directory")
    assert search.tried[1] == Attempt("Docker Desktop", ailing, "answers with HTTP status 500")
    assert search.tried[-1] == Attempt("podman", podman, "answers")


@pytest.mark.parametrize("named", [{"DOCKER_HOST": "unix:///nowhere.sock"}, {"DOCKER_CONTEXT": "gone"}])
def test_an_engine_that_the_environment_names_has_no_substitute(
    home: Path, environ: dict[str, str], engine_at: Callable[..., str], named: dict[str, str]
) -> None:
    engine_at(home / ".docker/run/docker.sock")

    search = find_engine(environ | named, home)

    assert search.address is None
    assert len(search.tried) == 1


@pytest.mark.parametrize(
    ("named", "taken"),
    [
        ({"DOCKER_HOST": "ssh://me@build-box"}, True),
        ({"DOCKER_HOST": "tcp://build-box:2376", "DOCKER_TLS_VERIFY": "1"}, True),
        ({"DOCKER_HOST": "npipe:////./pipe/docker_engine"}, False),
        ({"DOCKER_HOST": "tcp://build-box:port"}, False),
        ({"DOCKER_HOST": "build-box"}, False),
    ],
)
def test_only_what_the_engines_own_client_alone_can_ask_is_taken_on_trust(
    home: Path, named: dict[str, str], taken: bool
) -> None:
    assert (find_engine(named, home).address is not None) is taken


def test_a_context_with_certificates_says_how_to_name_them(home: Path) -> None:
    write_context(home, "remote", "tcp://build-box:2376").mkdir(parents=True)

    search = find_engine({"DOCKER_CONTEXT": "remote"}, home)

    assert search.address is None
    assert "DOCKER_CERT_PATH" in search.tried[0].outcome


def run_script(**environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-I", SCRIPT], env=environ, capture_output=True, text=True, check=False)


def test_the_script_prints_the_address(tmp_path: Path, engine_at: Callable[..., str]) -> None:
    address = engine_at(tmp_path / "docker.sock")

    done = run_script(DOCKER_HOST=address)

    assert (done.returncode, done.stdout, done.stderr) == (0, f"{address}\n", "")


def test_the_script_exits_3_and_says_what_it_tried(tmp_path: Path) -> None:
    done = run_script(DOCKER_HOST=f"unix://{tmp_path}/docker.sock")

    assert (done.returncode, done.stdout) == (3, "")
    assert f"DOCKER_HOST      unix://{tmp_path}/docker.sock  no such file or directory" in done.stderr
