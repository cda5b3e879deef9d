"""What stands before an account and refuses every third request: throttled, or failed, by turns."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_ERROR = "<ErrorResponse><Error><Type>Sender</Type><Code>{}</Code><Message>no</Message></Error></ErrorResponse>"


@dataclass
class Front:
    """Where it answers, and how many requests it has refused."""

    url: str
    asked: int = 0
    refused: int = 0


@contextmanager
def refusing_now_and_then(account: str) -> Iterator[Front]:
    """It stands there for as long as the context is open. What it refuses has not been done."""

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            front.asked += 1
            if front.asked % 3 == 0:
                front.refused += 1
                refusals = [(400, "Throttling"), (500, "InternalFailure")]
                status, code = refusals[front.refused % 2]
                self._answer(status, _ERROR.format(code).encode())
                return
            behind = http.client.HTTPConnection(urlsplit(account).netloc)
            behind.request("POST", self.path, content, dict(self.headers))
            answer = behind.getresponse()
            self._answer(answer.status, answer.read())
            behind.close()

        def _answer(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        front = Front(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield front
        finally:
            server.shutdown()
            thread.join()
