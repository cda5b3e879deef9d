"""An account with nothing in it, and CloudFormation that knows our templates: moto, taught."""

import json
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import boto3
import pytest

import tests.cloud.unknown_to_moto  # noqa: F401 - before the first stack
from tests.s3_server import moto_s3

REGION = "us-west-2"


@dataclass(frozen=True)
class EmptyAccount:
    """Where it answers, and the session that tests look with, whose clients are slow to make."""

    url: str
    session: boto3.Session

    @cache  # noqa: B019 - as long as the tests run
    def client(self, service: str) -> Any:
        """A client that no command uses."""
        return self.session.client(service, endpoint_url=self.url)

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


@pytest.fixture(scope="session")
def _taught_moto() -> Iterator[EmptyAccount]:
    with moto_s3() as url:
        yield EmptyAccount(url, boto3.Session("AKIALOOK", "homeport-secret", region_name=REGION))


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
