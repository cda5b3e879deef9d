"""Where DistributedDataParallel is imported from, in one of two ways."""

from smdistributed.dataparallel.torch.parallel.distributed import DistributedDataParallel

__all__ = ["DistributedDataParallel"]
