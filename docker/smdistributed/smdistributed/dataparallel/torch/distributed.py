"""The module of SMDDP 1.3 and before, deprecated since: torch.distributed's names, over the backend `smddp`."""

import os

import torch.distributed as dist

from smdistributed.dataparallel.exceptions import SMDDPInitError, SMDDPNotSupportedError
from smdistributed.dataparallel.reduction import ReduceOp
from smdistributed.dataparallel.torch import torch_smddp  # noqa: F401 registers the backend

_TORCH = {
    ReduceOp.AVERAGE: dist.ReduceOp.SUM,  # and divided: gloo has no average
    ReduceOp.SUM: dist.ReduceOp.SUM,
    ReduceOp.MIN: dist.ReduceOp.MIN,
    ReduceOp.MAX: dist.ReduceOp.MAX,
}


class group:  # noqa: N801 torch's own name for it
    """The one group there is."""

    WORLD = "WORLD"


def is_available():
    """Whether this process was started as one of several."""
    return "WORLD_SIZE" in os.environ and "RANK" in os.environ


def init_process_group(*args, **kwargs):  # noqa: ARG001 there for the sake of torch's API
    """Find the other ranks."""
    dist.init_process_group(backend="smddp")


def is_initialized():
    """Whether init_process_group was called."""
    return dist.is_initialized()


def get_world_size(group=group.WORLD):
    """The number of ranks on all hosts."""
    _must_be_the_world(group)
    return dist.get_world_size()


def get_rank(group=group.WORLD):
    """This process among all, from 0."""
    _must_be_the_world(group)
    return dist.get_rank()


def get_local_rank():
    """This process among those of its host, from 0."""
    return int(os.environ["LOCAL_RANK"])


def all_reduce(tensor, op=ReduceOp.SUM, group=group.WORLD, async_op=False):
    """Reduce the tensor over all ranks, in place; returns a handle if async_op."""
    _must_be_the_world(group)
    op = op or ReduceOp.SUM
    work = dist.all_reduce(tensor, op=_TORCH[op], async_op=async_op)
    if op is not ReduceOp.AVERAGE:
        return work
    if async_op:
        return _Averaging(work, tensor)
    tensor.div_(dist.get_world_size())
    return None


def broadcast(tensor, src=0, group=group.WORLD, async_op=False):
    """Give every rank the tensor of src, in place."""
    _must_be_the_world(group)
    return dist.broadcast(tensor, src=src, async_op=async_op)


def all_gather(tensor_list, tensor, group=group.WORLD, async_op=False):
    """Fill the list with the tensors of all ranks."""
    _must_be_the_world(group)
    return dist.all_gather(tensor_list, tensor, async_op=async_op)


def all_to_all_single(
    output_t, input_t, output_split_sizes=None, input_split_sizes=None, group=group.WORLD, async_op=False
):
    """Hand each rank its part of input_t, and gather what the others hand over in output_t."""
    _must_be_the_world(group)
    return dist.all_to_all_single(output_t, input_t, output_split_sizes, input_split_sizes, async_op=async_op)


def barrier(group=group.WORLD, async_op=False):
    """Wait for all ranks."""
    _must_be_the_world(group)
    return dist.barrier(async_op=async_op)


class _Averaging:
    """A handle of a sum that becomes a mean when it is waited for."""

    def __init__(self, work, tensor):
        self._work, self._tensor = work, tensor

    def wait(self):
        """Until the tensor holds the mean."""
        if self._work is not None:
            self._work.wait()
            self._tensor.div_(dist.get_world_size())
            self._work = None
        return True

    def is_completed(self):
        """Whether the mean is there."""
        return self._work is None


def _must_be_the_world(given):
    if given is not group.WORLD:
        raise SMDDPNotSupportedError("process groups are not supported; group.WORLD is the only one")
    if not dist.is_initialized():
        raise SMDDPInitError("smdistributed.dataparallel is not initialized. Call init_process_group() first.")
