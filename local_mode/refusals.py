"""What a job asks for that nothing here can give. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from local_mode.inputs.s3 import S3Channel
from local_mode.limits import limit_faults
from local_mode.machine import Machine
from training_job.errors import Fault
from training_job.metrics import pattern_fault
from training_job.model import TrainingJob


def refusals(job: TrainingJob) -> list[Fault]:
    """What the job asks for that no plan can give."""
    found = [*limit_faults(job), *_warm_pool_faults(job)]
    if job.algorithm_specification.algorithm_name:
        found.append(Fault("AlgorithmSpecification.AlgorithmName", "needs the AWS Marketplace; give a TrainingImage"))
    if job.serverless_job_config:
        found.append(Fault("ServerlessJobConfig", "has no container that could run here"))
    if job.resource_config.instance_preferences:
        found.append(Fault("ResourceConfig.InstancePreferences", "name one InstanceType to run here"))
    found.extend(
        Fault(f"metric {definition.name}", what)
        for definition in job.algorithm_specification.metric_definitions or ()
        if (what := pattern_fault(definition.regex))
    )
    return found


def _warm_pool_faults(job: TrainingJob) -> list[Fault]:
    """The service's own rules (developer guide, train-warm-pools)."""
    if not job.resource_config.keep_alive_period_in_seconds:
        return []
    reasons = []
    if len(job.instance_groups) > 1:
        reasons.append("no warm pool keeps a heterogeneous cluster (InstanceGroups)")
    if job.enable_managed_spot_training:
        reasons.append("no warm pool keeps spot instances (EnableManagedSpotTraining)")
    return [Fault("ResourceConfig.KeepAlivePeriodInSeconds", reason) for reason in reasons]


def machine_refusals(inputs: Iterable[object], machine: Machine) -> list[Fault]:
    """What this machine's engine cannot give."""
    if machine.same_kernel:
        return []
    return [
        Fault(
            f"channel {channel.name}",
            "input mode Pipe needs an engine on this computer's own kernel, to which the pipes belong; "
            "use File or FastFile with this engine",
        )
        for channel in inputs
        if isinstance(channel, S3Channel) and channel.mode == "Pipe"
    ]
