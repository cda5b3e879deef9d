"""ECR on loopback: a real registry behind a door that lets in, refuses and remembers as ECR does, and moto's ECR API.

The door is what engines push to and pull from. It wants a password that GetAuthorizationToken gave out, knows only
repositories that the API has created, keeps the tags of immutable ones, and enters in moto every manifest that it lets
through. It counts what is sent, and a test may have it break a connection off.

    with ecr_stand_in(program, folder) as ecr, aws_server(ecr.front) as url:
        ecr.endpoint = url
"""

import base64
import hashlib
import http.client
import http.server
import json
import re
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import boto3
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from tests.cloud.ecr_door import PATH, Door
from tests.registry import registry

KEYS = {"AWS_ACCESS_KEY_ID": "homeport-test", "AWS_SECRET_ACCESS_KEY": "homeport-secret"}
REGION = "us-west-2"
ACCOUNT = "123456789012"
_TARGET = "AmazonEC2ContainerRegistry_V20150921"


class Ecr:
    """The stand-in: what a test sets and what it reads."""

    def __init__(self, address: str, behind: str) -> None:
        self.address = address
        """host:port, the registry's host."""
        self.endpoint = ""
        """Where moto answers; set as soon as that is known."""
        self.sent = 0
        """Bytes of layers, configurations and manifests that came in."""
        self.manifests = 0
        """Manifests that came in."""
        self.on_upload: Callable[[int], object] = lambda _: None
        """Called with the bytes of an upload so far; raises Cut to break it off."""
        self.on_manifest: Callable[[], object] = lambda: None
        """Called before a manifest is let through; raises Cut."""
        self.after_manifest: Callable[[], object] = lambda: None
        """Called when the registry has a manifest and nobody was told; raises Cut."""
        self.asked: list[str] = []
        """Operations of the API, in order."""
        self.regions: list[str] = []
        """Where sign-ins were asked for."""
        self._behind = behind
        self.refused: Callable[[], object] = lambda: None
        """Called when somebody's sign-in was not good."""
        self.lasts = timedelta(hours=12)
        """How long sign-ins are good that are given out from now on."""
        self._given: dict[str, datetime] = {}

    @property
    def passwords(self) -> tuple[str, ...]:
        """Those that were given out."""
        return tuple(self._given)

    @property
    def client(self) -> Any:
        """Moto's ECR, as a test asks it."""
        return boto3.client(
            "ecr",
            region_name=REGION,
            endpoint_url=self.endpoint,
            aws_access_key_id="homeport-test",
            aws_secret_access_key="homeport-secret",
        )

    def front(self, app: WSGIApplication) -> WSGIApplication:
        """Moto with the addresses of this registry in its answers, and sign-ins that the door knows."""

        def answer(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
            service, _, operation = environ.get("HTTP_X_AMZ_TARGET", "").partition(".")
            if service != _TARGET:
                return app(environ, start)
            self.asked.append(operation)
            if operation == "GetAuthorizationToken":
                # Signature 4 says for which region it is: Credential=KEY/DATE/REGION/SERVICE/aws4_request.
                self.regions.append(environ["HTTP_AUTHORIZATION"].split("Credential=")[1].split("/")[2])
                return _json_answer(start, self._token())
            return self._with_addresses(app, environ, start)

        return answer

    def _token(self) -> dict[str, Any]:
        password, expires = secrets.token_urlsafe(64), datetime.now(UTC) + self.lasts
        self._given[password] = expires
        token = base64.b64encode(f"AWS:{password}".encode()).decode()
        where = f"http://{self.address}"
        data = {"authorizationToken": token, "expiresAt": expires.timestamp(), "proxyEndpoint": where}
        return {"authorizationData": [data]}

    def _with_addresses(self, app: WSGIApplication, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        begun: list[Any] = []

        def keep(status: str, headers: list[tuple[str, str]], *_: Any) -> Callable[[bytes], object]:
            begun[:] = [status, headers]
            return BytesIO().write

        text = b"".join(app(environ, keep)).decode()  # type: ignore[arg-type]
        content = re.sub(r"\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com", self.address, text).encode()
        status, headers = begun
        kept = [(name, value) for name, value in headers if name.lower() != "content-length"]
        start(status, [*kept, ("Content-Length", str(len(content)))])
        return [content]

    def refusal(self, method: str, path: str, authorization: str) -> tuple[int, str, str] | None:
        """What ECR's door says before it lets through: HTTP status, code and message; None where it lets through."""
        scheme, _, credentials = authorization.partition(" ")
        if scheme != "Basic":
            return 401, "UNAUTHORIZED", "not authenticated"
        username, _, password = base64.b64decode(credentials).decode().partition(":")
        if username != "AWS" or password not in self._given:
            return 403, "DENIED", "Your Authorization Token is invalid."
        if datetime.now(UTC) >= self._given[password]:
            self.refused()
            return 403, "DENIED", "Your authorization token has expired. Reauthenticate and try again."
        found = PATH.fullmatch(urlsplit(path).path)
        if found is None:
            return None
        described = self._repository(found["repository"])
        if described is None:
            what = (
                f"The repository with name '{found['repository']}' does not exist in the registry with id '{ACCOUNT}'"
            )
            return 404, "NAME_UNKNOWN", what
        tag = found["rest"]
        if method == "PUT" and found["kind"] == "manifests" and described["imageTagMutability"] == "IMMUTABLE":
            images = self.client.batch_get_image(repositoryName=found["repository"], imageIds=[{"imageTag": tag}])
            if images["images"]:
                what = (
                    f"The image tag '{tag}' already exists in the '{found['repository']}' repository and cannot be "
                    "overwritten because the repository is immutable."
                )
                return 400, "TAG_INVALID", what
        return None

    def _repository(self, name: str) -> dict[str, Any] | None:
        client = self.client
        try:
            found: dict[str, Any] = client.describe_repositories(repositoryNames=[name])["repositories"][0]
        except client.exceptions.RepositoryNotFoundException:
            return None
        return found

    def enter(self, repository: str, tag: str, manifest: bytes, media_type: str) -> None:
        """The API knows from now on what the registry has."""
        self.client.put_image(
            repositoryName=repository,
            imageTag=tag,
            imageManifest=manifest.decode(),
            imageManifestMediaType=media_type,
            imageDigest=f"sha256:{hashlib.sha256(manifest).hexdigest()}",
        )

    def behind(self) -> http.client.HTTPConnection:
        """The registry itself."""
        return http.client.HTTPConnection(self._behind)


@contextmanager
def ecr_stand_in(program: Path, folder: Path) -> Iterator[Ecr]:
    """The door and the registry, for as long as the context is open. `endpoint` is to be set by whoever serves moto."""
    with registry(program, folder) as served:

        class OwnDoor(Door):
            def setup(self) -> None:
                self.ecr = ecr
                super().setup()

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), OwnDoor)
        server.daemon_threads = True
        ecr = Ecr(f"127.0.0.1:{server.server_port}", served.address)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield ecr
        finally:
            server.shutdown()
            thread.join()
            server.socket.close()


@contextmanager
def aws_server(front: Callable[[WSGIApplication], WSGIApplication]) -> Iterator[str]:
    """Moto behind a front for as long as the context is open: its URL. It begins empty."""
    server = make_server("127.0.0.1", 0, front(DomainDispatcherApplication(create_backend_app)), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port)
        connection.request("POST", "/moto-api/reset")
        connection.getresponse().read()
        connection.close()
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _json_answer(start: StartResponse, content: dict[str, Any]) -> Iterable[bytes]:
    text = json.dumps(content).encode()
    start("200 OK", [("Content-Type", "application/x-amz-json-1.1"), ("Content-Length", str(len(text)))])
    return [text]
