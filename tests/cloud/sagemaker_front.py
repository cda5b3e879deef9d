"""SageMaker's training jobs on loopback, before moto, which has everything else that is asked.

moto ends every job as it is created, takes a name twice, has no StopTrainingJob and forgets Environment; here a job
goes as a test's `run` lets it, in a thread of its own. Requests are checked by botocore's service model. Faults are
injected at HTTP: throttling, errors, expired or denied credentials, and connections that break off.
"""

import gzip
import json
import re
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs
from wsgiref.types import WSGIApplication

import botocore.session
from botocore.validate import ParamValidator
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

ACCOUNT = "123456789012"
ENDED = ("Completed", "Failed", "Stopped")
_USES = ("training job usage", "spot training job usage", "training warm pool usage")
_CREDENTIAL = re.compile(r"Credential=([^/]+)/\d+/([^/]+)/([^/]+)/")
_NO_SUCH_JOB = "Requested resource not found."
_TAKEN = (
    "Training job names must be unique within an AWS account and region, and a training job with this name already "
    "exists ({})"
)


@dataclass
class Job:
    """One training job: what was asked, and how it goes."""

    request: dict[str, Any]
    answer: dict[str, Any]
    stopped: threading.Event = field(default_factory=threading.Event)
    """Set once StopTrainingJob has been called."""
    _turn: Any = field(default_factory=threading.Lock)

    @property
    def name(self) -> str:
        return str(self.request["TrainingJobName"])

    def enter(self, status: str, message: str = "") -> None:
        """The next secondary status."""
        now = _now()
        with self._turn:
            steps = self.answer["SecondaryStatusTransitions"]
            if steps:
                steps[-1].setdefault("EndTime", now)
            steps.append({"Status": status, "StartTime": now, "StatusMessage": message})
            self.answer["SecondaryStatus"] = status
            if status in ("Downloading", "Training"):
                self.answer.setdefault("TrainingStartTime", now)

    def ends(self, status: str, secondary: str | None = None, **told: Any) -> None:
        """The end; `told` are members of the description."""
        self.enter(secondary or status, f"Training job {status.lower()}")
        with self._turn:
            self.answer |= {"TrainingJobStatus": status, "TrainingEndTime": _now(), **told}

    def described(self) -> dict[str, Any]:
        with self._turn:
            found: dict[str, Any] = json.loads(json.dumps(self.answer))
            return found


Run = Callable[[Job], None]


def completes(job: Job) -> None:
    """A job that does nothing, and does that well."""
    for status in ("Starting", "Downloading", "Training", "Uploading"):
        job.enter(status, f"{status} …")
    job.ends("Completed", TrainingTimeInSeconds=60, BillableTimeInSeconds=60)


@dataclass
class Fault:
    """What befalls requests for an operation (`GetLogEvents`, `s3.PUT`), so many times, after so many went well.

    `what` is an error code, or: `500`, `drop` (the request is lost), `drop answer` (it is carried out all the same).
    """

    operation: str
    what: str
    times: int = 1
    after: int = 0


