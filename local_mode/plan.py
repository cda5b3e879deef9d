"""A training job, a machine and a place as the containers that will run it. Pure: same job, same plan."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from local_mode import gpus, lending
from local_mode.container_options import ContainerOptions
from local_mode.gpus import GPUs
from local_mode.inputs import choice
from local_mode.inputs import source as sources
from local_mode.inputs.choice import Inputs
from local_mode.inputs.linked import LinkedChannel
from local_mode.inputs.s3 import S3Channel
from local_mode.kept import Delivery, KeptDirectory, delivery, kept_directories
from local_mode.ledger import LedgerEntry, Treatment, emulated_library, kept_elsewhere, ledger, rehearsed
from local_mode.limits import Limits, limits
from local_mode.machine import Machine
from local_mode.mounts import Mount, Refusal
from local_mode.place import Place
from local_mode.refusals import machine_refusals, refusals
from local_mode.resources import Resources, resources, told
from local_mode.warm_pool import CacheVolume, WarmPool, warm_pool
from training_job.container import CONFIG_DIRECTORY, HostContents, host_contents, job_arn
from training_job.errors import Fault, JobRefused, StrictRefused
from training_job.model import TrainingJob
from training_job.s3_uri import S3Uri

CODE_DIRECTORY = "/opt/ml/code"
MODEL_DIRECTORY = "/opt/ml/model"
OUTPUT_DIRECTORY = "/opt/ml/output"
VOLUMES = ("/opt/ml/input", MODEL_DIRECTORY, OUTPUT_DIRECTORY)
"""What the platform mounts over the image: empty at the start, gone with the host."""

DIRECTORIES = ("/opt/ml/input/data", "/opt/ml/output/data", "/opt/ml/output/metrics/sagemaker")
JOB_LABEL = "homeport.job"


@dataclass(frozen=True)
class Options:
    """What the command line decides about this run. `gpus` are ids, None leaves the choice to the plan; times are
    seconds. `credentials`: there may be some, and nobody said that the job gets none."""

    gpus: tuple[str, ...] | None = None
    virtual_gpus: int | None = None
    live_code: bool = False
    strict: bool = False
    limit_resources: bool = False
    interrupt_after: tuple[float, ...] = ()
    credentials: bool = False


@dataclass(frozen=True)
class HostPlan:
    """One container: what it is called, what it finds, how it starts. `files` are by absolute path."""

    host: str
    hostname: str
    image: str
    environment: dict[str, str]
    entrypoint: tuple[str, ...] | None
    command: tuple[str, ...]
    files: dict[str, bytes]
    programs: dict[str, bytes]
    mounts: tuple[Mount, ...]
    volumes: tuple[str, ...]
    gpus: GPUs
    resources: Resources
    cache_volume: CacheVolume | None = None

    def to_json(self) -> dict[str, Any]:
        """The host as plain values; SageMaker's files, which are JSON, as what they say."""
        files = {path: json.loads(content) for path, content in self.files.items()}
        return {**TypeAdapter(HostPlan).dump_python(self, mode="json", exclude={"files"}), "files": files}


@dataclass(frozen=True)
class RunPlan:
    """Everything that running the job here takes; nothing is left to decide. Sizes are bytes."""

    job: TrainingJob
    arn: str
    image: str
    hosts: tuple[HostPlan, ...]
    network: str
    isolated: bool
    container: ContainerOptions
    raised_limits: bool
    source: Path | S3Uri | None
    channels: tuple[S3Channel, ...]
    linked: tuple[LinkedChannel, ...]
    kept: tuple[KeptDirectory, ...]
    delivery: Delivery | None
    compressed: bool
    limits: Limits
    warm_pool: WarmPool | None
    credentials: str | None
    run_directory: Path
    place: Place
    ledger: tuple[LedgerEntry, ...]
    image_id: str | None = None
    """The engine's id of the image, `sha256:…`, once it is known: what was rehearsed, whatever the name means later."""

    @property
    def name(self) -> str:
        """The job's name."""
        return self.job.training_job_name

    def to_json(self) -> dict[str, Any]:
        """The plan as plain values, for plan.json."""
        return {
            **TypeAdapter(RunPlan).dump_python(self, mode="json", exclude={"job", "hosts", "place"}),
            "job": self.job.request(),
            "hosts": [host.to_json() for host in self.hosts],
        }


