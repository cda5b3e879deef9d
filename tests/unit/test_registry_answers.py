"""What ECR's answers mean."""

import base64
import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from cloud.aws_errors import CredentialsExpired, Denied
from cloud.dlc import Registry
from cloud.images import Destination
from cloud.registry import Ecr, digest_of
from training_job.errors import AccountCannot

WHERE = Destination(Registry("123456789012", "eu-west-1"), "host")
CONFIG = f"sha256:{'c' * 64}"


class Refused(Exception):
    """Stands for every exception class of the client that is not raised here."""


class FakeEcr:
    """ECR's client with one answer, or one refusal, to whatever is asked."""

    exceptions = type("exceptions", (), {"__getattr__": lambda *_: Refused})()

    def __init__(self, answer: dict[str, Any] | Exception) -> None:
        self._answer = answer

    def __getattr__(self, _: str) -> Any:
        def ask(**_: object) -> dict[str, Any]:
            if isinstance(self._answer, Exception):
                raise self._answer
            return self._answer

        return ask


def an_image(manifest: dict[str, Any]) -> dict[str, Any]:
    text = json.dumps(manifest)
    return {"images": [{"imageId": {"imageDigest": digest_of(text)}, "imageManifest": text}]}


def test_an_image_is_known_by_its_configuration() -> None:
    answer = an_image({"config": {"digest": CONFIG}})

    found = Ecr(FakeEcr(answer), WHERE).find("team/image", tag="1")

    assert found is not None
    assert (found.id, found.digest) == (CONFIG, answer["images"][0]["imageId"]["imageDigest"])


def test_a_list_of_images_is_known_by_its_own_digest() -> None:
    found = Ecr(FakeEcr(an_image({"manifests": []})), WHERE).find("team/image", tag="1")

    assert found is not None
    assert found.id == found.digest


def test_what_there_is_not_is_not_found() -> None:
    answer = {"images": [], "failures": [{"failureCode": "ImageNotFound"}]}

    assert Ecr(FakeEcr(answer), WHERE).find("team/image", tag="1") is None


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("ExpiredTokenException", CredentialsExpired),
        ("AccessDeniedException", Denied),
        ("LimitExceededException", AccountCannot),
    ],
)
def test_a_refusal_names_the_account_and_the_region(code: str, kind: type[AccountCannot]) -> None:
    refusal = ClientError({"Error": {"Code": code, "Message": "no"}}, "GetAuthorizationToken")

    with pytest.raises(kind, match="signing in to ECR of account 123456789012"):
        Ecr(FakeEcr(refusal), WHERE).sign_in()


def test_a_sign_in_is_split_and_never_shown() -> None:
    token = base64.b64encode(b"AWS:se:cret").decode()

    sign_in = Ecr(FakeEcr({"authorizationData": [{"authorizationToken": token}]}), WHERE).sign_in()

    assert (sign_in.username, sign_in.password) == ("AWS", "se:cret")
    assert "cret" not in repr(sign_in)


def test_a_sign_in_that_is_none_is_told() -> None:
    with pytest.raises(AccountCannot, match="not what ECR's is"):
        Ecr(FakeEcr({"authorizationData": [{"authorizationToken": "///w=="}]}), WHERE).sign_in()
