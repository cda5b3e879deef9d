"""moto's server with what it was taught, in a process of its own: `python -m tests.cloud.taught_moto FAILING`.

It prints where it answers, and ends with its standard input.
"""

import sys

from moto.server import ThreadedMotoServer

import tests.cloud.unknown_to_moto  # noqa: F401 - before the first stack

server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
server.start()
print("http://{}:{}".format(*server.get_host_and_port()), flush=True)
sys.stdin.read()
server.stop()
