"""What the service refuses though every field is well-formed: what is refused there is refused here. Pure."""

from __future__ import annotations

from training_job.errors import Fault
from training_job.model import TrainingJob


def broken_rules(job: TrainingJob) -> list[Fault]:
    """Every such fault, in the request's own words."""
    found = []
    if job.stopping_condition.max_wait_time_in_seconds and not job.enable_managed_spot_training:
        # A wait for nothing is a ValidationException of the service (amazon-sagemaker-examples#869).
        what = "is only supported when EnableManagedSpotTraining is set to true (use_spot_instances)"
        found.append(Fault("StoppingCondition.MaxWaitTimeInSeconds", what))
    if job.resource_config.keep_alive_period_in_seconds:
        # Developer guide, train-warm-pools: considerations.
        field = "ResourceConfig.KeepAlivePeriodInSeconds"
        if job.enable_managed_spot_training:
            found.append(Fault(field, "a warm pool keeps no spot instances; take one of both out"))
        if job.resource_config.instance_groups:
            found.append(Fault(field, "a warm pool keeps no instance groups; take one of both out"))
    return found
