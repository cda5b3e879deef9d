"""An AWS account on loopback. Nothing else can be reached."""

import os

import pytest

from cloud.aws import ONLY_LOOPBACK
from tests.cloud.empty_account import _account, empty_account  # noqa: F401 - fixtures


@pytest.fixture(autouse=True)
def _only_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that nobody knows, and a guard that lets no request leave this machine. Port 1 answers nobody."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "HOMEPORT_"))]:
        if name != "HOMEPORT_STATE":
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "homeport-secret")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv(ONLY_LOOPBACK, "1")
