"""A training job as one frozen value: CreateTrainingJob's request, its names, limits and patterns.

The request is one tree and stays one module, though a long one; what speaks of other services is in other_services.

Limits and patterns: botocore 1.44.5, sagemaker/2017-07-24, the shapes of the same names; a contract test compares
every one. Three things are ours, because a place fills them in: RoleArn and OutputDataConfig may be missing, and a
DataSource may be a directory (`FileDataSource`, the word of the SageMaker SDK's local mode) or a file system by the
name that homeport.toml gives it.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from training_job import instance_types, other_services
from training_job.spelling import nearest
from training_job.words import Image, KmsKeyId, LocalDirectory, S3Uri, Words, limits, member_fault

InputMode = Literal["Pipe", "File", "FastFile"]
_TAG = r"([\w\s.:/=+\-@]*)"
_ALGORITHM = r"(arn:aws[a-z\-]*:sagemaker:[a-z0-9\-]*:[0-9]{12}:[a-z\-]*\/)?([a-zA-Z0-9]([a-zA-Z0-9-]){0,62})(?<!-)"
_PLAN_ARN = r"arn:aws[a-z\-]*:sagemaker:[a-z0-9\-]*:[0-9]{12}:training-plan/.*"


def _known_instance_type(name: str) -> str:
    if name not in instance_types.NAMES:
        raise ValueError(f"{name!r} is no training instance type{nearest(name, instance_types.NAMES)}")
    return name


TrainingJobName = Annotated[str, limits(1, 63, "[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")]
RoleArn = Annotated[str, limits(20, 2048, r"arn:aws[a-z\-]*:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+")]
TrainingInstanceType = Annotated[str, AfterValidator(_known_instance_type)]
TrainingInstanceCount = Annotated[int, Field(ge=0)]
TrainingPlanArn = Annotated[str, limits(50, 2048, _PLAN_ARN)]
InstanceGroupName = Annotated[str, limits(1, 64, ".+")]
RuleConfigurations = Annotated[tuple[other_services.RuleConfiguration, ...], Field(max_length=20)]
ContainerWords = Annotated[tuple[Annotated[str, limits(0, 256, ".*")], ...], Field(min_length=1, max_length=100)]
SecurityGroupIds = Annotated[
    tuple[Annotated[str, limits(0, 32, "[-0-9a-zA-Z]+")], ...], Field(min_length=1, max_length=5)
]
Subnets = Annotated[tuple[Annotated[str, limits(0, 32, "[-0-9a-zA-Z]+")], ...], Field(min_length=1, max_length=16)]
HyperParameters = Annotated[
    dict[Annotated[str, limits(0, 256, ".*")], Annotated[str, limits(0, 2500, ".*")]], Field(max_length=100)
]
TrainingEnvironmentMap = Annotated[
    dict[Annotated[str, limits(0, 512, "[a-zA-Z_][a-zA-Z0-9_]*")], Annotated[str, limits(0, 512, r"[\S\s]*")]],
    Field(max_length=100),
]


class MetricDefinition(Words):
    """A metric and the regular expression whose first group is its value."""

    name: Annotated[str, limits(1, 255, ".+")]
    regex: Annotated[str, limits(1, 500, ".+")]


class TrainingRepositoryAuthConfig(Words):
    """The Lambda function that knows a private registry's credentials."""

    training_repository_credentials_provider_arn: Annotated[
        str, limits(1, 2048, r"arn:[a-zA-Z0-9\-]+:lambda:[a-zA-Z0-9\-]+:[0-9]{12}:function:.*")
    ]


class TrainingImageConfig(Words):
    """Where the image's registry is reached from."""

    training_repository_access_mode: Literal["Platform", "Vpc"]
    training_repository_auth_config: TrainingRepositoryAuthConfig | None = None


class AlgorithmSpecification(Words):
    """The image, how it is started, and which metrics its log holds."""

    training_image: Image | None = None
    algorithm_name: Annotated[str, limits(1, 170, _ALGORITHM)] | None = None
    training_input_mode: InputMode
    metric_definitions: Annotated[tuple[MetricDefinition, ...], Field(max_length=40)] | None = None
    enable_sagemaker_metrics_time_series: bool | None = None
    container_entrypoint: ContainerWords | None = None
    container_arguments: ContainerWords | None = None
    training_image_config: TrainingImageConfig | None = None

    @model_validator(mode="after")
    def _one_algorithm(self) -> Self:
        if bool(self.training_image) == bool(self.algorithm_name):
            raise member_fault("TrainingImage", "exactly one of TrainingImage and AlgorithmName must be given")
        return self


class ModelAccessConfig(Words):
    """Consent to a model's licence."""

    accept_eula: bool


class HubAccessConfig(Words):
    """Content of a SageMaker hub."""

    hub_content_arn: Annotated[str, limits(0, 255, ".*")]


