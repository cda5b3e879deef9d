"""The door before the stand-in's registry: it lets in, refuses and counts, and passes on what it lets through."""

import base64
import http.client
import http.server
import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests.registry import PASSWORD, USER

if TYPE_CHECKING:
    from tests.cloud.ecr_stand_in import Ecr

PATH = re.compile(r"/v2/(?P<repository>.+?)/(?P<kind>manifests|blobs|tags)/(?P<rest>.*)")
_PIECE = 1 << 16
_HOP = ("connection", "keep-alive", "transfer-encoding", "authorization", "te", "trailer", "upgrade", "expect")


class Cut(Exception):
    """The test wants the connection broken off here."""


class Door(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    ecr: "Ecr"

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_PATCH = do_PUT = do_DELETE = do_GET  # noqa: N815

    def _answer(self) -> None:
        refusal = self.ecr.refusal(self.command, self.path, self.headers.get("Authorization", ""))
        if refusal:
            # Read all the same: whoever is still sending would see a broken connection and no reason.
            for _ in self._pieces():
                pass
            self._refuse(*refusal)
            return
        try:
            self._pass()
        except (Cut, OSError):
            self.close_connection = True

    def _pass(self) -> None:
        found = PATH.fullmatch(urlsplit(self.path).path)
        is_manifest = self.command == "PUT" and found is not None and found["kind"] == "manifests"
        body: bytes | Iterator[bytes] = self._body()
        if is_manifest:
            body = b"".join(body)
            self.ecr.manifests += 1
            self.ecr.on_manifest()
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
        headers["Authorization"] = f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"
        is_chunked = not isinstance(body, bytes) and "chunked" in self.headers.get("Transfer-Encoding", "")
        if is_chunked:
            headers["Transfer-Encoding"] = "chunked"
        has_body = self.command in ("POST", "PUT", "PATCH")
        behind = self.ecr.behind()
        try:
            behind.request(self.command, self.path, body if has_body else None, headers, encode_chunked=is_chunked)
            answer = behind.getresponse()
            if is_manifest and answer.status < 300:
                assert found is not None
                assert isinstance(body, bytes)
                self.ecr.enter(found["repository"], found["rest"], body, self.headers["Content-Type"])
                self.ecr.after_manifest()
            self._relay(answer)
        finally:
            behind.close()

    def _relay(self, answer: http.client.HTTPResponse) -> None:
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP:
                self.send_header(name, value)
        if "Content-Length" not in answer.headers:
            self.send_header("Connection", "close")
        self.end_headers()
        while piece := answer.read(_PIECE):
            self.wfile.write(piece)

    def _body(self) -> Iterator[bytes]:
        so_far = 0
        for piece in self._pieces():
            so_far += len(piece)
            self.ecr.sent += len(piece)
            self.ecr.on_upload(so_far)
            yield piece

    def _pieces(self) -> Iterator[bytes]:
        """What was sent, as it comes; chunked as engines send layers, or of a known length."""
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            left = int(self.headers.get("Content-Length", 0))
            while left and (piece := self.rfile.read(min(_PIECE, left))):
                left -= len(piece)
                yield piece
            return
        while size := int(self.rfile.readline().split(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _refuse(self, status: int, code: str, message: str) -> None:
        content = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
        self.send_response_only(status)
        if status == 401:
            self.send_header(
                "Www-Authenticate", f'Basic realm="http://{self.ecr.address}/",service="ecr.amazonaws.com"'
            )
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass
