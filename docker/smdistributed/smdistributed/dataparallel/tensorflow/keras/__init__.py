"""smdistributed.dataparallel.tensorflow.keras, which AWS does not document: what public programs use of it."""

import horovod.tensorflow.keras as hvd

from smdistributed.dataparallel.tensorflow import (
    Compression,
    ReduceOp,
    init,
    local_rank,
    local_size,
    rank,
    shutdown,
    size,
)
from smdistributed.dataparallel.tensorflow.keras import callbacks

__all__ = [
    "Compression",
    "DistributedOptimizer",
    "ReduceOp",
    "callbacks",
    "init",
    "local_rank",
    "local_size",
    "rank",
    "shutdown",
    "size",
]


def DistributedOptimizer(optimizer, compression=Compression.none, sparse_as_dense=True):  # noqa: N802 a class to its callers
    """A Keras optimizer that applies the means of all ranks' gradients."""
    return hvd.DistributedOptimizer(optimizer, compression=compression, sparse_as_dense=sparse_as_dense)
