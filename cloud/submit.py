"""Create a training job once, whatever becomes of the answer.

CreateTrainingJob has no client token. What it has instead is the name, which is unique for ever: a name that was free
a moment ago and is taken by this very request was taken by us.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloud.aws import Clients
from cloud.aws_errors import BOTOCORES, NO_ANSWER, ClientError, code_of, explained, is_passing, message_of
from training_job.errors import AccountCannot

_QUOTA = "ResourceLimitExceeded"
_TAKEN = "ResourceInUse"
# Members of the request that no description tells again.
_UNTOLD = ("Tags", "SessionChainingConfig")


class Undecided(AccountCannot):
    """There may be such a job now, or not: nobody could be asked."""


def create(clients: Clients, request: Mapping[str, Any], region: str) -> str:
    """Send it; the job's ARN. Raises Undecided; any other AccountCannot means that there is no such job of ours."""
    name, doing = str(request["TrainingJobName"]), f"creating {request['TrainingJobName']}"
    try:
        return str(clients("sagemaker").create_training_job(**request)["TrainingJobArn"])
    except BOTOCORES as error:
        if code_of(error) == _TAKEN or isinstance(error, NO_ANSWER) or is_passing(error):
            return _ours(clients, request, error, region)
        if code_of(error) == _QUOTA:
            what = f"{name}: {message_of(error)}. Ask for more in Service Quotas, or name another instance type"
            raise AccountCannot(what) from None
        raise explained(error, doing, region) from None


def differences(request: Mapping[str, Any], answer: Mapping[str, Any]) -> list[str]:
    """The members of the request that a description says otherwise; what it says beyond them are defaults."""
    return [
        name
        for name, value in request.items()
        if name not in _UNTOLD and not _told_by(value, answer.get(name)) and not _empty(value)
    ]


def _ours(clients: Clients, request: Mapping[str, Any], problem: Exception, region: str) -> str:
    """The ARN of the job of this name, where it is the one that was asked for; else what is wrong."""
    name = str(request["TrainingJobName"])
    try:
        answer = clients("sagemaker").describe_training_job(TrainingJobName=name)
    except BOTOCORES as error:
        if isinstance(error, ClientError) and "not found" in message_of(error):
            raise explained(problem, f"creating {name}", region) from None
        raise Undecided(
            f"{explained(problem, f'creating {name}', region)}, and whether there is such a job now nobody says "
            f"({error}). Look for it before you send it again: homeport-cloud describe {name}"
        ) from None
    if told := differences(request, answer):
        raise AccountCannot(
            f"{name} is the name of another job already: it differs in {', '.join(told)}. Names are never freed: give "
            "another with --name"
        )
    return str(answer["TrainingJobArn"])


def _told_by(value: Any, told: Any) -> bool:
    """Whether `told` says at least what `value` does."""
    if isinstance(value, Mapping):
        return isinstance(told, Mapping) and all(
            _told_by(inner, told.get(name)) or _empty(inner) for name, inner in value.items()
        )
    if isinstance(value, list):
        return (
            isinstance(told, list)
            and len(told) == len(value)
            and all(_told_by(one, other) for one, other in zip(value, told, strict=True))
        )
    return bool(value == told)


def _empty(value: Any) -> bool:
    return value in ({}, [], None, False)
