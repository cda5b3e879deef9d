"""Ask an account whether a job could run in it, everything at once. Decides nothing: preflight.py does, by the answers.

Nothing is changed by asking. A question that the account denies, or nobody answers, has the answer Unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from cloud.account_answers import Answers, Missing, Mounted, Quota, Subnet, Unknown
from cloud.aws import Clients
from cloud.aws_errors import BOTOCORES, ClientError, CredentialsExpired, code_of, explained, message_of, told
from cloud.preflight import wanted_instances, wanted_quotas
from training_job.model import S3DataSource, TrainingJob
from training_job.s3_uri import S3Uri

T = TypeVar("T")
_AT_ONCE = 16
_NOT_FOUND = (
    "404", "NoSuchBucket", "NoSuchEntity", "NoSuchEntityException", "ResourceNotFound", "FileSystemNotFound",
    "InvalidSubnetID.NotFound", "InvalidGroup.NotFound", "InvalidGroupId.Malformed", "InvalidSubnetId.Malformed",
)  # fmt: skip
_SERVICES = ("sagemaker", "iam", "service-quotas", "ec2", "fsx", "efs", "s3")


def caller(clients: Clients, region: str) -> str:
    """The account of the credentials. Raises AccountCannot where there are none that are valid."""
    with told("asking AWS who this is", region):
        return str(clients("sts").get_caller_identity()["Account"])


def ask_account(clients: Clients, job: TrainingJob, *, whose: str, region: str, image: str | None = None) -> Answers:
    """The account's answers about the request that would be sent. `whose` and `image` are answers had before.

    Raises CredentialsExpired: then no answer means anything.
    """
    for service in _SERVICES:
        # Clients may be used by many threads, and made by one alone.
        clients(service)
    with ThreadPoolExecutor(_AT_ONCE) as pool:

        def asked(ask: Callable[[], T]) -> Future[T | Missing | Unknown]:
            return pool.submit(_answered, ask, region)

        def each(keys: Iterable[str], ask: Callable[[str], T]) -> dict[str, Future[T | Missing | Unknown]]:
            return {key: asked(lambda key=key: ask(key)) for key in keys}  # type: ignore[misc]

        file_systems = each(_file_systems(job), lambda identifier: _mounted(clients, identifier))
        name = asked(lambda: job_status(clients, job.training_job_name))
        trust = asked(lambda: _trust(clients, str(job.role_arn)))
        quotas = asked(lambda: _quotas(clients, wanted_quotas(job)))
        zones = each(wanted_instances(job), lambda kind: _zones(clients, kind))
        groups = asked(lambda: _security_groups(clients, job))
        buckets = each(_buckets(job), lambda bucket: _region_of(clients, bucket))
        prefixes = each(_prefixes(job), lambda uri: _filled(clients, uri))
        mounted = {key.partition(" ")[2]: answer.result() for key, answer in file_systems.items()}
        subnets = asked(lambda: _subnets(clients, job, mounted.values()))
        return Answers(
            caller=whose,
            name=name.result(),
            trust=trust.result(),
            quotas=_of_each(quotas.result(), wanted_quotas(job)),
            zones={key: _known(answer.result()) for key, answer in zones.items()},
            subnets=subnets.result(),
            security_groups=groups.result(),
            file_systems=mounted,
            buckets={key: answer.result() for key, answer in buckets.items()},
            prefixes={key: _there(answer.result()) for key, answer in prefixes.items()},
            image=image,
        )


def job_status(clients: Clients, name: str) -> str | Missing:
    """The status of the job of this name. botocore's errors pass."""
    try:
        return str(clients("sagemaker").describe_training_job(TrainingJobName=name)["TrainingJobStatus"])
    except ClientError as error:
        # A job that is not there is a ValidationException: "Requested resource not found."
        if code_of(error) == "ValidationException" and "not found" in message_of(error):
            return Missing()
        raise


def _answered(ask: Callable[[], T], region: str) -> T | Missing | Unknown:
    try:
        return ask()
    except BOTOCORES as error:
        if code_of(error) in _NOT_FOUND:
            return Missing()
        problem = explained(error, "not checked", region)
        if isinstance(problem, CredentialsExpired):
            raise problem from None
        return Unknown(str(problem))


def _known(answer: T | Missing | Unknown) -> T | Unknown:
    return Unknown("not checked: no answer") if isinstance(answer, Missing) else answer


def _there(answer: bool | Missing | Unknown) -> bool | Unknown:
    """A prefix of a bucket that is not there has nothing in it."""
    return False if isinstance(answer, Missing) else answer


def _of_each(
    answer: Mapping[str, Quota] | Missing | Unknown, names: Iterable[str]
) -> dict[str, Quota | Missing | Unknown]:
    """What is known of each quota."""
    if isinstance(answer, Missing | Unknown):
        return dict.fromkeys(names, answer)
    return {name: answer.get(name, Missing()) for name in names}


