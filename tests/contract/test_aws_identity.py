"""Whose credentials a job is lent, as boto3 finds them in real profiles, with moto's STS on loopback."""

import os
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest

from local_mode.aws_identity import Lent, NoCredentials, borrowed
from tests.s3_server import moto_s3

ROLE = "arn:aws:iam::123456789012:role/Trainer"
Use = Callable[..., None]
_VENDS = """
import json
print(json.dumps(dict(Version=1, AccessKeyId="ASIAVENDED", SecretAccessKey="s"%s)))
"""


@pytest.fixture(scope="module")
def sts() -> Iterator[str]:
    with moto_s3() as url:
        yield url


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sts: str) -> Use:
    """Be somebody with this ~/.aws/config and these variables, and nothing else of AWS."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)

    def use(config: str = "", **environ: str) -> None:
        (tmp_path / "config").write_text(config)
        files = {"AWS_CONFIG_FILE": str(tmp_path / "config"), "AWS_SHARED_CREDENTIALS_FILE": "/nowhere"}
        settings = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_ENDPOINT_URL_STS": sts}
        for name, value in (files | settings | environ).items():
            monkeypatch.setenv(name, value)

    return use


KEYS = "aws_access_key_id = AKIALONGLIVED\naws_secret_access_key = lasts-long\n"


def arn(lent: Lent, sts: str) -> str:
    # Its own session: boto3.client keeps the first one of this process, with the profiles of whoever asked.
    client = boto3.Session().client(
        "sts",
        endpoint_url=sts,
        region_name="us-east-1",
        aws_access_key_id=lent.access_key_id,
        aws_secret_access_key=lent.secret_access_key,
        aws_session_token=lent.token,
    )
    return str(client.get_caller_identity()["Arn"])


def test_a_role_is_assumed_in_the_places_region_where_the_profile_names_none(use: Use, sts: str) -> None:
    use(f"[default]\n{KEYS}[profile dev]\nrole_arn = {ROLE}\nsource_profile = default", AWS_PROFILE="dev")

    lent = borrowed("us-west-2")

    assert arn(lent, sts).startswith("arn:aws:sts::123456789012:assumed-role/Trainer/")
    assert (lent.role_arn, lent.whose) == (ROLE, "profile dev")
    assert timedelta(minutes=50) < lent.expiration - datetime.now(UTC) <= timedelta(hours=1)


def test_long_lived_keys_become_a_session_of_an_hour(use: Use) -> None:
    use(f"[default]\n{KEYS}")

    lent = borrowed("us-west-2")

    assert lent.access_key_id != "AKIALONGLIVED"
    assert lent.token
    assert lent.whose == "profile default"


def test_long_lived_keys_are_lent_themselves_where_sts_does_not_answer(use: Use) -> None:
    use(AWS_ACCESS_KEY_ID="AKIA", AWS_SECRET_ACCESS_KEY="s", AWS_ENDPOINT_URL_STS="http://127.0.0.1:1")

    lent = borrowed("us-west-2")

    assert (lent.access_key_id, lent.secret_access_key, lent.token) == ("AKIA", "s", "")
    assert lent.expiration > datetime.now(UTC)
    assert lent.whose.startswith(
        "the environment, the long-lived keys themselves, since STS gives no session for them ("
    )


def test_a_session_of_the_environment_is_lent_as_it_is(use: Use) -> None:
    use(AWS_ACCESS_KEY_ID="ASIA", AWS_SECRET_ACCESS_KEY="s", AWS_SESSION_TOKEN="t")

    lent = borrowed("us-west-2")

    assert (lent.access_key_id, lent.token, lent.whose) == ("ASIA", "t", "the environment")
    # SDKs ask again 15 minutes before the end.
    assert timedelta(minutes=15) < lent.expiration - datetime.now(UTC) <= timedelta(minutes=20)


def test_what_a_process_gives_ends_when_it_says(use: Use, tmp_path: Path) -> None:
    end = (datetime.now(UTC) + timedelta(minutes=90)).replace(microsecond=0)
    (tmp_path / "vend.py").write_text(_VENDS % f", SessionToken='t', Expiration='{end.isoformat()}'")
    use(f"[profile vended]\ncredential_process = {sys.executable} {tmp_path / 'vend.py'}", AWS_PROFILE="vended")

    lent = borrowed("us-west-2")

    assert (lent.access_key_id, lent.expiration) == ("ASIAVENDED", end)


@pytest.mark.parametrize(
    ("config", "why", "remedy"),
    [
        ("", "neither the environment nor a profile has any", "aws configure"),
        (
            "[default]\nsso_session = mine\nsso_account_id = 123456789012\nsso_role_name = Trainer\n"
            "[sso-session mine]\nsso_region = us-east-1\nsso_start_url = https://example.awsapps.com/start",
            "SSO",
            "aws sso login --profile default",
        ),
        ("[default]\ncredential_process = /nowhere/at/all", "No such file", "Look at the profile"),
        (
            f"[default]\nrole_arn = {ROLE}\nsource_profile = base\nmfa_serial = arn:aws:iam::1:mfa/me\n"
            f"[profile base]\n{KEYS}",
            "profile default wants an MFA code",
            "aws configure export-credentials",
        ),
        (f"[default]\nrole_arn = {ROLE}\nsource_profile = gone", "gone", "Look at the profile"),
    ],
    ids=["nothing", "sso", "process", "mfa", "no such profile"],
)
def test_what_cannot_be_had_is_said_with_what_to_do(use: Use, config: str, why: str, remedy: str) -> None:
    use(config)

    with pytest.raises(NoCredentials) as error:
        borrowed("us-west-2")

    assert why in str(error.value)
    assert remedy in str(error.value)


def test_a_profile_that_is_not_there_is_said(use: Use) -> None:
    use(AWS_PROFILE="typo")

    with pytest.raises(NoCredentials, match="typo"):
        borrowed("us-west-2")


def test_keys_that_are_renewed_in_the_file_are_seen(use: Use) -> None:
    session = "[default]\naws_access_key_id = {}\naws_secret_access_key = s\naws_session_token = t"
    use(session.format("ASIAFIRST"))
    first = borrowed("us-west-2")

    use(session.format("ASIASECOND"))

    assert (first.access_key_id, borrowed("us-west-2").access_key_id) == ("ASIAFIRST", "ASIASECOND")
