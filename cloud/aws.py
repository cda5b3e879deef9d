"""Clients of AWS: the only module that says `import boto3`, so that one guard stands before every request."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import boto3  # type: ignore[import-untyped]
import botocore.exceptions  # type: ignore[import-untyped]
from botocore.config import Config  # type: ignore[import-untyped]

from training_job.errors import AccountCannot

ONLY_LOOPBACK = "HOMEPORT_ONLY_LOOPBACK"
"""Set while stand-ins are in use: whatever is not for this machine is refused before it is sent."""
_RETRIES = Config(retries={"mode": "standard", "max_attempts": 8}, user_agent_extra="homeport")

Client = Any
"""A boto3 client: its operations are made from botocore's service models as it is created."""
Clients = Callable[[str], Client]
"""The client of a service, by boto3's name of it; the same one each time until credentials are renewed."""


class Aws:
    """The clients of one region, with the credentials boto3 finds: environment, profile, SSO session, role.

    Nothing is sent before a client is asked something. Raises AccountCannot for a profile that is not there.
    """

    def __init__(self, region: str, profile: str | None = None) -> None:
        self.region = region
        self._profile = profile
        self._clients: dict[str, Client] = {}
        self.renew()

    def renew(self) -> None:
        """Look for credentials anew: those of a process that runs for hours may have been renewed beside it."""
        try:
            self._session = boto3.Session(profile_name=self._profile, region_name=self.region)
        except botocore.exceptions.BotoCoreError as error:
            raise AccountCannot(f"AWS: {error}. Name another profile in AWS_PROFILE, or run: aws configure") from None
        self._clients.clear()

    def __call__(self, service: str) -> Client:
        """The client of a service, by boto3's name of it."""
        if service not in self._clients:
            client = self._session.client(service, config=_RETRIES)
            if os.environ.get(ONLY_LOOPBACK):
                client.meta.events.register_first("before-send.*", refuse_elsewhere)
            self._clients[service] = client
        return self._clients[service]

    def in_region(self, region: str) -> Aws:
        """The clients of another region, by the same profile."""
        return self if region == self.region else Aws(region, self._profile)

    def credential_provider(self) -> Any:
        """The same credentials for obstore. Raises AccountCannot where there are none."""
        # Here and not above: it is for those who send data.
        from obstore.auth.boto3 import Boto3CredentialProvider  # noqa: PLC0415

        try:
            if self._session.get_credentials() is not None:
                return Boto3CredentialProvider(self._session)
        except botocore.exceptions.BotoCoreError as error:
            raise AccountCannot(f"AWS: the credentials cannot be used: {error}. Sign in: aws sso login") from None
        raise AccountCannot("AWS: there are no credentials. Sign in: aws sso login, or aws configure")


def refuse_elsewhere(request: Any, **_: object) -> None:
    """Let a request go only to this machine. Raises AccountCannot for any other."""
    refuse_host(request.method, urlsplit(request.url).hostname or "")


def refuse_host(doing: str, host: str) -> None:
    """Let only this machine be reached, by its name or number without a port. Raises AccountCannot for any other."""
    if not (host == "localhost" or (host.replace(".", "").isdigit() and ipaddress.ip_address(host).is_loopback)):
        raise AccountCannot(
            f"{doing} {host}: refused, since {ONLY_LOOPBACK} is set and this is not this machine. "
            "Set AWS_ENDPOINT_URL to the stand-in, or unset it."
        )
