"""The endpoint that a job asks for AWS credentials: http://169.254.170.2 in its own network, as in SageMaker.

Runs alone, as the text of `python3 -c`, in a container beside the job's, on the image's own Python, 3.6 or later. It
keeps no secret: each request becomes `ask` on stdout, and the line that then comes on stdin, a status and a JSON
document, is the answer. It ends with its stdin, so with the harness.
"""

import fcntl
import os
import queue
import socket
import socketserver
import struct
import sys
import threading

ADDRESS = "169.254.170.2"
_SIOCSIFADDR, _SIOCSIFNETMASK = 0x8916, 0x891C  # linux/sockios.h
_PATIENCE = 10  # seconds that a client may take to say what it wants

_answers = queue.Queue()  # type: queue.Queue[bytes]
_asking = threading.Lock()


class _Request(socketserver.StreamRequestHandler):
    timeout = _PATIENCE

    def handle(self):  # type: () -> None
        method, path = [*self.rfile.readline(4096).split(), b"", b""][:2]
        while self.rfile.readline(65536).strip():
            pass
        if method != b"GET" or path.partition(b"?")[0] != os.fsencode(sys.argv[1]):
            status, content = b"404", b'{"code": "NotFound", "message": "no credentials are here"}'
        else:
            status, _, content = _answer().partition(b" ")
        head = b"HTTP/1.1 %s -\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
        self.wfile.write(head % (status, len(content)) + content)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):  # type: (object, object) -> None
        """A client that went away; its SDK asks again."""


def _answer():  # type: () -> bytes
    """What the harness says, one question at a time."""
    with _asking:
        _say(b"ask")
        return _answers.get()


def _say(word):  # type: (bytes) -> None
    os.write(1, word + b"\n")


def _own_address():  # type: () -> None
    """Give `lo` the address, and no more of its network: 169.254.169.254 stays where it is."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for request, value in ((_SIOCSIFADDR, ADDRESS), (_SIOCSIFNETMASK, "255.255.255.255")):
            asked = struct.pack("16sHH4s8x", b"lo:aws", socket.AF_INET, 0, socket.inet_aton(value))
            fcntl.ioctl(control, request, asked)


def main():  # type: () -> None
    """Serve until stdin ends."""
    _own_address()
    server = _Server((ADDRESS, 80), _Request)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    _say(b"ready")
    for line in sys.stdin.buffer:
        _answers.put(line.strip())
    os._exit(0)


if __name__ == "__main__":
    main()
