"""What stands before an S3 endpoint: it counts what is asked for, and lets a test act before and amid a content."""

import http.client
import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import unquote, urlsplit

from tests.s3_server import Served

_CHUNK = 1 << 20
_PATIENCE = 60  # seconds after which one who waits goes on, and the test fails for another reason


class Gate:
    """A server that passes on what it is asked, to another. What it calls is given a key, and may wait, or raise
    OSError to break the connection off."""

    def __init__(self, url: str, server: str) -> None:
        self.url = url
        self.server = urlsplit(server).netloc
        self.reads: list[str] = []
        """The keys whose content was asked for, as often as it was."""
        self.asked: Callable[[str], object] = lambda _: None
        """Called before the server is asked for a content."""
        self.half: Callable[[str], object] = lambda _: None
        """Called when half of a content has been passed on."""

    def hold(self, key: str) -> "Held":
        """Have an object's content stop in the middle."""
        held = Held()
        self.half = lambda asked: held.wait() if asked == key else None
        return held


class Held:
    """A content that stands still: `came` once it does, until it is let go."""

    def __init__(self) -> None:
        self._came = threading.Event()
        self._gone = threading.Event()
        self.came = self._came.is_set
        self.let_go = self._gone.set

    def wait(self) -> None:
        self._came.set()
        self._gone.wait(_PATIENCE)


@contextmanager
def gate_before(served: Served) -> Iterator[Gate]:
    """A gate for as long as the context is open."""

    class Passing(_Passing):
        def setup(self) -> None:
            self.gate = gate
            super().setup()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Passing)
    gate = Gate(f"http://127.0.0.1:{server.server_port}", served.url)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield gate
    finally:
        server.shutdown()
        thread.join()
        server.socket.close()


class _Passing(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    gate: Gate

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        server = http.client.HTTPConnection(self.gate.server)
        try:
            self._pass(server)
        except OSError:
            self.close_connection = True
        finally:
            server.close()

    def _pass(self, server: http.client.HTTPConnection) -> None:
        url = urlsplit(self.path)
        _, _, key = unquote(url.path).lstrip("/").partition("/")
        is_content = key != "" and "list-type" not in url.query and self.command == "GET"
        if is_content:
            self.gate.reads.append(key)
            self.gate.asked(key)
        # With the Host that the client has signed.
        server.request(self.command, self.path, headers=dict(self.headers))
        answer = server.getresponse()
        self._begin(answer)
        if is_content and answer.status < 300:
            for _ in range(int(answer.headers["Content-Length"]) // 2 // _CHUNK):
                self.wfile.write(answer.read(_CHUNK))
            self.gate.half(key)
        while piece := answer.read(_CHUNK):
            self.wfile.write(piece)

    def _begin(self, answer: http.client.HTTPResponse) -> None:
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name not in ("Transfer-Encoding", "Connection"):
                self.send_header(name, value)
        if "Content-Length" not in answer.headers:
            self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass
