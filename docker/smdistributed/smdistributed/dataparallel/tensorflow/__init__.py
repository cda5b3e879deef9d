"""smdistributed.dataparallel.tensorflow over Horovod."""

import horovod.tensorflow as hvd
import tensorflow as tf

from smdistributed.dataparallel import announce
from smdistributed.dataparallel.exceptions import SMDDPInitError, SMDDPNotSupportedError
from smdistributed.dataparallel.reduction import ReduceOp

_HOROVOD = {ReduceOp.AVERAGE: hvd.Average, ReduceOp.SUM: hvd.Sum, ReduceOp.MIN: hvd.Min, ReduceOp.MAX: hvd.Max}
_BUCKET_ALIGNMENT = 128  # bytes


class Compression:
    """How tensors are packed on the way to the other ranks."""

    none = hvd.Compression.none
    fp16 = hvd.Compression.fp16


def init():
    """Find the other ranks. Once: SMDDPInitError after that."""
    if hvd.is_initialized():
        raise SMDDPInitError("init() called more than once. smdistributed.dataparallel is already initialized.")
    hvd.init()
    announce(hvd.rank(), "Horovod")


def shutdown():
    """Leave the other ranks."""
    hvd.shutdown()


def size():
    """The number of ranks on all hosts."""
    _must_be_initialized()
    return hvd.size()


def local_size():
    """The number of ranks on this host."""
    _must_be_initialized()
    return hvd.local_size()


def rank():
    """This process among all, from 0."""
    _must_be_initialized()
    return hvd.rank()


def local_rank():
    """This process among those of its host, from 0."""
    _must_be_initialized()
    return hvd.local_rank()


def allreduce(tensor, param_index, num_params, compression=Compression.none, op=ReduceOp.AVERAGE):
    """The tensor reduced over all ranks; it is number param_index of num_params, in the same order on each."""
    _must_be_initialized()
    if not 0 <= param_index < num_params:
        raise ValueError(f"param_index {param_index} is none of num_params {num_params}")
    return hvd.allreduce(tensor, compression=compression, op=_HOROVOD[op or ReduceOp.AVERAGE])


def oob_allreduce(tensor, compression=Compression.none, op=ReduceOp.AVERAGE):
    """The mean of a tensor that is no gradient, such as a loss, over all ranks."""
    _must_be_initialized()
    _must_average("oob_allreduce", op)
    return hvd.allreduce(tensor, compression=compression, op=hvd.Average)


def broadcast(tensor, root_rank):
    """The root's tensor, on every rank."""
    _must_be_initialized()
    return hvd.broadcast(tensor, root_rank)


def broadcast_variables(variables, root_rank):
    """Give all variables the root's values."""
    _must_be_initialized()
    hvd.broadcast_variables(variables, root_rank)


def broadcast_global_variables(root_rank):
    """Give all global variables of a graph the root's values; TensorFlow 1's way."""
    _must_be_initialized()
    if tf.executing_eagerly():
        raise RuntimeError("broadcast_global_variables() is for graphs; with eager execution use broadcast_variables()")
    return hvd.broadcast_variables(tf.compat.v1.global_variables(), root_rank)


def overlap(tensor):
    """The tensor itself: the real library's mark in an XLA graph, where it may begin to reduce."""
    return tf.identity(tensor)


def DistributedGradientTape(  # noqa: N802 a class to its callers
    gradtape,
    device_dense="",
    device_sparse="",
    compression=Compression.none,
    sparse_as_dense=True,
    op=ReduceOp.AVERAGE,
):
    """A tape whose gradients are the means over all ranks."""
    _must_be_initialized()
    _must_support("DistributedGradientTape", device_dense, device_sparse)
    _must_average("DistributedGradientTape", op)
    return hvd.DistributedGradientTape(gradtape, compression=compression, sparse_as_dense=sparse_as_dense)


def DistributedOptimizer(  # noqa: N802 a class to its callers
    optimizer,
    name=None,
    use_locking=False,
    device_dense="",
    device_sparse="",
    compression=Compression.none,
    sparse_as_dense=True,
    op=ReduceOp.AVERAGE,
    bucket_cap_mb=25,
):
    """An optimizer that applies the means of all ranks' gradients."""
    _must_be_initialized()
    _must_support("DistributedOptimizer", device_dense, device_sparse)
    _must_average("DistributedOptimizer", op)
    if bucket_cap_mb * 1024 * 1024 % _BUCKET_ALIGNMENT:
        raise ValueError(
            f"bucket_cap_mb {bucket_cap_mb} is {bucket_cap_mb * 1024 * 1024} bytes, which must be a multiple of "
            f"{_BUCKET_ALIGNMENT}"
        )
    name = name or f"smdistributed.dataparallel{type(optimizer).__name__}"
    return hvd.DistributedOptimizer(
        optimizer, name=name, use_locking=use_locking, compression=compression, sparse_as_dense=sparse_as_dense
    )


class BroadcastGlobalVariablesHook(tf.compat.v1.train.SessionRunHook):
    """Give all global variables the root's values when a session of TensorFlow 1 begins.

    Not Horovod's own, which is there only where tf.estimator is.
    """

    def __init__(self, root_rank):
        self._root_rank = root_rank
        self._broadcast = None

    def begin(self):
        """Add the operation, while the graph still takes one."""
        self._broadcast = broadcast_global_variables(self._root_rank)

    def after_create_session(self, session, coord):  # noqa: ARG002 as TensorFlow calls it
        """Run it."""
        session.run(self._broadcast)


def _must_be_initialized():
    if not hvd.is_initialized():
        raise SMDDPInitError("smdistributed.dataparallel is not initialized. Call init() first.")


def _must_average(name, op):
    if (op or ReduceOp.AVERAGE) is not ReduceOp.AVERAGE:
        raise SMDDPNotSupportedError(f"{name}: op {op} is not supported; only ReduceOp.AVERAGE is")


def _must_support(name, device_dense, device_sparse):
    for argument, value in (("device_dense", device_dense), ("device_sparse", device_sparse)):
        if value:
            raise SMDDPNotSupportedError(f"{name}: {argument} is not supported")
