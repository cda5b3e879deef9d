"""What would keep a job from running in the account, decided from the answers of answers.py before money goes. Pure.

A fault is what the account's own answer says is wrong. Where it gave none, since the right to ask is denied or nobody
answered, nothing is known: that is told, and is no fault.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cloud.account_answers import Answers, Finding, Missing, Unknown, a_fault, an_unknown
from cloud.preflight_network import network_findings
from training_job.errors import AccountCannot, Fault
from training_job.model import TrainingJob

_SERVICE = "sagemaker.amazonaws.com"


@dataclass(frozen=True)
class Verdict:
    """What is wrong, and what nobody could say."""

    faults: tuple[Fault, ...]
    unknown: tuple[Fault, ...]

    def check(self, job: str) -> None:
        """Raise AccountCannot with all faults."""
        if self.faults:
            count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
            lines = [f"{job} cannot run in this account: {count}", *(f"  {fault}" for fault in self.faults)]
            raise AccountCannot("\n".join([*lines, "Nothing was created."]))


def judge(job: TrainingJob, answers: Answers, *, region: str) -> Verdict:
    """Everything at once. `job` is the request as it would be sent."""
    found = [
        *_name(job, answers),
        *_role(job, answers),
        *_instances(job, answers, region),
        *network_findings(job, answers),
        *_buckets(answers, region),
        *_image(job, answers),
    ]
    return Verdict(
        faults=tuple(fault for fault, known in found if known),
        unknown=tuple(fault for fault, known in found if not known),
    )


def _name(job: TrainingJob, answers: Answers) -> Iterator[Finding]:
    where = f"name {job.training_job_name}"
    if isinstance(answers.name, Unknown):
        yield an_unknown(where, answers.name)
    elif isinstance(answers.name, str):
        yield a_fault(
            where, f"is taken by a job that is {answers.name}; give another with --name, names are never freed"
        )


def _role(job: TrainingJob, answers: Answers) -> Iterator[Finding]:
    where, account = f"role {job.role_arn}", str(job.role_arn).split(":")[4]
    if isinstance(answers.caller, str) and answers.caller != account:
        what = f"is of account {account}, and the credentials are of {answers.caller}: set AWS_PROFILE, or name a role"
        yield a_fault(where, what)
        return
    if isinstance(answers.trust, Unknown):
        yield an_unknown(where, answers.trust)
    elif isinstance(answers.trust, Missing):
        yield a_fault(
            where, "is not there: homeport-cloud stack up makes one, or name another in [cloud] of homeport.toml"
        )
    elif not _trusts(answers.trust):
        what = f"does not trust {_SERVICE}: allow it sts:AssumeRole in the role's trust policy"
        yield a_fault(where, what)


def _trusts(policy: Mapping[str, Any]) -> bool:
    return any(
        statement.get("Effect") == "Allow"
        and any(action in ("sts:AssumeRole", "sts:*", "*") for action in _several(statement.get("Action")))
        and _SERVICE in _several((statement.get("Principal") or {}).get("Service"))
        for statement in _several(policy.get("Statement"))
        if isinstance(statement.get("Principal"), dict)
    )


def _several(value: Any) -> list[Any]:
    """IAM's one or many."""
    return value if isinstance(value, list) else [] if value is None else [value]


def wanted_instances(job: TrainingJob) -> dict[str, int]:
    """How many instances of each type the job takes."""
    wanted: dict[str, int] = {}
    for group in job.instance_groups:
        wanted[group.instance_type] = wanted.get(group.instance_type, 0) + group.instance_count
    return wanted


def wanted_quotas(job: TrainingJob) -> dict[str, int]:
    """The quotas that the job draws on, by SageMaker's names of them, and how much of each."""
    use = "spot training job usage" if job.enable_managed_spot_training else "training job usage"
    uses = [use] + ["training warm pool usage"] * bool(job.resource_config.keep_alive_period_in_seconds)
    return {f"{name} for {use}": count for name, count in wanted_instances(job).items() for use in uses}


def _instances(job: TrainingJob, answers: Answers, region: str) -> Iterator[Finding]:
    for name in wanted_instances(job):
        offered = answers.zones.get(name)
        if isinstance(offered, Unknown):
            yield an_unknown(f"{name} in {region}", offered)
        elif offered is not None and not offered:
            yield a_fault(name, f"is not offered in {region}: name another with --instance-type, or another region")
    for quota, count in wanted_quotas(job).items():
        found = answers.quotas.get(quota)
        if isinstance(found, Unknown):
            yield an_unknown(f"quota {quota!r}", found)
        elif isinstance(found, Missing):
            yield a_fault(f"quota {quota!r}", f"{region} has none: SageMaker does not offer that there")
        elif found is not None and found.value < count:
            ask = (
                "aws service-quotas request-service-quota-increase --service-code sagemaker "
                f"--quota-code {found.code} --desired-value {count} --region {region}"
            )
            yield a_fault(f"quota {quota!r}", f"is {found.value:g} and the job needs {count}. Ask for more: {ask}")


def _buckets(answers: Answers, region: str) -> Iterator[Finding]:
    for bucket, found in answers.buckets.items():
        where = f"bucket {bucket}"
        if isinstance(found, Unknown):
            yield an_unknown(where, found)
        elif isinstance(found, Missing):
            yield a_fault(where, "is not there; look at its name, or at bucket in [cloud] of homeport.toml")
        elif found != region:
            yield a_fault(where, f"is in {found}, and the job in {region}: SageMaker reads and writes its own region's")
    for uri, filled in answers.prefixes.items():
        if isinstance(filled, Unknown):
            yield an_unknown(uri, filled)
        elif not filled:
            yield a_fault(uri, f"nothing is there. Send it: homeport-cloud data push DATASET --to {uri}")


def _image(job: TrainingJob, answers: Answers) -> Iterator[Finding]:
    where = f"image {job.algorithm_specification.training_image}"
    if isinstance(answers.image, Unknown):
        yield an_unknown(where, answers.image)
    elif answers.image is not None:
        yield a_fault("", answers.image)
