"""What a job asks for that nothing here can give. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from local_mode.inputs.s3 import S3Channel
from local_mode.machine import Machine
from training_job.errors import Fault
from training_job.metrics import pattern_fault
from training_job.model import TrainingJob
from training_job.service_rules import broken_rules


def refusals(job: TrainingJob) -> list[Fault]:
    """What the job asks for that no plan can give."""
    found = broken_rules(job)
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
