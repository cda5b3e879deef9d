"""The parts of CreateTrainingJob that speak of other services: Debugger, Experiments, MLflow, customization.

They are read, checked and recorded like the rest; no training container is told of them by the platform's files
except where `container` says so. Limits: botocore 1.44.5, sagemaker/2017-07-24, the shapes of the same names.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from training_job.words import Image, LocalDirectory, Parameters, S3Uri, Words, limits

RuleParameters = Annotated[
    dict[Annotated[str, limits(1, 256, ".*")], Annotated[str, limits(0, 256, ".*")]], Field(max_length=100)
]
ExperimentEntityName = Annotated[str, limits(1, 120, "[a-zA-Z0-9](-*[a-zA-Z0-9]){0,119}")]
_HUB = r"(arn:[a-z0-9-\.]{1,63}:sagemaker:\w+(?:-\w+)+:(\d{12}|aws):hub-content\/)[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}"
_HUB_VERSION = r"\/[a-zA-Z0-9](-*[a-zA-Z0-9]){0,63}(\/\d{1,4}.\d{1,4}.\d{1,4})?"
_PACKAGE = r"arn:aws[a-z\-]*:sagemaker:[a-z0-9\-]{9,16}:[0-9]{12}"


class CollectionConfiguration(Words):
    """Which tensors Debugger saves."""

    collection_name: Annotated[str, limits(1, 256, ".*")] | None = None
    collection_parameters: Parameters | None = None


class DebugHookConfig(Words):
    """Where and what Debugger's hook saves."""

    local_path: LocalDirectory | None = None
    s3_output_path: S3Uri
    hook_parameters: Parameters | None = None
    collection_configurations: Annotated[tuple[CollectionConfiguration, ...], Field(max_length=20)] | None = None


class RuleConfiguration(Words):
    """A Debugger or Profiler rule, run by the service beside the job."""

    rule_configuration_name: Annotated[str, limits(1, 256, ".*")]
    local_path: LocalDirectory | None = None
    s3_output_path: S3Uri | None = None
    rule_evaluator_image: Image
    # ProcessingInstanceType: another list than the training types', and nothing here depends on it.
    instance_type: str | None = None
    volume_size_in_gb: Annotated[int, Field(ge=0)] | None = None
    rule_parameters: RuleParameters | None = None


class TensorBoardOutputConfig(Words):
    """Where TensorBoard's files go."""

    local_path: LocalDirectory | None = None
    s3_output_path: S3Uri


class ExperimentConfig(Words):
    """The experiment and trial the job belongs to."""

    experiment_name: ExperimentEntityName | None = None
    trial_name: ExperimentEntityName | None = None
    trial_component_display_name: ExperimentEntityName | None = None
    run_name: ExperimentEntityName | None = None


class ProfilerConfig(Words):
    """What Profiler samples and where it goes."""

    s3_output_path: S3Uri | None = None
    profiling_interval_in_milliseconds: int | None = None
    profiling_parameters: Parameters | None = None
    disable_profiler: bool | None = None


class ServerlessJobConfig(Words):
    """Model customization without instances of one's own."""

    base_model_arn: Annotated[str, limits(1, 2048, rf"{_HUB}\/Model{_HUB_VERSION}")]
    accept_eula: bool | None = None
    job_type: Literal["FineTuning", "Evaluation"]
    customization_technique: Literal["SFT", "DPO", "RLVR", "RLAIF"] | None = None
    peft: Literal["LORA"] | None = None
    evaluation_type: Literal["LLMAJEvaluation", "CustomScorerEvaluation", "BenchmarkEvaluation"] | None = None
    evaluator_arn: Annotated[str, limits(None, None, ".*")] | None = None
    sequence_length: Annotated[str, limits(1, 50, r"\d+K")] | None = None


class MlflowConfig(Words):
    """The MLflow server that hears of the run."""

    mlflow_resource_arn: Annotated[
        str, limits(0, 2048, r"arn:aws[a-z\-]*:sagemaker:[a-z0-9\-]*:[0-9]{12}:mlflow-[a-zA-Z-]*/.*")
    ]
    mlflow_experiment_name: Annotated[str, limits(1, 256, ".*")] | None = None
    mlflow_run_name: Annotated[str, limits(1, 256, ".*")] | None = None


class ModelPackageConfig(Words):
    """The model package group the result is registered in."""

    model_package_group_arn: Annotated[str, limits(1, 2048, rf"{_PACKAGE}:model-package-group/[\S]{{1,2048}}")]
    source_model_package_arn: Annotated[str, limits(1, 2048, rf"{_PACKAGE}:model-package/[\S]{{1,2048}}")] | None = None


class RetryStrategy(Words):
    """How often the service tries again after an InternalServerError of its own."""

    maximum_retry_attempts: Annotated[int, Field(ge=1, le=30)]


class RemoteDebugConfig(Words):
    """Whether a shell may be opened in the container through Systems Manager."""

    enable_remote_debug: bool | None = None


class InfraCheckConfig(Words):
    """Whether the instances are checked before the job."""

    enable_infra_check: bool | None = None


class SessionChainingConfig(Words):
    """Whether session tags reach the role's session."""

    enable_session_tag_chaining: bool | None = None


class DatasetSource(Words):
    """A data set of the hub."""

    dataset_arn: Annotated[str, limits(0, 2048, rf"{_HUB}\/DataSet{_HUB_VERSION}")]
