"""The files that tell Debugger's hook, the profiler and the script where to save. Pure.

Names and members: smdebug 1.0.34, core/config_constants.py, core/json_config.py and profiler/profiler_config_parser.py,
which are what reads them in SageMaker's images. UNVERIFIED: more members of the service's own files, and their order.
"""

from __future__ import annotations

from typing import Any

from training_job.model import TrainingJob

CHECKPOINTS = "/opt/ml/checkpoints"
TENSORBOARD = "/opt/ml/output/tensorboard"
TENSORS = "/opt/ml/output/tensors"
PROFILE = "/opt/ml/output/profiler"


def hook_files(job: TrainingJob) -> dict[str, dict[str, Any]]:
    """What stands in each file of /opt/ml/input/config that the job's configurations ask for, by the file's name."""
    found: dict[str, dict[str, Any]] = {}
    if hook := job.debug_hook_config:
        found["debughookconfig.json"] = {
            "LocalPath": hook.local_path or TENSORS,
            "HookParameters": hook.hook_parameters,
            "CollectionConfigurations": None
            if hook.collection_configurations is None
            else [
                {"CollectionName": one.collection_name, "CollectionParameters": one.collection_parameters}
                for one in hook.collection_configurations
            ],
            "S3OutputPath": hook.s3_output_path,
        }
    if profiler := job.profiler_config:
        given = profiler.profiling_parameters
        found["profilerconfig.json"] = {
            # Without parameters the profiler is off, whatever else the file says.
            "ProfilingParameters": {"LocalPath": PROFILE, **given} if given else {},
            "ProfilingIntervalInMilliseconds": profiler.profiling_interval_in_milliseconds,
            "S3OutputPath": profiler.s3_output_path,
            "DisableProfiler": bool(profiler.disable_profiler),
        }
    if checkpoints := job.checkpoint_config:
        found["checkpointconfig.json"] = {"LocalPath": checkpoints.local_path or CHECKPOINTS}
    if board := job.tensor_board_output_config:
        found["tensorboardoutputconfig.json"] = {"LocalPath": board.local_path or TENSORBOARD}
    return found
