"""Script mode: what the SageMaker SDK's framework estimators put into the hyperparameters for the toolkits. Pure.

Names and encoding are those of sagemaker 2.257.7: estimator.py:131-139 and 1042-1055 (program, log level, job name,
region), 3393 (`json.dumps` of every value), 4096-4195 and tensorflow/estimator.py:374-414, pytorch/estimator.py:670-701
(distribution).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

SOURCE_CHANNEL = "code"
SOURCE_ARCHIVE = "/opt/ml/input/data/code/sourcedir.tar.gz"
"""Where packed source is found in both places. The SDK does the same under network isolation (estimator.py:140, 1023),
and it needs neither credentials nor a bucket in the container."""

_SWITCHES = {
    "parameter_server": "sagemaker_parameter_server_enabled",
    "multi_worker_mirrored_strategy": "sagemaker_multi_worker_mirrored_strategy_enabled",
    "torch_distributed": "sagemaker_torch_distributed_enabled",
    "pytorchddp": "sagemaker_pytorch_ddp_enabled",
    "pytorchxla": "sagemaker_pytorch_xla_multi_worker_enabled",
}
_NEEDS_INSTANCE_TYPE = ("torch_distributed", "pytorchddp", "smdistributed")

DISTRIBUTIONS: dict[str, Any] = {
    "mpi": {"enabled": bool, "processes_per_host": int, "custom_mpi_options": str},
    "smdistributed": {"dataparallel": {"enabled": bool, "custom_mpi_options": str}},
    **{name: {"enabled": bool} for name in _SWITCHES},
    "instance_groups": list,
}
"""The distributions the toolkits know: the keys of each, and what each key holds."""


def toolkit_hyperparameters(
    *, program: str, job_name: str, region: str, packed: bool, log_level: int = 20
) -> dict[str, Any]:
    """What tells sagemaker-training which program to run; `packed` when the source comes as an archive."""
    found: dict[str, Any] = {
        "sagemaker_program": program,
        "sagemaker_container_log_level": log_level,
        "sagemaker_job_name": job_name,
        "sagemaker_region": region,
    }
    return found | ({"sagemaker_submit_directory": SOURCE_ARCHIVE} if packed else {})


def distribution_hyperparameters(distribution: Mapping[str, Any], instance_type: str | None) -> dict[str, Any]:
    """What makes the toolkits start MPI, SMDDP, torchrun or parameter servers.

    The type of a job of instance groups is None, as in the SDK: the toolkit then asks each host's own.
    """
    found: dict[str, Any] = {}
    if "mpi" in distribution:
        mpi = distribution["mpi"]
        found["sagemaker_mpi_enabled"] = bool(mpi.get("enabled"))
        if mpi.get("enabled"):
            if "processes_per_host" in mpi:
                found["sagemaker_mpi_num_of_processes_per_host"] = mpi["processes_per_host"]
            found["sagemaker_mpi_custom_mpi_options"] = mpi.get("custom_mpi_options", "")
    if "smdistributed" in distribution:
        dataparallel = distribution["smdistributed"].get("dataparallel", {})
        found["sagemaker_distributed_dataparallel_enabled"] = bool(dataparallel.get("enabled"))
        if dataparallel.get("enabled"):
            found["sagemaker_distributed_dataparallel_custom_mpi_options"] = dataparallel.get("custom_mpi_options", "")
    for name, switch in _SWITCHES.items():
        if name in distribution:
            found[switch] = bool(distribution[name].get("enabled"))
    if any(name in distribution for name in _NEEDS_INSTANCE_TYPE):
        found["sagemaker_instance_type"] = instance_type
    if "instance_groups" in distribution:
        found["sagemaker_distribution_instance_groups"] = list(distribution["instance_groups"])
    return found


def encoded(hyperparameters: Mapping[str, Any]) -> dict[str, str]:
    """As framework estimators send them: every value as JSON, so text (and TOML's dates) arrive in double quotes."""
    return {name: json.dumps(value, default=str) for name, value in hyperparameters.items()}


def plain(hyperparameters: Mapping[str, Any]) -> dict[str, str]:
    """As the generic Estimator of a bring-your-own image sends them: `str` of every value."""
    return {name: str(value) for name, value in hyperparameters.items()}