class S3DataSource(Words):
    """Objects of S3: a prefix, or a manifest of them."""

    s3_data_type: Literal["ManifestFile", "S3Prefix", "AugmentedManifestFile", "Converse"]
    s3_uri: S3Uri
    s3_data_distribution_type: Literal["FullyReplicated", "ShardedByS3Key"] | None = None
    attribute_names: Annotated[tuple[Annotated[str, limits(1, 256, ".+")], ...], Field(max_length=16)] | None = None
    instance_group_names: Annotated[tuple[InstanceGroupName, ...], Field(max_length=5)] | None = None
    model_access_config: ModelAccessConfig | None = None
    hub_access_config: HubAccessConfig | None = None


class FileSystemDataSource(Words):
    """A directory of an EFS or FSx for Lustre file system, mounted as the channel."""

    file_system_id: Annotated[str, limits(11, 21, "(fs-[0-9a-f]{8,})")]
    file_system_access_mode: Literal["rw", "ro"]
    file_system_type: Literal["EFS", "FSxLustre"]
    directory_path: LocalDirectory


class NamedFileSystem(Words):
    """Ours: a directory below the root of a file system that homeport.toml knows by name or id."""

    name: str
    file_system_type: Literal["EFS", "FSxLustre"]
    file_system_access_mode: Literal["rw", "ro"]
    path: str


class FileDataSource(Words):
    """Ours: a directory of this machine (sagemaker 2.257.7, local/entities.py speaks the same words)."""

    file_data_distribution_type: Literal["FullyReplicated"] | None = None
    file_uri: Annotated[str, limits(8, None, r"file:///.*")]


class DataSource(Words):
    """Where a channel's data is: exactly one of these."""

    s3_data_source: S3DataSource | None = None
    file_system_data_source: FileSystemDataSource | None = None
    dataset_source: other_services.DatasetSource | None = None
    named_file_system: NamedFileSystem | None = None
    file_data_source: FileDataSource | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if sum(getattr(self, name) is not None for name in type(self).model_fields) != 1:
            raise ValueError("exactly one of S3DataSource, FileSystemDataSource and DatasetSource must be given")
        return self


class ShuffleConfig(Words):
    """The seed by which a channel is shuffled."""

    seed: int


class Channel(Words):
    """One named input of the job."""

    channel_name: Annotated[str, limits(1, 64, r"[A-Za-z0-9\.\-_]+")]
    data_source: DataSource
    content_type: Annotated[str, limits(0, 256, ".*")] | None = None
    compression_type: Literal["None", "Gzip"] | None = None
    record_wrapper_type: Literal["None", "RecordIO"] | None = None
    input_mode: InputMode | None = None
    shuffle_config: ShuffleConfig | None = None


class OutputDataConfig(Words):
    """Where the artifacts go."""

    kms_key_id: KmsKeyId | None = None
    s3_output_path: S3Uri
    compression_type: Literal["GZIP", "NONE"] | None = None


class InstanceGroup(Words):
    """Some instances of one type in a heterogeneous cluster."""

    instance_type: TrainingInstanceType
    instance_count: TrainingInstanceCount
    instance_group_name: InstanceGroupName


class PlacementSpecification(Words):
    """How many instances go on which UltraServer."""

    ultra_server_id: Annotated[str, limits(0, 256)] | None = None
    instance_count: TrainingInstanceCount


class InstancePlacementConfig(Words):
    """Placement on UltraServers."""

    enable_multiple_jobs: bool | None = None
    placement_specifications: Annotated[tuple[PlacementSpecification, ...], Field(max_length=10)] | None = None


class InstancePreference(Words):
    """One of several acceptable instance types, in order."""

    instance_type: TrainingInstanceType
    instance_count: TrainingInstanceCount | None = None
    training_plan_arns: Annotated[tuple[TrainingPlanArn, ...], Field(min_length=1, max_length=1)] | None = None


class ResourceConfig(Words):
    """On what the job runs."""

    instance_type: TrainingInstanceType | None = None
    instance_count: TrainingInstanceCount | None = None
    volume_size_in_gb: Annotated[int, Field(ge=0)] | None = None
    volume_kms_key_id: KmsKeyId | None = None
    keep_alive_period_in_seconds: Annotated[int, Field(ge=0, le=21600)] | None = None
    instance_groups: Annotated[tuple[InstanceGroup, ...], Field(max_length=5)] | None = None
    training_plan_arn: TrainingPlanArn | None = None
    instance_placement_config: InstancePlacementConfig | None = None
    instance_preferences: Annotated[tuple[InstancePreference, ...], Field(min_length=1, max_length=5)] | None = None
    selected_instance_type: TrainingInstanceType | None = None
    selected_instance_count: TrainingInstanceCount | None = None

    @model_validator(mode="after")
    def _some_instances(self) -> Self:
        if self.instance_groups:
            self._check_groups(self.instance_groups)
        elif not self.instance_preferences:
            if not self.instance_type:
                raise member_fault("InstanceType", "is needed (or InstanceGroups)")
            if not self.instance_count:
                raise member_fault("InstanceCount", "must be 1 or more")
        return self

    def _check_groups(self, groups: tuple[InstanceGroup, ...]) -> None:
        if self.instance_type or self.instance_count:
            given = "InstanceType" if self.instance_type else "InstanceCount"
            raise member_fault(given, "is for a job of one kind of instance; InstanceGroups name their own")
        if not all(group.instance_count for group in groups):
            raise member_fault("InstanceGroups", "each group's InstanceCount must be 1 or more")
        if len({group.instance_group_name for group in groups}) < len(groups):
            raise member_fault("InstanceGroups", "each group needs a name of its own")


