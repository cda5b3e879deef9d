"""What the scripts ask of the library that joins the ranks, be it torch.distributed or Horovod."""

import os

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
    return int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])


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
