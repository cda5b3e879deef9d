"""FSx for Lustre and the bucket it is linked to: which prefix that is, and how it learns of new objects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cloud.aws import Clients
from cloud.aws_errors import told
from training_job.errors import AccountCannot
from training_job.s3_uri import S3Uri

_INTERVAL = 10.0


@dataclass(frozen=True)
class Link:
    """A data repository association: the objects below `uri` are the files below `path`."""

    file_system: str
    path: str
    uri: str
    imports: frozenset[str]
    """What it learns of by itself: NEW, CHANGED, DELETED."""

    @property
    def imports_by_itself(self) -> bool:
        """Whether objects that are pushed show as files without anybody asking."""
        return {"NEW", "CHANGED"} <= self.imports

    def path_of(self, uri: S3Uri) -> str | None:
        """Where in the file system the objects below `uri` show; None where they do not."""
        root = S3Uri.parse(self.uri)
        prefix = root.key.strip("/")
        inside = uri.key == prefix or not prefix or uri.key.startswith(f"{prefix}/")
        if uri.bucket != root.bucket or not inside:
            return None
        return "/".join(part for part in (self.path.strip("/"), uri.key.removeprefix(prefix).strip("/")) if part)


def links_of(clients: Clients, file_system: str, region: str) -> list[Link]:
    """Every link of a file system. Raises AccountCannot."""
    filters = [{"Name": "file-system-id", "Values": [file_system]}]
    found, more = [], None
    with told(f"asking what {file_system} is linked to", region):
        while True:
            asked = {"Filters": filters} | ({"NextToken": more} if more else {})
            page = clients("fsx").describe_data_repository_associations(**asked)
            found += page["Associations"]
            if not (more := page.get("NextToken")):
                break
    return [
        Link(
            file_system=file_system,
            path=item["FileSystemPath"],
            uri=item["DataRepositoryPath"],
            imports=frozenset(item.get("S3", {}).get("AutoImportPolicy", {}).get("Events", ())),
        )
        for item in found
        if item.get("Lifecycle") not in ("DELETING", "FAILED")
    ]


def import_metadata(clients: Clients, link: Link, path: str, token: str, region: str) -> str:
    """Have the file system look at the objects below a path of it; returns the task's id.

    The same token names the same task, so that a client that was killed after asking asks for no other.
    """
    with told(f"importing into {link.file_system}", region):
        task = clients("fsx").create_data_repository_task(
            Type="IMPORT_METADATA_FROM_REPOSITORY",
            FileSystemId=link.file_system,
            Paths=[path],
            Report={"Enabled": False},
            ClientRequestToken=token,
        )
    return str(task["DataRepositoryTask"]["TaskId"])


def follow_import(clients: Clients, task: str, region: str, pause: Callable[[float], None]) -> int:
    """Wait for a task; returns how many files it came to. Raises AccountCannot where it fails."""
    while True:
        with told(f"looking at import {task}", region):
            found = clients("fsx").describe_data_repository_tasks(TaskIds=[task])["DataRepositoryTasks"][0]
        state, status = found["Lifecycle"], found.get("Status", {})
        if state == "SUCCEEDED" and not status.get("FailedCount"):
            return int(status.get("SucceededCount", 0))
        if state in ("SUCCEEDED", "FAILED", "CANCELED"):
            why = found.get("FailureDetails", {}).get("Message") or f"{status.get('FailedCount', 0)} files failed"
            raise AccountCannot(
                f"import {task} is {state}: {why}. The objects are in the bucket; push again to import them"
            )
        pause(_INTERVAL)