def _trust(clients: Clients, role: str) -> Mapping[str, Any]:
    found = clients("iam").get_role(RoleName=role.rpartition("/")[2])["Role"]
    policy: Mapping[str, Any] = found["AssumeRolePolicyDocument"]
    return policy


def _quotas(clients: Clients, names: Iterable[str]) -> Mapping[str, Quota]:
    """The quotas of these names: as they apply to the account, else AWS's defaults."""
    wanted, found = set(names), dict[str, Quota]()
    for operation in ("list_service_quotas", "list_aws_default_service_quotas"):
        for page in clients("service-quotas").get_paginator(operation).paginate(ServiceCode="sagemaker"):
            for quota in page["Quotas"]:
                if quota["QuotaName"] in wanted - found.keys():
                    found[quota["QuotaName"]] = Quota(quota["QuotaName"], quota["Value"], quota["QuotaCode"])
            if wanted == found.keys():
                return found
    return found


def _zones(clients: Clients, kind: str) -> frozenset[str]:
    """Where EC2 offers what is below an ml.* type of the same name."""
    pages = (
        clients("ec2")
        .get_paginator("describe_instance_type_offerings")
        .paginate(
            LocationType="availability-zone",
            Filters=[{"Name": "instance-type", "Values": [kind.removeprefix("ml.")]}],
        )
    )
    return frozenset(offer["Location"] for page in pages for offer in page["InstanceTypeOfferings"])


def _subnets(
    clients: Clients, job: TrainingJob, mounted: Iterable[Mounted | Missing | Unknown]
) -> Mapping[str, Subnet]:
    theirs = [subnet for system in mounted if isinstance(system, Mounted) for subnet in system.subnets]
    wanted = list(dict.fromkeys([*(job.vpc_config.subnets if job.vpc_config else ()), *theirs]))
    if not wanted:
        return {}
    found = clients("ec2").describe_subnets(SubnetIds=wanted)["Subnets"]
    return {each["SubnetId"]: Subnet(each["AvailabilityZone"], each["VpcId"]) for each in found}


def _security_groups(clients: Clients, job: TrainingJob) -> list[Mapping[str, Any]]:
    if job.vpc_config is None:
        return []
    asked = clients("ec2").describe_security_groups(GroupIds=list(job.vpc_config.security_group_ids))
    found: list[Mapping[str, Any]] = asked["SecurityGroups"]
    return found


def _file_systems(job: TrainingJob) -> dict[str, None]:
    sources = (channel.data_source.file_system_data_source for channel in job.channels)
    return dict.fromkeys(f"{source.file_system_type} {source.file_system_id}" for source in sources if source)


def _mounted(clients: Clients, system: str) -> Mounted:
    kind, _, identifier = system.partition(" ")
    if kind == "EFS":
        targets = clients("efs").describe_mount_targets(FileSystemId=identifier)["MountTargets"]
        return Mounted(tuple(target["SubnetId"] for target in targets))
    found = clients("fsx").describe_file_systems(FileSystemIds=[identifier])["FileSystems"][0]
    mount_name = found.get("LustreConfiguration", {}).get("MountName")
    return Mounted(tuple(found.get("SubnetIds", ())), mount_name)


def _buckets(job: TrainingJob) -> dict[str, None]:
    """The buckets that the job writes to or reads from."""
    uris = [
        job.output_data_config.s3_output_path if job.output_data_config else None,
        job.checkpoint_config.s3_uri if job.checkpoint_config else None,
        *_prefixes(job),
    ]
    return dict.fromkeys(S3Uri.parse(uri).bucket for uri in uris if uri and uri.startswith("s3://"))


def _prefixes(job: TrainingJob) -> dict[str, None]:
    return dict.fromkeys(source.s3_uri for source in _s3_sources(job) if source.s3_uri.startswith("s3://"))


def _s3_sources(job: TrainingJob) -> Iterable[S3DataSource]:
    return (source for channel in job.channels if (source := channel.data_source.s3_data_source))


def _region_of(clients: Clients, bucket: str) -> str:
    try:
        answer = clients("s3").head_bucket(Bucket=bucket)
        headers = answer["ResponseMetadata"]["HTTPHeaders"]
        return str(answer.get("BucketRegion") or headers["x-amz-bucket-region"])
    except ClientError as error:
        # A bucket of another region, or somebody else's, is refused and says all the same where it is.
        headers = error.response["ResponseMetadata"].get("HTTPHeaders", {})
        if elsewhere := headers.get("x-amz-bucket-region"):
            return str(elsewhere)
        raise


def _filled(clients: Clients, uri: str) -> bool:
    named = S3Uri.parse(uri)
    answer = clients("s3").list_objects_v2(Bucket=named.bucket, Prefix=named.key, MaxKeys=1)
    return bool(answer.get("Contents"))
