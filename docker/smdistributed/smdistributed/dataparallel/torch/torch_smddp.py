"""Importing this gives torch.distributed the backend `smddp`: NCCL where there are GPUs, else gloo.

What SMDDP does not support is refused: new_group() here, barrier(device_ids=...) by torch, as it is for NCCL alone.
"""

import functools
import inspect
import os

import torch
import torch.distributed as dist

from smdistributed.dataparallel import announce
from smdistributed.dataparallel.exceptions import SMDDPNotSupportedError


def _create(store, rank, size, timeout):
    """The process group of all ranks, for torch.distributed."""
    if torch.cuda.is_available():
        announce(rank, "NCCL")
        options = dist.ProcessGroupNCCL.Options()
        options._timeout = timeout
        return dist.ProcessGroupNCCL(store, rank, size, options)
    announce(rank, "gloo")
    return dist.ProcessGroupGloo(store, rank, size, timeout)


def _refusing(new_group):
    """torch's new_group(), refused on every rank: torch asks the backend on a group's members alone."""

    @functools.wraps(new_group)
    def refused(*args, **kwargs):
        if dist.is_initialized() and dist.get_backend() == "smddp":
            raise SMDDPNotSupportedError("torch.distributed.new_group is not supported by the backend smddp")
        return new_group(*args, **kwargs)

    return refused


def _register():
    # torch before 2.0 does not ask for devices, later ones warn if they are not named.
    known = inspect.signature(dist.Backend.register_backend).parameters
    dist.Backend.register_backend("smddp", _create, **({"devices": ["cpu", "cuda"]} if "devices" in known else {}))
    if os.environ.get("LOCAL_RANK") is None and "OMPI_COMM_WORLD_LOCAL_RANK" in os.environ:
        os.environ["LOCAL_RANK"] = os.environ["OMPI_COMM_WORLD_LOCAL_RANK"]
    dist.new_group = _refusing(dist.new_group)


_register()