class Front:
    """The application. `asked` is every operation in order, those that befell a fault among them."""

    run: Run
    jobs: dict[str, Job]
    faults: list[Fault]
    expired: set[str]
    """Access keys that have expired."""
    asked: list[str]
    quotas: dict[str, float]
    """By name."""

    def __init__(self, behind: WSGIApplication | None = None) -> None:
        self.mount_names: dict[str, str] = {}
        """Of file systems, which moto does not tell."""
        self._turn = threading.Lock()
        self._moto = behind or DomainDispatcherApplication(create_backend_app)
        model = botocore.session.get_session().get_service_model("sagemaker")
        self._shape = model.operation_model("CreateTrainingJob").input_shape
        self.running: list[threading.Thread] = []
        self._begin()

    def _begin(self) -> None:
        self.run = completes
        self.jobs, self.faults, self.expired, self.asked = {}, [], set(), []
        kinds = ("m5.xlarge", "p3.2xlarge", "p3.16xlarge")
        self.quotas = {f"ml.{kind} for {use}": 100.0 for kind in kinds for use in _USES}

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        request = Request(environ)
        body = request.get_data(cache=True)
        operation, key = _operation(request, body), _credential(request)[0]
        fault = self._fault(operation)
        if key in self.expired:
            fault = "ExpiredTokenException"
        if fault == "drop":
            _break_off(environ)
        if fault and fault != "drop answer":
            return _refused(request, fault)(environ, start_response)
        environ["wsgi.input"] = _Again(body)
        answer = self._answered(operation, body, environ, start_response)
        if fault == "drop answer":
            for _ in answer:
                pass
            _break_off(environ)
        return answer

    def reset(self) -> None:
        """No job was ever asked for."""
        for job in self.jobs.values():
            job.stopped.set()
        for thread in self.running:
            thread.join(30)
        self.running.clear()
        self._begin()

    def _fault(self, operation: str) -> str:
        with self._turn:
            self.asked.append(operation)
            for fault in self.faults:
                if fault.operation == operation and fault.times:
                    if fault.after:
                        fault.after -= 1
                        continue
                    fault.times -= 1
                    return fault.what
        return ""

    def _answered(self, operation: str, body: bytes, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        ours: dict[str, Callable[[dict[str, Any]], Response]] = {
            "CreateTrainingJob": self._create,
            "DescribeTrainingJob": self._describe,
            "ListTrainingJobs": self._list,
            "StopTrainingJob": self._stop,
            "ListServiceQuotas": self._quotas,
            "ListAWSDefaultServiceQuotas": lambda _: _json({"Quotas": []}),
        }
        if operation in ours:
            return ours[operation](json.loads(body))(environ, start_response)
        if operation == "DescribeFileSystems" and self.mount_names:
            return self._file_systems(environ, start_response)
        found: Iterable[bytes] = self._moto(environ, start_response)
        return found

    def _create(self, request: dict[str, Any]) -> Response:
        if faults := ParamValidator().validate(request, self._shape).generate_report():
            return _json({"__type": "ValidationException", "message": faults}, 400)
        name = request["TrainingJobName"]
        arn = f"arn:aws:sagemaker:us-west-2:{ACCOUNT}:training-job/{name}"
        with self._turn:
            if name in self.jobs:
                return _json({"__type": "ResourceInUse", "message": _TAKEN.format(arn)}, 400)
            self.jobs[name] = job = Job(request, _answer(request, arn))
        thread = threading.Thread(target=self.run, args=(job,), daemon=True)
        self.running.append(thread)
        thread.start()
        return _json({"TrainingJobArn": arn})

    def _describe(self, asked: dict[str, Any]) -> Response:
        job = self.jobs.get(asked["TrainingJobName"])
        return _json(job.described()) if job else _no_such_job()

    def _list(self, asked: dict[str, Any]) -> Response:
        jobs = [job.described() for job in reversed(self.jobs.values())]
        wanted = [job for job in jobs if asked.get("StatusEquals") in (None, job["TrainingJobStatus"])]
        start, size = int(asked.get("NextToken", "0")), asked.get("MaxResults", 10)
        names = ("TrainingJobName", "TrainingJobArn", "CreationTime", "TrainingEndTime", "TrainingJobStatus")
        page = [{name: job[name] for name in names if name in job} for job in wanted[start : start + size]]
        more = {"NextToken": str(start + size)} if start + size < len(wanted) else {}
        return _json({"TrainingJobSummaries": page, **more})

    def _stop(self, asked: dict[str, Any]) -> Response:
        job = self.jobs.get(asked["TrainingJobName"])
        if job is None:
            return _no_such_job()
        status = job.described()["TrainingJobStatus"]
        if status in ENDED:
            message = f"The request was rejected because the training job is in status {status}."
            return _json({"__type": "ValidationException", "message": message}, 400)
        job.answer["TrainingJobStatus"] = "Stopping"
        job.enter("Stopping", "Stopping the training job")
        job.stopped.set()
        return _json({})

    def _quotas(self, asked: dict[str, Any]) -> Response:
        assert asked["ServiceCode"] == "sagemaker"
        quotas = [{"QuotaName": name, "QuotaCode": "L-1234", "Value": value} for name, value in self.quotas.items()]
        return _json({"Quotas": quotas})

    def _file_systems(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        said: list[Any] = []
        whole = b"".join(self._moto(environ, lambda *head: said.extend(head)))
        answer = json.loads(whole)
        for system in answer.get("FileSystems", []):
            if name := self.mount_names.get(system["FileSystemId"]):
                system.setdefault("LustreConfiguration", {})["MountName"] = name
        return _json(answer, int(said[0].split()[0]))(environ, start_response)


@contextmanager
def served(front: WSGIApplication) -> Iterator[str]:
    """The front on loopback for as long as the context is open: its URL."""
    server = make_server("127.0.0.1", 0, front, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Again:
    """A body that was read, to be read again."""

    def __init__(self, body: bytes) -> None:
        self._left = memoryview(body)

    def read(self, size: int = -1) -> bytes:
        size = len(self._left) if size < 0 else size
        piece, self._left = bytes(self._left[:size]), self._left[size:]
        return piece

    def readline(self, _size: int = -1) -> bytes:
        whole = bytes(self._left)
        return self.read(whole.find(b"\n") + 1 or len(whole))


def _operation(request: Request, body: bytes) -> str:
    if target := request.headers.get("X-Amz-Target"):
        return target.rpartition(".")[2]
    if request.mimetype == "application/x-www-form-urlencoded":
        if request.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        return parse_qs(body.decode()).get("Action", ["?"])[0]
    return f"{_credential(request)[2]}.{request.method}"


def _credential(request: Request) -> tuple[str, str, str]:
    """Access key, region and service of a signature."""
    found = _CREDENTIAL.search(request.headers.get("Authorization", ""))
    return (found[1], found[2], found[3]) if found else ("", "", "")


def _refused(request: Request, code: str) -> Response:
    """An error in the protocol of who asked."""
    status = 500 if code == "500" else 403 if "Denied" in code or "Unauthorized" in code else 400
    said = "InternalFailure" if code == "500" else code
    if request.headers.get("X-Amz-Target"):
        return _json({"__type": said, "message": f"injected: {said}"}, status)
    service = _credential(request)[2]
    error = f"<Error><Code>{said}</Code><Message>injected</Message></Error>"
    if service == "ec2":
        text = f"<Response><Errors>{error}</Errors><RequestID>1</RequestID></Response>"
    elif service == "s3":
        text = error
    else:
        text = f"<ErrorResponse>{error}<RequestId>1</RequestId></ErrorResponse>"
    return Response(text, status, content_type="text/xml")


def _break_off(environ: dict[str, Any]) -> None:
    """End the connection without an answer, as a network does."""
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    raise ConnectionError("broken off by the test")


def _answer(request: dict[str, Any], arn: str) -> dict[str, Any]:
    now = _now()
    told = {name: value for name, value in request.items() if name not in ("Tags", "SessionChainingConfig")}
    artifacts = f"{request['OutputDataConfig']['S3OutputPath']}/{request['TrainingJobName']}/output/model.tar.gz"
    return told | {
        "TrainingJobArn": arn,
        "ModelArtifacts": {"S3ModelArtifacts": artifacts},
        "TrainingJobStatus": "InProgress",
        "SecondaryStatus": "Starting",
        "CreationTime": now,
        "LastModifiedTime": now,
        "SecondaryStatusTransitions": [],
        "EnableNetworkIsolation": request.get("EnableNetworkIsolation", False),
    }


def _json(content: dict[str, Any], status: int = 200) -> Response:
    return Response(json.dumps(content), status, content_type="application/x-amz-json-1.1")


def _no_such_job() -> Response:
    return _json({"__type": "ValidationException", "message": _NO_SUCH_JOB}, 400)


def _now() -> float:
    return datetime.now(UTC).timestamp()
