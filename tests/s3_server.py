"""A real S3 on loopback: rclone's, whose buckets are folders, and moto's, which takes any key."""

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import IO
from urllib.parse import urlsplit

from moto.server import ThreadedMotoServer

KEYS = {"AWS_ACCESS_KEY_ID": "homeport-test", "AWS_SECRET_ACCESS_KEY": "homeport-secret"}
REGION = "us-east-1"
_RCLONE = Path(sys.executable).with_name("rclone")
_STARTED = re.compile(r"\[(http://[\d.:]+)/\]")


@dataclass(frozen=True)
class Served:
    """Where an S3 answers, and the folder whose folders are its buckets."""

    url: str
    root: Path

    def put(self, bucket: str, key: str, content: bytes) -> None:
        """Write an object where the server finds it."""
        path = self.root / bucket / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@contextmanager
def rclone_s3(root: Path) -> Iterator[Served]:
    """`rclone serve s3` for as long as the context is open. It takes the credentials of KEYS and no others."""
    where = ["--addr", "127.0.0.1:0", "--auth-key", ",".join(KEYS.values()), "--config", ""]
    # So short a cache that it sees what tests do to its folders. Without any, a write looks for its own file anew until
    # it happens to be quick enough: for a minute, on a busy machine.
    server = subprocess.Popen(
        [_RCLONE, "serve", "s3", root, *where, "--dir-cache-time", "1ms"], stderr=subprocess.PIPE, text=True
    )
    try:
        assert server.stderr
        url = _awaited(server.stderr)
        Thread(target=server.stderr.read, daemon=True).start()
        with socket.create_connection((urlsplit(url).hostname, urlsplit(url).port)):
            yield Served(url, root)
    finally:
        server.terminate()
        server.wait()


@contextmanager
def moto_s3() -> Iterator[str]:
    """moto's server for as long as the context is open: its URL. It takes any credentials."""
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def _awaited(words: IO[str]) -> str:
    said = ""
    for line in words:
        said += line
        if started := _STARTED.search(line):
            return started[1]
    raise AssertionError(f"rclone does not serve: {said}")
