"""The part of FSx that moto lacks: data repository associations and tasks, on loopback."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FILE_SYSTEM = "fs-0123456789abcdef0"


@dataclass
class Fsx:
    """One file system, linked to a prefix of a bucket, and the imports it was asked for."""

    linked_to: str
    imports: tuple[str, ...] = ("NEW", "CHANGED", "DELETED")
    """What it learns of by itself."""
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By the token they were asked for with."""
    failing: str = ""
    """Why imports fail, if they do."""
    url: str = ""

    def answer(self, operation: str, asked: dict[str, Any]) -> dict[str, Any]:
        """As FSx answers."""
        return {
            "DescribeDataRepositoryAssociations": self._associations,
            "CreateDataRepositoryTask": self._create,
            "DescribeDataRepositoryTasks": self._tasks,
        }[operation](asked)

    def _associations(self, asked: dict[str, Any]) -> dict[str, Any]:
        assert asked["Filters"] == [{"Name": "file-system-id", "Values": [FILE_SYSTEM]}]
        association = {
            "AssociationId": "dra-0123456789abcdef0",
            "FileSystemId": FILE_SYSTEM,
            "Lifecycle": "AVAILABLE",
            "FileSystemPath": "/",
            "DataRepositoryPath": self.linked_to,
            "S3": {"AutoImportPolicy": {"Events": list(self.imports)}} if self.imports else {},
        }
        return {"Associations": [association]}

    def _create(self, asked: dict[str, Any]) -> dict[str, Any]:
        task = self.tasks.setdefault(asked["ClientRequestToken"], asked | {"Looks": 0})
        number = list(self.tasks.values()).index(task)
        task["TaskId"] = f"task-{number:017}"
        return {"DataRepositoryTask": self._described(task)}

    def _tasks(self, asked: dict[str, Any]) -> dict[str, Any]:
        (task,) = [task for task in self.tasks.values() if task["TaskId"] in asked["TaskIds"]]
        task["Looks"] += 1
        return {"DataRepositoryTasks": [self._described(task)]}

    def _described(self, task: dict[str, Any]) -> dict[str, Any]:
        ended = "FAILED" if self.failing else "SUCCEEDED"
        return {
            "TaskId": task["TaskId"],
            "Lifecycle": ["PENDING", "EXECUTING", ended][min(task["Looks"], 2)],
            "Type": task["Type"],
            "CreationTime": 1,
            "FileSystemId": FILE_SYSTEM,
            "Status": {"TotalCount": 3, "SucceededCount": 3, "FailedCount": 0},
        } | ({"FailureDetails": {"Message": self.failing}} if self.failing else {})


@contextmanager
def fsx_stand_in(fsx: Fsx) -> Iterator[Fsx]:
    """It answers for as long as the context is open."""

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            content = json.dumps(fsx.answer(self.headers["X-Amz-Target"].rpartition(".")[2], asked)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        fsx.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield fsx
        finally:
            server.shutdown()
            thread.join()
