"""What the scripts ask of the library that joins the ranks, be it torch.distributed or Horovod."""

import os
import sys
import time
from pathlib import Path

import torch

# What torch.distributed reads, for a script that nobody but a person started.
ALONE = {
    "RANK": "0",
    "LOCAL_RANK": "0",
    "WORLD_SIZE": "1",
    "LOCAL_WORLD_SIZE": "1",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "7777",
}


def launched():
    """This process among those of its host, and their number; a rank alone where nobody launched several."""
    for name, value in ALONE.items():
        os.environ.setdefault(name, value)
    sys.excepthook = _naming_who_is_gone
    return int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])


def _naming_who_is_gone(kind, error, traceback):
    """Python's own; but where a connection broke, gloo tells its address alone, and torchrun blames who is left."""
    gone = _dead_neighbours() if "gloo" in str(error) else []
    if gone:
        error = RuntimeError(f"rank {', '.join(map(str, gone))} is gone: {error}")
    sys.__excepthook__(kind, error, traceback)


def _dead_neighbours():
    """The ranks of this host that have ended, as long as torchrun, which looks every 5 s, has not: its dead children.

    It starts one for each rank of the host, in their order.
    """
    launcher = os.getppid()
    first = int(os.environ["RANK"]) - int(os.environ["LOCAL_RANK"])
    time.sleep(0.5)  # a process ends its connections before it is dead
    try:
        pids = sorted(map(int, Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()))
        states = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in pids]
    except OSError:
        return []  # it has looked meanwhile, or there was none
    return [first + place for place, state in enumerate(states) if state == "Z"]


def total(dist, tensor):
    """The sum of a tensor over all ranks."""
    if hasattr(dist, "allreduce"):
        return dist.allreduce(tensor, op=dist.Sum)
    tensor = tensor.detach().clone()
    on_gpu = tensor.cuda() if torch.cuda.is_available() else tensor  # NCCL takes what lies on a GPU
    dist.all_reduce(on_gpu)
    return on_gpu.to(tensor.device)


def shared(dist, value):
    """What rank 0 has, on every rank."""
    if hasattr(dist, "broadcast_object"):
        # Named, as its default is the value's type, which is another on ranks that have none: they would wait for ever.
        return dist.broadcast_object(value, root_rank=0, name="shared")
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


def average_moving_statistics(model, share, together):
    """Average what batch normalisation has seen: only gradients are averaged, so each rank has its own."""
    for name, buffer in model.named_buffers():
        if name.rpartition(".")[2].startswith("running_"):
            buffer.copy_(together(buffer) / share.size)
