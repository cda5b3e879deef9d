"""The ledger: what becomes of every field of the request on this machine. Pure.

A field is *honoured* (the same effect), *emulated* (the effect by another way), *recorded* (kept, no effect here) or
*refused* (an error). A treatment covers everything below its field; a test walks botocore's CreateTrainingJob shape
and fails on a field that none covers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from local_mode.buckets import Folder
from local_mode.kept import KeptDirectory
from training_job.model import TrainingJob

Kind = Literal["honoured", "emulated", "recorded", "refused"]


@dataclass(frozen=True)
class LedgerEntry:
    """One field of this job's request. `strict` marks a recorded field that changes the job in the cloud."""

    field: str
    kind: Kind
    how: str
    strict: bool = False


@dataclass(frozen=True)
class Treatment:
    """What becomes of a field, whatever job has it."""

    kind: Kind
    how: str
    strict: bool = False


def _honoured(how: str) -> Treatment:
    return Treatment("honoured", how)


def _emulated(how: str) -> Treatment:
    return Treatment("emulated", how)


def _recorded(how: str) -> Treatment:
    return Treatment("recorded", how)


def _missing(how: str) -> Treatment:
    return Treatment("recorded", how, strict=True)


def _refused(how: str) -> Treatment:
    return Treatment("refused", how)


TREATMENTS: dict[str, Treatment] = {
    "TrainingJobName": _honoured("TRAINING_JOB_NAME, TRAINING_JOB_ARN and the folder under runs/"),
    "HyperParameters": _honoured("hyperparameters.json"),
    "AlgorithmSpecification.TrainingImage": _honoured("this image runs; homeport/* without a tag is :gpu or :cpu"),
    "AlgorithmSpecification.AlgorithmName": _refused("algorithms of the AWS Marketplace have no image to run here"),
    "AlgorithmSpecification.TrainingInputMode": _honoured("File, FastFile and Pipe"),
    "AlgorithmSpecification.MetricDefinitions": _honoured("read from the live log of every host"),
    "AlgorithmSpecification.EnableSageMakerMetricsTimeSeries": _recorded("metrics.jsonl always holds the series"),
    "AlgorithmSpecification.ContainerEntrypoint": _honoured("the container's entrypoint"),
    "AlgorithmSpecification.ContainerArguments": _honoured("the container's arguments"),
    "AlgorithmSpecification.TrainingImageConfig": _recorded(
        "the image is pulled with the docker config's sign-in; no Lambda is asked"
    ),
    "RoleArn": _recorded("its account is in TRAINING_JOB_ARN; the credentials are those of whoever runs the job"),
    "InputDataConfig.ChannelName": _honoured("/opt/ml/input/data/<channel>"),
    "InputDataConfig.DataSource.S3DataSource": _emulated(
        "the directory that plays the bucket, or the machine's cache; read-only"
    ),
    "InputDataConfig.DataSource.FileSystemDataSource.FileSystemId": _emulated("a directory of this machine"),
    "InputDataConfig.DataSource.FileSystemDataSource.FileSystemAccessMode": _honoured("ro is a read-only mount"),
    "InputDataConfig.DataSource.FileSystemDataSource.FileSystemType": _honoured("paths and channel hints follow it"),
    "InputDataConfig.DataSource.FileSystemDataSource.DirectoryPath": _honoured("live on all hosts, mount name checked"),
    "InputDataConfig.DataSource.FileDataSource": _emulated("read-only, not a copy; the cloud needs an S3 URI"),
    "InputDataConfig.DataSource.DatasetSource": _refused("data sets of a SageMaker hub cannot be had here"),
    "InputDataConfig.ContentType": _honoured("inputdataconfig.json"),
    "InputDataConfig.CompressionType": _honoured("Gzip is decompressed on the stream of a Pipe"),
    "InputDataConfig.RecordWrapperType": _honoured("each object of a Pipe in one record"),
    "InputDataConfig.InputMode": _honoured("File, FastFile and Pipe"),
    "InputDataConfig.ShuffleConfig": _honoured("a Pipe's order, another each epoch; no effect in File mode"),
    "OutputDataConfig.S3OutputPath": _recorded("if no mapping has its bucket, artifacts stay under runs/<job>/output"),
    "OutputDataConfig.KmsKeyId": _recorded("artifacts are not encrypted here"),
    "OutputDataConfig.CompressionType": _honoured("GZIP packs, NONE leaves the files as they are"),
    "ResourceConfig.InstanceType": _emulated("this machine's cores, memory and GPUs under the type's name"),
    "ResourceConfig.InstanceCount": _honoured("one container a host, all on this machine"),
    "ResourceConfig.InstanceGroups": _emulated("one container a host, under each group's name and type"),
    "ResourceConfig.VolumeSizeInGB": _recorded("the engine's disk has its own size"),
    "ResourceConfig.VolumeKmsKeyId": _recorded("volumes are not encrypted here"),
    "ResourceConfig.KeepAlivePeriodInSeconds": _emulated(
        "/opt/ml/sagemaker/warmpoolcache outlives the job; instances begin anew"
    ),
    "ResourceConfig.TrainingPlanArn": _recorded("no capacity to reserve"),
    "ResourceConfig.InstancePlacementConfig": _recorded("no UltraServers"),
    "ResourceConfig.InstancePreferences": _refused("which type the service would choose is not known; name one"),
    "ResourceConfig.SelectedInstanceType": _recorded("the service's answer, not a request"),
    "ResourceConfig.SelectedInstanceCount": _recorded("the service's answer, not a request"),
    "VpcConfig": _recorded("the containers share a network of their own"),
    "StoppingCondition.MaxRuntimeInSeconds": _honoured("SIGTERM, 120 s, SIGKILL; MaxRuntimeExceeded; of all attempts"),
    "StoppingCondition.MaxWaitTimeInSeconds": _honoured("waiting and running; MaxWaitTimeExceeded; spot only"),
    "StoppingCondition.MaxPendingTimeInSeconds": _recorded("nothing to wait for"),
    "Tags": _recorded("no account to tag in"),
    "EnableNetworkIsolation": _emulated("an internal network: the hosts reach each other and nothing else"),
    "EnableInterContainerTrafficEncryption": _recorded("traffic between hosts does not leave this machine"),
    "EnableManagedSpotTraining": _missing("interrupted only by --interrupt-after SECONDS, and emulated then"),
    "CheckpointConfig": _emulated(
        "restored and kept in step; recorded, and kept under runs/, if no mapping has its bucket"
    ),
    "DebugHookConfig": _emulated(
        "debughookconfig.json; what the hook saves is kept in step if a mapping has its bucket"
    ),
    "DebugRuleConfigurations": _recorded("rules are run by the service"),
    "TensorBoardOutputConfig": _emulated("kept in step; recorded, and kept under runs/, if no mapping has its bucket"),
    "ExperimentConfig": _recorded("no experiment to join"),
    "ProfilerConfig": _emulated("profilerconfig.json; no system metrics; kept in step if a mapping has its bucket"),
    "ProfilerRuleConfigurations": _recorded("rules are run by the service"),
    "Environment": _honoured("environment variables, as they stand"),
    "RetryStrategy": _emulated("a fault of the engine starts the job anew, one of the algorithm never does"),
    "RemoteDebugConfig": _recorded("open a shell with the engine's exec"),
    "InfraCheckConfig": _recorded("no instances to check"),
    "SessionChainingConfig": _recorded("no session"),
    "ServerlessJobConfig": _refused("serverless customization has no container to run"),
    "MlflowConfig": _missing("MLflow hears nothing of the run"),
    "ModelPackageConfig": _recorded("no model package is registered"),
}