class VpcConfig(Words):
    """The subnets and security groups the instances live in."""

    security_group_ids: SecurityGroupIds
    subnets: Subnets


class StoppingCondition(Words):
    """How long the job may run, and wait. MaxRuntimeInSeconds left out is 86,400."""

    max_runtime_in_seconds: Annotated[int, Field(ge=1)] | None = None
    max_wait_time_in_seconds: Annotated[int, Field(ge=1)] | None = None
    max_pending_time_in_seconds: Annotated[int, Field(ge=1800, le=2419200)] | None = None

    @model_validator(mode="after")
    def _waits_at_least_as_long_as_it_runs(self) -> Self:
        if self.max_wait_time_in_seconds and self.max_wait_time_in_seconds < self.limit_in_seconds:
            raise member_fault(
                "MaxWaitTimeInSeconds",
                f"{self.max_wait_time_in_seconds} seconds must be at least MaxRuntimeInSeconds "
                f"({self.limit_in_seconds})",
            )
        return self

    @property
    def limit_in_seconds(self) -> int:
        """MaxRuntimeInSeconds, or the service's default."""
        return self.max_runtime_in_seconds or 86_400


class Tag(Words):
    """A label of the AWS account."""

    key: Annotated[str, limits(1, 128, _TAG)]
    value: Annotated[str, limits(0, 256, _TAG)]


class CheckpointConfig(Words):
    """Where checkpoints are kept, here and in S3."""

    s3_uri: S3Uri
    local_path: LocalDirectory | None = None


class TrainingJob(Words):
    """One CreateTrainingJob request. AlgorithmSpecification and ResourceConfig are required here: a job without
    containers (ServerlessJobConfig) is nothing that could be rehearsed."""

    training_job_name: TrainingJobName
    hyper_parameters: HyperParameters | None = None
    algorithm_specification: AlgorithmSpecification
    role_arn: RoleArn | None = None
    input_data_config: Annotated[tuple[Channel, ...], Field(min_length=1, max_length=20)] | None = None
    output_data_config: OutputDataConfig | None = None
    resource_config: ResourceConfig
    vpc_config: VpcConfig | None = None
    stopping_condition: StoppingCondition = Field(default_factory=StoppingCondition)
    tags: Annotated[tuple[Tag, ...], Field(max_length=50)] | None = None
    enable_network_isolation: bool | None = None
    enable_inter_container_traffic_encryption: bool | None = None
    enable_managed_spot_training: bool | None = None
    checkpoint_config: CheckpointConfig | None = None
    debug_hook_config: other_services.DebugHookConfig | None = None
    debug_rule_configurations: RuleConfigurations | None = None
    tensor_board_output_config: other_services.TensorBoardOutputConfig | None = None
    experiment_config: other_services.ExperimentConfig | None = None
    profiler_config: other_services.ProfilerConfig | None = None
    profiler_rule_configurations: RuleConfigurations | None = None
    environment: TrainingEnvironmentMap | None = None
    retry_strategy: other_services.RetryStrategy | None = None
    remote_debug_config: other_services.RemoteDebugConfig | None = None
    infra_check_config: other_services.InfraCheckConfig | None = None
    session_chaining_config: other_services.SessionChainingConfig | None = None
    serverless_job_config: other_services.ServerlessJobConfig | None = None
    mlflow_config: other_services.MlflowConfig | None = None
    model_package_config: other_services.ModelPackageConfig | None = None
    source_dir: Annotated[Path | None, Field(exclude=True)] = None
    """Ours: the directory that script mode packs as sourcedir.tar.gz; never part of the request."""

    @model_validator(mode="after")
    def _channels_differ(self) -> Self:
        counts = Counter(channel.channel_name for channel in self.channels)
        twice = [name for name, count in counts.items() if count > 1]
        if twice:
            raise member_fault("InputDataConfig", f"names a channel twice: {', '.join(twice)}")
        return self

    @property
    def channels(self) -> tuple[Channel, ...]:
        """The job's channels; none is a job without input."""
        return self.input_data_config or ()

    @property
    def instance_groups(self) -> tuple[InstanceGroup, ...]:
        """The cluster as groups; a plain one is the single group SageMaker calls `homogeneousCluster`."""
        resources = self.resource_config
        if resources.instance_groups:
            return resources.instance_groups
        if not resources.instance_type or not resources.instance_count:
            return ()
        return (
            InstanceGroup(
                instance_type=resources.instance_type,
                instance_count=resources.instance_count,
                instance_group_name="homogeneousCluster",
            ),
        )

    def request(self) -> dict[str, Any]:
        """The request as JSON has it: CreateTrainingJob's names, nothing that was not given."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)
