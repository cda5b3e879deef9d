"""An S3 on loopback that holds back what it is asked for until it is let go: for jobs that are caught on their way."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_PATIENCE = 60  # seconds
_LISTED = (
    '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><IsTruncated>false</IsTruncated><Contents>'
    "<Key>held/file</Key><Size>4</Size><LastModified>2026-11-21T10:15:30.000Z</LastModified><ETag>e</ETag>"
    "</Contents></ListBucketResult>"
)
_EMPTY = (
    '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><IsTruncated>false</IsTruncated>'
    "</ListBucketResult>"
)
_DELETED = "<DeleteResult><Deleted><Key>any</Key></Deleted></DeleteResult>"


@dataclass
class Held:
    """Where it answers; what of LIST, HEAD, GET, PUT, and PUT of output, it holds back; whether somebody waits for an
    answer; what lets all who wait go; the paths written."""

    url: str = ""
    holds: tuple[str, ...] = ("GET", "OUTPUT")
    asked: threading.Event = field(default_factory=threading.Event)
    let_go: threading.Event = field(default_factory=threading.Event)
    written: list[str] = field(default_factory=list)

    def hold(self, what: str) -> None:
        """Wait, if that is held back."""
        if what in self.holds:
            self.asked.set()
            self.let_go.wait(_PATIENCE)


@contextmanager
def held_s3() -> Iterator[Held]:
    """Any bucket, with one object, held/file, of four bytes."""
    held = Held()

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if "list-type" in self.path:
                held.hold("LIST")
                self._answer(_LISTED if "prefix=held%2F" in self.path else _EMPTY)
            else:
                held.hold("GET")
                self._answer("four")

        def do_HEAD(self) -> None:
            held.hold("HEAD")
            self._answer("four", sent=False)

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            held.hold("OUTPUT" if "/output/" in self.path else "PUT")
            held.written.append(self.path)
            self._answer("")

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(_DELETED)

        def _answer(self, text: str, *, sent: bool = True) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.send_header("ETag", '"e"')
            self.send_header("Last-Modified", "Sat, 21 Nov 2026 10:15:30 GMT")
            self.end_headers()
            if sent:
                self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        held.url = f"http://127.0.0.1:{server.server_port}"
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield held
        finally:
            held.let_go.set()
            server.shutdown()
            thread.join()