def plan_run(job: TrainingJob, machine: Machine, place: Place, options: Options) -> RunPlan:
    """The plan, or JobRefused with everything that speaks against it; NotEnoughGPUs; StrictRefused."""
    faults: list[Fault] = []
    job, source = _sourced(choice.resolved(job, place, faults), place, faults)
    faults += refusals(job)
    inputs = choice.chosen(job, place, faults)
    run_directory = place.runs / job.training_job_name
    kept, delivered = _outputs(job, place, run_directory, faults)
    faults += machine_refusals(inputs.values(), machine)
    if faults:
        raise JobRefused(job.training_job_name, faults)
    credentials = lending.relative_uri(job, place.region) if options.credentials and place.credentials else None
    contents = lending.offered(host_contents(job, region=place.region), credentials)
    shares = gpus.share(
        [host.instance_type for host in contents],
        machine.gpus,
        machine.cores,
        asked=options.gpus,
        virtual=options.virtual_gpus,
        held=machine.held,
    )
    image = _image(str(job.algorithm_specification.training_image), shares)
    notes = _notes(job, shares, machine, options) | _source_note(job, source)
    entries = ledger(job, notes, _treatments(kept, delivered, options) | emulated_library(job))
    if options.strict and (fields := [f"{entry.field}: {entry.how}" for entry in entries if entry.strict]):
        raise StrictRefused(fields)
    if options.live_code and source:
        raise JobRefused("--live-code", [Fault("", "the job sends source of its own, which takes the code's place")])
    code = (_live_code(place),) if options.live_code else ()
    return RunPlan(
        job=job,
        arn=job_arn(job, place.region),
        image=image,
        hosts=tuple(
            _host(
                host,
                share=share,
                resources=resources(host.instance_type, machine, held=options.limit_resources),
                image=image,
                mounts=(*_mounts(host, inputs), *code),
                volumes=_volumes(kept),
                hostname=_hostname(number, place.region),
            )
            for number, (host, share) in enumerate(zip(contents, shares, strict=True))
        ),
        network=f"homeport-{job.training_job_name}",
        isolated=bool(job.enable_network_isolation),
        # NCCL pins memory; a rootless engine may raise no limit.
        raised_limits=any(share.ids for share in shares) and not machine.rootless,
        source=source,
        channels=choice.staged(inputs, contents, S3Channel),
        linked=choice.staged(inputs, contents, LinkedChannel),
        kept=kept,
        delivery=delivered,
        compressed=not job.output_data_config or job.output_data_config.compression_type != "NONE",
        container=place.container,
        limits=limits(job, options.interrupt_after),
        warm_pool=warm_pool(job),
        credentials=credentials,
        run_directory=run_directory,
        place=place,
        ledger=entries,
    )


def _sourced(job: TrainingJob, place: Place, faults: list[Fault]) -> tuple[TrainingJob, Path | S3Uri | None]:
    """The job with its source inside the container, and where that is here."""
    found = sources.source_of(job, place)
    if isinstance(found, Refusal):
        faults.append(Fault("HyperParameters.sagemaker_submit_directory", found.why))
        return job, None
    return found


def _outputs(
    job: TrainingJob, place: Place, run_directory: Path, faults: list[Fault]
) -> tuple[tuple[KeptDirectory, ...], Delivery | None]:
    """What is kept in step with S3, and where the artifacts go."""
    try:
        return kept_directories(job, place, run_directory), delivery(job, place)
    except ValueError as error:
        faults.append(Fault("CheckpointConfig, TensorBoardOutputConfig, OutputDataConfig", str(error)))
        return (), None


