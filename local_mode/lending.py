"""Whether a job's containers are lent AWS credentials, and where in their network they ask for them. Pure."""

from __future__ import annotations

from dataclasses import replace
from uuid import NAMESPACE_URL, uuid5

from training_job.container import HostContents, job_arn
from training_job.model import TrainingJob

VARIABLE = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
"""What SageMaker sets in a job's container; SDKs ask http://169.254.170.2 for its value."""

_OWN = ("AWS_ACCESS_KEY_ID", VARIABLE, "AWS_CONTAINER_CREDENTIALS_FULL_URI")


def relative_uri(job: TrainingJob, region: str) -> str | None:
    """The endpoint's path; None for an isolated job, which gets none, and for one whose Environment brings its own."""
    if job.enable_network_isolation or any(name in (job.environment or {}) for name in _OWN):
        return None
    return f"/v2/credentials/{uuid5(NAMESPACE_URL, job_arn(job, region))}"


def offered(contents: tuple[HostContents, ...], uri: str | None) -> tuple[HostContents, ...]:
    """The hosts with the variable by which SDKs find the endpoint."""
    if uri is None:
        return contents
    return tuple(replace(host, environment={VARIABLE: uri, **host.environment}) for host in contents)