def kept_elsewhere(kept: KeptDirectory) -> Treatment:
    """A directory that is kept in step with a bucket, or in the run's folder where nobody said what the bucket is."""
    if kept.restored or kept.prefix:
        came = "restored to every host before the start, " if kept.restored else ""
        return _emulated(f"{kept.path} is {came}kept in step with {kept.uri} every few seconds and at the end")
    where = kept.bucket.path if isinstance(kept.bucket, Folder) else kept.uri
    return _missing(f"bucket {kept.uri.bucket} is mapped nowhere: {kept.path} is kept in {where}, nothing is restored")


def emulated_library(job: TrainingJob) -> dict[str, Treatment]:
    """What becomes of the hyperparameters of a job that asks for SMDDP, AWS's own library for AWS's own machines."""
    if (job.hyper_parameters or {}).get("sagemaker_distributed_dataparallel_enabled") != "true":
        return {}
    library = "smdistributed.dataparallel is an emulation over Horovod or torch, unless the image has AWS's library"
    return {"HyperParameters": _emulated(f"{TREATMENTS['HyperParameters'].how}; {library}")}


def rehearsed(interruptions: tuple[float, ...]) -> Treatment:
    """Managed spot training where --interrupt-after plays the market. Times are seconds of training."""
    times = ", then ".join(f"{seconds:g} s" for seconds in interruptions)
    return _emulated(f"interrupted after {times} of training and started anew, as --interrupt-after asks")


def ledger(job: TrainingJob, notes: Mapping[str, str], treatments: Mapping[str, Treatment]) -> tuple[LedgerEntry, ...]:
    """An entry for each treated field that the job sets. `notes` says more of a field than its treatment does,
    `treatments` stands in for it in this job."""
    entries: dict[str, LedgerEntry] = {}
    for field, value in _leaves(job.request(), ""):
        name = treated(field)
        treatment = treatments.get(name) or TREATMENTS[name]
        seen = entries.get(name)
        strict = (treatment.strict and value is not False) or bool(seen and seen.strict)
        how = f"{treatment.how}; {notes[name]}" if name in notes else treatment.how
        entries[name] = LedgerEntry(name, treatment.kind, how, strict)
    return tuple(entries.values())


def treated(field: str) -> str:
    """The treatment that covers a field; KeyError if none does."""
    name = field
    while name not in TREATMENTS:
        name, dot, _ = name.rpartition(".")
        if not dot:
            raise KeyError(field)
    return name


def _leaves(value: Any, field: str) -> Iterator[tuple[str, Any]]:
    """Every value of a request with its dotted field; entries of a list share their field."""
    if isinstance(value, dict) and value and field not in ("HyperParameters", "Environment"):
        for name, inner in value.items():
            yield from _leaves(inner, f"{field}.{name}" if field else name)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner, field)
    elif value != {} or field in TREATMENTS:
        yield field, value
