"""What botocore raises, as a person would say it: credentials, rights, the network, the service."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from botocore import exceptions as told_by  # type: ignore[import-untyped]
from botocore.parsers import ResponseParserError  # type: ignore[import-untyped]

from training_job.errors import AccountCannot

EXPIRED = (
    "ExpiredToken",
    "ExpiredTokenException",
    "RequestExpired",
    "TokenRefreshRequired",
)
_UNKNOWN_KEYS = ("InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId", "SignatureDoesNotMatch")
_DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError", "Forbidden", "403")

NO_ANSWER = (told_by.HTTPClientError, told_by.ConnectionError, ResponseParserError)
"""No answer came, half of one, or a page that somebody on the way wrote: what was asked for may have been done."""

_PASSING = (
    "Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled", "TooManyRequestsException",
    "RequestLimitExceeded", "SlowDown", "PriorRequestNotComplete", "TransactionInProgressException",
    "ServiceUnavailable", "ServiceUnavailableException", "InternalFailure", "InternalServerError", "InternalError",
)  # fmt: skip

ClientError = told_by.ClientError
BOTOCORES = (told_by.ClientError, told_by.BotoCoreError, ResponseParserError)
"""Whatever botocore raises; the parsers' error is outside its tree."""


class CredentialsExpired(AccountCannot):
    """The credentials have run out, or the SSO session they come from; they may be renewed."""


class Denied(AccountCannot):
    """The credentials are good, and do not give the right to what was asked."""


def code_of(error: Exception) -> str:
    """The service's word for what it refused: `ValidationException`; empty for any other error."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""


def message_of(error: Exception) -> str:
    """The service's sentence about it."""
    return str(error.response.get("Error", {}).get("Message", "")) if isinstance(error, ClientError) else str(error)


def is_passing(error: Exception) -> bool:
    """Whether the same may be answered a little later: throttling, a fault of the service, a network that is gone."""
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return code_of(error) in _PASSING or status >= 500 or status == 429
    return isinstance(error, NO_ANSWER)


@contextmanager
def told(doing: str, region: str) -> Iterator[None]:
    """Whatever AWS refuses, or cannot be asked, as an AccountCannot that says what to do about it."""
    try:
        yield
    except BOTOCORES as error:
        raise explained(error, doing, region) from None


def explained(error: Exception, doing: str, region: str) -> AccountCannot:
    """The same for one error at hand. `doing` is what was being done: `describing stack homeport`."""
    code = code_of(error)
    if code in EXPIRED or isinstance(error, told_by.UnauthorizedSSOTokenError | told_by.TokenRetrievalError):
        return CredentialsExpired(f"{doing}: the AWS credentials have expired. {_renewal()}")
    if isinstance(error, told_by.SSOError):
        return CredentialsExpired(f"{doing}: no valid SSO session ({error}). {_renewal()}")
    if isinstance(error, told_by.NoCredentialsError | told_by.PartialCredentialsError):
        return AccountCannot(f"{doing}: no AWS credentials: {error}. {_renewal()}")
    if isinstance(error, told_by.CredentialRetrievalError):
        return AccountCannot(f"{doing}: the AWS credentials cannot be had: {error}. {_renewal()}")
    if code in _UNKNOWN_KEYS:
        return AccountCannot(f"{doing}: AWS does not know the credentials ({code}). {_renewal()}")
    if code in _DENIED:
        return Denied(f"{doing}: denied: {message_of(error)}. Ask whoever gives out rights in the account for it")
    if isinstance(error, NO_ANSWER):
        return AccountCannot(
            f"{doing}: AWS does not answer in {region}: {_first_line(error)}. Look at the network, and at region in "
            "[cloud] of homeport.toml: a region that does not exist has no address"
        )
    if code:
        return AccountCannot(f"{doing}: {code}: {message_of(error)}")
    return AccountCannot(f"{doing}: {error}")


def _renewal() -> str:
    profile: Any = os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE")
    named = f" --profile {profile}" if profile else ""
    return f"Sign in: aws sso login{named}, or aws configure{named}; or set AWS_PROFILE"


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(":")
