"""Bring a data set to the bucket, and have FSx for Lustre see it."""

from __future__ import annotations

from collections.abc import Callable

from cloud.account import Account
from cloud.aws import Aws
from cloud.commands import here
from cloud.data_repository import Link, follow_import, import_metadata, links_of
from cloud.datasets import Dataset, destination, files_of, read_dataset
from cloud.place import CloudPlace
from cloud.stack_client import Say
from cloud.stack_outputs import read_account
from cloud.upload import Uploader
from cloud.upload_plan import import_token
from cloud.upload_progress import UploadProgress
from training_job.s3_uri import S3Uri


def push(
    asked: str, to: str | None, place: CloudPlace, *, progress: UploadProgress, pause: Callable[[float], None]
) -> None:
    """Send what is not there, then import it where the file system does not learn of it by itself.

    Raises JobRefused for what cannot be sent before anything is, AccountCannot, MachineCannot for a file that changes.
    """
    dataset = read_dataset(asked, place, here())
    aws = Aws(place.region)
    account = read_account(aws, place)
    links = _links(aws, account, dataset)
    uri = destination(dataset, account.bucket, links[0].uri if links else None, to)
    files = files_of(dataset, uri.key)
    progress.says(f"{dataset.directory} to {uri}")
    sent = Uploader(aws, uri.bucket, progress).send(files, uri.key)
    progress.says(
        f"  {len(sent):,} files sent, {len(files) - len(sent):,} were there: {progress.sent / 1e6:,.1f} MB sent, "
        f"{progress.there / 1e6:,.1f} MB not sent again"
    )
    sizes = {file.key: file.size for file in files}
    for link in links:
        _show_in(aws, link, uri, sizes, say=progress.says, pause=pause)


def _links(aws: Aws, account: Account, dataset: Dataset) -> list[Link]:
    """Those of the file system the data set is of, or of all of the account's where it is of none."""
    lustre = {name: item for name, item in account.file_systems.items() if item.type == "FSxLustre"}
    wanted = [lustre[dataset.file_system]] if dataset.file_system in lustre else list(lustre.values())
    return [link for item in wanted for link in links_of(aws, item.id, aws.region)]


def _show_in(
    aws: Aws, link: Link, uri: S3Uri, sizes: dict[str, int], *, say: Say, pause: Callable[[float], None]
) -> None:
    path = link.path_of(uri)
    if path is None:
        say(f"  {link.file_system} is linked to {link.uri} and does not show {uri}")
    elif link.imports_by_itself:
        say(f"  {link.file_system} shows it at /{path}: it imports new and changed objects by itself")
    else:
        task = import_metadata(aws, link, path, import_token(link.file_system, sizes), aws.region)
        say(f"  {link.file_system} imports it at /{path}: {task}")
        say(f"  {follow_import(aws, task, aws.region, pause):,} files imported")