def _image(reference: str, shares: Sequence[GPUs]) -> str:
    """A homeport image without a tag is `:gpu` where real GPUs are given out, else `:cpu`."""
    last = reference.rpartition("/")[2]
    if not reference.startswith("homeport/") or ":" in last or "@" in last:
        return reference
    return f"{reference}:{'gpu' if any(share.ids for share in shares) else 'cpu'}"


def _mounts(host: HostContents, inputs: Inputs) -> tuple[Mount, ...]:
    found = (inputs[channel.channel_name] for channel in host.channels)
    return tuple(mount for mount in found if isinstance(mount, Mount))


def _volumes(kept: Iterable[KeptDirectory]) -> tuple[str, ...]:
    """The platform's directories, and those that are kept: a mount of their own unless they lie in one."""
    more = (directory.path for directory in kept)
    return (*VOLUMES, *(path for path in more if not any(f"{path}/".startswith(f"{volume}/") for volume in VOLUMES)))


def _treatments(kept: Iterable[KeptDirectory], delivered: Delivery | None, options: Options) -> dict[str, Treatment]:
    """What becomes of the fields for which it depends on the place, or on the command."""
    found = {directory.field: kept_elsewhere(directory) for directory in kept if directory.field != "HyperParameters"}
    if delivered:
        found["OutputDataConfig.S3OutputPath"] = Treatment("honoured", f"the artifacts go to {delivered.uri}")
    if options.interrupt_after:
        found["EnableManagedSpotTraining"] = rehearsed(options.interrupt_after)
    return found


def _live_code(place: Place) -> Mount:
    return Mount(str(place.code), CODE_DIRECTORY, read_only=True, stands_for="the code in the image")


def _host(
    host: HostContents,
    *,
    share: GPUs,
    resources: Resources,
    image: str,
    mounts: tuple[Mount, ...],
    volumes: tuple[str, ...],
    hostname: str,
) -> HostPlan:
    return HostPlan(
        host=host.host,
        hostname=hostname,
        image=image,
        # SageMaker sets `void` on CPU instances, where the NVIDIA runtime is present too.
        environment={"NVIDIA_VISIBLE_DEVICES": ",".join(share.ids) or "void", **host.environment},
        entrypoint=host.entrypoint,
        command=host.command,
        files={f"{CONFIG_DIRECTORY}/{name}": content for name, content in host.files.items()},
        programs={gpus.STUB_PATH: gpus.stub(share.virtual)} if share.virtual else {},
        mounts=mounts,
        volumes=volumes,
        gpus=share,
        resources=resources,
    )


def _hostname(number: int, region: str) -> str:
    """An EC2 name such as a job's hosts have: code that takes it for `algo-N` fails here as it does there."""
    domain = "ec2.internal" if region == "us-east-1" else f"{region}.compute.internal"
    return f"ip-10-0-{number // 200 + 1}-{number % 200 + 10}.{domain}"


def _notes(job: TrainingJob, shares: Sequence[GPUs], machine: Machine, options: Options) -> dict[str, str]:
    """What the ledger adds for this machine."""
    held = [told(group.instance_type, machine) for group in job.instance_groups] if options.limit_resources else []
    note = "; ".join(dict.fromkeys(text for text in (describe_gpus(shares, machine), *held) if text))
    return {"ResourceConfig.InstanceType": note, "ResourceConfig.InstanceGroups": note} if note else {}


def _source_note(job: TrainingJob, source: Path | S3Uri | None) -> dict[str, str]:
    """A source archive that was fetched for the container is a hyperparameter that differs from the cloud's."""
    return {"HyperParameters": f"the source archive is {source}"} if source and not job.source_dir else {}


def describe_gpus(shares: Sequence[GPUs], machine: Machine) -> str:
    """Who gets which GPUs, in words; empty where the job wants none."""
    virtual = max((share.virtual for share in shares), default=0)
    if virtual:
        why = "no GPU here, " if not machine.gpus else ""
        more = "; as many ranks as you like with --virtual-gpus N"
        return f"{virtual} virtual: {why}{virtual} CPU rank{'s' if virtual > 1 else ''} a host{more}"
    return " · ".join(",".join(share.ids) for share in shares if share.ids)
