"""A real registry on loopback that wants a password: Debian's docker-registry, unpacked and not installed."""

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

USER = "homeport-test"
PASSWORD = "registry-PASSWORD-9c1f"
_HASH = "$2b$05$homeporthomeporthomepe9q9qUafX1gRZEVa/FDIUdgjE/ORLe.S"
_UNPACKED = Path(__file__).parents[1] / ".cache/docker-registry"
_PATIENCE = 10  # seconds until it must answer


@dataclass(frozen=True)
class Registry:
    """Where it answers, host:port, and a folder for what is to be known of it."""

    address: str
    folder: Path

    @property
    def sign_in(self) -> dict[str, str]:
        """What the engine's API takes."""
        return {"username": USER, "password": PASSWORD}

    def signed_in(self) -> Path:
        """A docker config as `docker login` writes it."""
        auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        return self._config({"auths": {self.address: {"auth": auth}}})

    def with_helper(self) -> Path:
        """A docker config that names a credential helper, which lies in the same folder."""
        helper = self.folder / "docker-credential-homeport-test"
        answer = json.dumps({"ServerURL": self.address, "Username": USER, "Secret": PASSWORD})
        helper.write_text(f"#!{sys.executable}\nprint({answer!r})\n")
        helper.chmod(0o755)
        return self._config({"credHelpers": {self.address: "homeport-test"}})

    def signed_out(self) -> Path:
        """A docker config of somebody who is not signed in."""
        return self._config({})

    def _config(self, content: dict[str, object]) -> Path:
        (self.folder / "config.json").write_text(json.dumps(content))
        return self.folder


def registry_program() -> Path | None:
    """The registry's program; None where it cannot be had."""
    if found := shutil.which("docker-registry"):
        return Path(found)
    program = _UNPACKED / "usr/bin/docker-registry"
    if not program.exists() and shutil.which("apt-get"):
        _UNPACKED.mkdir(parents=True, exist_ok=True)
        # Installed, it would be a service that listens everywhere.
        subprocess.run(["apt-get", "download", "docker-registry"], cwd=_UNPACKED, capture_output=True, check=False)
        for package in _UNPACKED.glob("*.deb"):
            subprocess.run(["dpkg", "-x", package, _UNPACKED], capture_output=True, check=False)
    return program if program.exists() else None


@contextmanager
def registry(program: Path, folder: Path) -> Iterator[Registry]:
    """The registry for as long as the context is open."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    (folder / "htpasswd").write_text(f"{USER}:{_HASH}\n")
    settings = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(folder / "images")}},
        "http": {"addr": address},
        "auth": {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}},
    }
    # YAML holds JSON.
    (folder / "registry.yml").write_text(json.dumps(settings))
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "REGISTRY_"))}
    with (folder / "log").open("w") as log:
        served = subprocess.Popen([program, "serve", folder / "registry.yml"], stdout=log, stderr=log, env=environ)
    try:
        _await(address, folder / "log")
        yield Registry(address, folder)
    finally:
        served.terminate()
        served.wait()


def _await(address: str, log: Path) -> None:
    host, _, port = address.partition(":")
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            socket.create_connection((host, int(port))).close()
        except OSError:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        else:
            return
