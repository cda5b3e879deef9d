"""An account with nothing in it, and CloudFormation that knows our templates: moto, taught, in a process of its own."""

import http.client
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from wsgiref.types import StartResponse, WSGIEnvironment

import boto3
import pytest
from werkzeug.wrappers import Request

REGION = "us-west-2"
BY_NAME_ALONE = frozenset(
    {
        "AWS::Budgets::Budget",
        "AWS::FSx::DataRepositoryAssociation",
        "AWS::S3::BucketPolicy",
    }
)
"""Types that moto was taught to note the name of, and nothing else."""
MOUNT_NAME = "a1b2c3d4"
"""Of every FSx for Lustre file system that a stack makes."""
_ROOT = Path(__file__).parents[2]
_HOP = ("Connection", "Transfer-Encoding", "Expect")


@dataclass(frozen=True)
class EmptyAccount:
    """Where it answers, and the session that tests look with, whose clients are slow to make."""

    url: str
    session: boto3.Session
    failures: Path

    @cache  # noqa: B019 - as long as the tests run
    def client(self, service: str) -> Any:
        """A client that no command uses."""
        return self.session.client(service, endpoint_url=self.url)

    @contextmanager
    def failing(self, resource: str, reason: str) -> Iterator[None]:
        """Have the creation of a resource of a stack, by its logical id, fail for a reason."""
        self.failures.write_text(json.dumps({resource: reason}))
        try:
            yield
        finally:
            self.failures.write_text("{}")

    def counted(self) -> dict[str, int]:
        """How many there are of what a clean-up could remove."""
        return {
            "buckets": len(self.client("s3").list_buckets()["Buckets"]),
            "repositories": len(self.client("ecr").describe_repositories()["repositories"]),
            "EFS": len(self.client("efs").describe_file_systems()["FileSystems"]),
            "FSx": len(self.client("fsx").describe_file_systems()["FileSystems"]),
            "notebooks": len(self.client("sagemaker").list_notebook_instances()["NotebookInstances"]),
            "VPCs": len(self.client("ec2").describe_vpcs()["Vpcs"]),
            "stacks": len(self.client("cloudformation").describe_stacks()["Stacks"]),
        }

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        """Pass a request on to it, for whoever stands before it."""
        asked = Request(environ)
        where = urlsplit(self.url)
        connection = http.client.HTTPConnection(where.hostname or "", where.port)
        headers = {name: value for name, value in asked.headers.items() if name not in _HOP}
        connection.request(asked.method, environ.get("REQUEST_URI", asked.full_path), asked.get_data(), headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        kept = [(name, value) for name, value in answer.getheaders() if name not in _HOP]
        start(f"{answer.status} {answer.reason}", kept)
        return [content]


@pytest.fixture(scope="session")
def _taught_moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmptyAccount]:
    failures = tmp_path_factory.mktemp("moto") / "failures.json"
    failures.write_text("{}")
    command = [sys.executable, "-m", "tests.cloud.taught_moto", failures]
    with subprocess.Popen(
        command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdin
        assert server.stdout
        url = server.stdout.readline().strip()
        assert url, "moto has not begun"
        yield EmptyAccount(url, boto3.Session("AKIALOOK", "homeport-secret", region_name=REGION), failures)
        server.stdin.close()


@pytest.fixture
def empty_account(_taught_moto: EmptyAccount, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmptyAccount]:
    """The account that every command asks."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", _taught_moto.url)
    _reset(_taught_moto.url)
    yield _taught_moto
    _reset(_taught_moto.url)


def _reset(url: str) -> None:
    with urllib.request.urlopen(urllib.request.Request(f"{url}/moto-api/reset", method="POST")) as answer:
        assert json.load(answer)["status"] == "ok"
