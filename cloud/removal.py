"""Carry out a clean-up. Decides nothing: what is removed was decided in cleanup.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from cloud.aws import Clients
from cloud.aws_errors import ClientError, code_of, told
from cloud.cleanup import Cleanup, Kind, Removal, Tagged
from cloud.request import PROJECT_TAG
from cloud.stack_client import Say, StackClient
from cloud.stack_state import has_failed
from training_job.errors import AccountCannot

_INTERVAL = 5.0
_PATIENCE = 180
"""Looks at something that is going away: a quarter of an hour."""
_GONE = (
    "FileSystemNotFound",
    "NoSuchBucket",
    "RepositoryNotFoundException",
    "ResourceNotFoundException",
    "ValidationException",
)


def tagged(clients: Clients, stack: str, region: str, arns: tuple[str, ...] = ()) -> list[Tagged]:
    """Everything with the project's tag for this stack; of `arns` alone, where they are given."""
    asked: dict[str, Any] = (
        {"ResourceARNList": list(arns)} if arns else {"TagFilters": [{"Key": PROJECT_TAG, "Values": [stack]}]}
    )
    with told("looking for what is tagged", region):
        pages = clients("resourcegroupstaggingapi").get_paginator("get_resources").paginate(**asked)
        return [
            Tagged(item["ResourceARN"], {tag["Key"]: tag["Value"] for tag in item["Tags"]})
            for page in pages
            for item in page["ResourceTagMappingList"]
        ]


def running_jobs(clients: Clients, region: str) -> set[str]:
    """The names of the account's training jobs that are under way, whosoever they are."""
    with told("listing training jobs", region):
        pages = clients("sagemaker").get_paginator("list_training_jobs").paginate(StatusEquals="InProgress")
        return {job["TrainingJobName"] for page in pages for job in page["TrainingJobSummaries"]}


def carry_out(cleanup: Cleanup, clients: Clients, stack: StackClient, pause: Callable[[float], None], say: Say) -> None:
    """Remove it all, one after the other. What cannot be removed does not keep the rest.

    Raises AccountCannot once all was tried, with what could not be. What a killed client has removed is not found by
    the next, which goes on.
    """
    failed = []
    for removal in cleanup.removals:
        try:
            _Remover(clients, stack, pause).remove(removal)
        except AccountCannot as error:
            failed.append(f"{removal.kind.value} {removal.name}: {error}")
        else:
            say(f"  removed {removal.kind.value} {removal.name}")
    if failed:
        raise AccountCannot(
            "\n".join([f"{len(failed)} could not be removed:", *failed, "Run it again once that is mended"])
        )


class _Remover:
    def __init__(self, clients: Clients, stack: StackClient, pause: Callable[[float], None]) -> None:
        self._clients = clients
        self._stack = stack
        self._pause = pause

    def remove(self, removal: Removal) -> None:
        """Remove it, if it still has the tag at this moment; what is gone by now is removed."""
        remove: dict[Kind, Callable[[str], None]] = {
            Kind.TRAINING_JOB: self._training_job,
            Kind.STACK: self._whole_stack,
            Kind.NOTEBOOK: self._notebook,
            Kind.NOTEBOOK_START: self._notebook_start,
            Kind.LUSTRE: self._lustre,
            Kind.EFS: self._efs,
            Kind.REPOSITORY: self._repository,
            Kind.BUCKET: self._bucket,
        }
        now = tagged(self._clients, self._stack.name, self._stack.region, (removal.arn,))
        if not any(item.tags.get(PROJECT_TAG) == self._stack.name for item in now):
            return
        with told(f"removing {removal.kind.value} {removal.name}", self._stack.region):
            try:
                remove[removal.kind](removal.name)
            except ClientError as error:
                if code_of(error) not in _GONE:
                    raise

    def _training_job(self, name: str) -> None:
        self._clients("sagemaker").stop_training_job(TrainingJobName=name)

    def _whole_stack(self, _name: str) -> None:
        found = self._stack.observe()
        if found is None:
            return
        before = self._stack.newest_event(found.id)
        self._stack.delete(found.id)
        ended = self._stack.follow(found.id, before)
        if has_failed(ended.status):
            raise AccountCannot(f"it is {ended.status}: homeport-cloud stack down tells why")

    def _notebook(self, name: str) -> None:
        sagemaker = self._clients("sagemaker")

        def status() -> str:
            return str(sagemaker.describe_notebook_instance(NotebookInstanceName=name)["NotebookInstanceStatus"])

        if status() == "InService":
            sagemaker.stop_notebook_instance(NotebookInstanceName=name)
        self._wait(lambda: status() in ("Stopped", "Failed"), f"notebook instance {name} does not stop")
        sagemaker.delete_notebook_instance(NotebookInstanceName=name)

    def _notebook_start(self, name: str) -> None:
        self._clients("sagemaker").delete_notebook_instance_lifecycle_config(NotebookInstanceLifecycleConfigName=name)

    def _lustre(self, name: str) -> None:
        self._clients("fsx").delete_file_system(FileSystemId=name)

    def _efs(self, name: str) -> None:
        efs = self._clients("efs")
        for target in efs.describe_mount_targets(FileSystemId=name)["MountTargets"]:
            efs.delete_mount_target(MountTargetId=target["MountTargetId"])
        self._wait(
            lambda: not efs.describe_mount_targets(FileSystemId=name)["MountTargets"],
            f"the mount targets of {name} do not go",
        )
        efs.delete_file_system(FileSystemId=name)

    def _repository(self, name: str) -> None:
        self._clients("ecr").delete_repository(repositoryName=name, force=True)

    def _bucket(self, name: str) -> None:
        s3 = self._clients("s3")
        for keys in _versions(s3, name):
            answer = s3.delete_objects(Bucket=name, Delete={"Objects": keys, "Quiet": True})
            if refused := answer.get("Errors"):
                raise AccountCannot(f"{refused[0]['Key']}: {refused[0].get('Code')}: {refused[0].get('Message')}")
        for page in s3.get_paginator("list_multipart_uploads").paginate(Bucket=name):
            for upload in page.get("Uploads", ()):
                s3.abort_multipart_upload(Bucket=name, Key=upload["Key"], UploadId=upload["UploadId"])
        s3.delete_bucket(Bucket=name)

    def _wait(self, is_so: Callable[[], bool], otherwise: str) -> None:
        for _ in range(_PATIENCE):
            if is_so():
                return
            self._pause(_INTERVAL)
        raise AccountCannot(otherwise)


def _versions(s3: Any, bucket: str) -> Iterator[list[dict[str, str]]]:
    """The objects, up to a thousand at once, with all their versions where the bucket keeps versions."""
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        if found := [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]:
            yield [{"Key": item["Key"], "VersionId": item["VersionId"]} for item in found]
