"""The AWS credentials of whoever runs the job: environment, profile, SSO session, role or process, as boto3 finds them.

Nothing is looked up before it is asked for, so an expired session fails no job that needs no AWS.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from training_job.errors import MachineCannot

_NAMES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
_FILES = {"AWS_SHARED_CREDENTIALS_FILE": ".aws/credentials", "AWS_CONFIG_FILE": ".aws/config"}
_VENDOR = Path("/sys/devices/virtual/dmi/id/sys_vendor")
_SESSION = timedelta(hours=1)
_UNKNOWN_END = timedelta(minutes=20)
"""What a session is said to last whose end nobody tells: SDKs ask again 15 minutes before."""


@dataclass(frozen=True)
class Lent:
    """Credentials for a container. `whose` says in words where they come from."""

    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    token: str = field(repr=False)
    expiration: datetime
    role_arn: str
    whose: str


class NoCredentials(MachineCannot):
    """Who runs the job has no AWS credentials that are valid now."""

    def __init__(self, why: str, remedy: str) -> None:
        super().__init__(f"the job asks for AWS credentials, and there are none: {why.rstrip('.')}. {remedy}")


class _Prompted(Exception):
    """A profile wants an MFA code, and nobody sits at a job."""


def may_be_here(environ: Mapping[str, str], home: Path) -> bool:
    """Whether a look for credentials could find any; nothing is opened and nobody is asked."""
    if any(environ.get(name) for name in _NAMES):
        return True
    if any(Path(environ.get(name) or home / path).expanduser().exists() for name, path in _FILES.items()):
        return True
    return environ.get("AWS_EC2_METADATA_DISABLED", "").lower() != "true" and _is_instance()


def borrowed(region: str) -> Lent:
    """Short-lived credentials of the identity in force. Raises NoCredentials.

    Long-lived keys become a session of an hour, by STS in the profile's region or else `region`; where STS gives none
    (no network, no such right, keys of another S3 server) they are lent as they are.
    """
    # Slow to import, and most jobs never ask.
    from boto3 import Session  # type: ignore[import-untyped] # noqa: PLC0415
    from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped] # noqa: PLC0415

    profile = os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE") or "default"
    try:
        core = _unattended(region)
        session = Session(botocore_session=core)
        found = session.get_credentials()
        keys = found and found.get_frozen_credentials()
    except _Prompted:
        remedy = 'Start the job with a session of it: eval "$(aws configure export-credentials --format env)"'
        raise NoCredentials(f"profile {profile} wants an MFA code, for which a job cannot wait", remedy) from None
    except (BotoCoreError, ClientError, OSError, ValueError) as error:
        remedy = f"Look at the profile, or sign in again: aws sso login --profile {profile}"
        raise NoCredentials(str(error), remedy) from None
    if not keys:
        raise NoCredentials(
            "neither the environment nor a profile has any",
            "Set AWS_PROFILE, or sign in: aws configure, aws sso login",
        )
    whose = _whose(found.method, profile)
    if keys.token:
        # No public name says when they end.
        end = getattr(found, "_expiry_time", None) or datetime.now(UTC) + _UNKNOWN_END
        role = str(core.get_scoped_config().get("role_arn", "")) if "role" in found.method else ""
        return Lent(keys.access_key, keys.secret_key, keys.token, end, role, whose)
    try:
        made = _sts(session).get_session_token(DurationSeconds=int(_SESSION.total_seconds()))["Credentials"]
    except (BotoCoreError, ClientError) as error:
        whose = f"{whose}, the long-lived keys themselves, since STS gives no session for them ({error})"
        return Lent(keys.access_key, keys.secret_key, "", datetime.now(UTC) + _SESSION, "", whose)
    return Lent(made["AccessKeyId"], made["SecretAccessKey"], made["SessionToken"], made["Expiration"], "", whose)


def _unattended(region: str) -> Any:
    """A session in which nobody can be asked for an MFA code; in `region` unless the profile says where."""
    from botocore.session import get_session  # type: ignore[import-untyped] # noqa: PLC0415

    def refuse(_question: str) -> str:
        raise _Prompted

    session = get_session()
    # botocore has no other way to give its prompt away.
    session.get_component("credential_provider").get_provider("assume-role")._prompter = refuse
    if session.get_config_variable("region") is None:
        session.set_config_variable("region", region)
    return session


def _sts(session: Any) -> Any:
    from botocore.config import Config  # type: ignore[import-untyped] # noqa: PLC0415

    # SDKs in the container wait 2 s for an answer and ask three times.
    config = Config(connect_timeout=2, read_timeout=4, retries={"total_max_attempts": 1})
    return session.client("sts", config=config)


def _whose(method: str, profile: str) -> str:
    """Where credentials come from, in words."""
    return {
        "env": "the environment",
        "iam-role": "this instance's role",
        "container-role": "this container's role",
    }.get(method, f"profile {profile}")


def _is_instance() -> bool:
    try:
        return _VENDOR.read_text(encoding="ascii").strip() == "Amazon EC2"
    except OSError:
        return False
