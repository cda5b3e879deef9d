"""One rank of an SMDDP job: call everything that the library has, and save what came of it as DIRECTORY/<rank>.npz."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np


def contribution(rank: int) -> np.ndarray:
    """What a rank puts in."""
    return np.random.default_rng(seed=rank).normal(size=(3, 2)).astype(np.float32)


def refusal(call: Callable[[], object]) -> str:
    """How the library refuses a call."""
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "not refused"


def main(directory: Path) -> None:
    """Needs mpirun; imports TensorFlow here, so that the tests can import this module without."""
    import smdistributed.dataparallel.tensorflow as sdp  # noqa: PLC0415
    import tensorflow as tf  # noqa: PLC0415

    before = refusal(sdp.rank)
    sdp.init()
    rank = sdp.rank()
    mine = tf.constant(contribution(rank))
    kept = tf.Variable(mine)
    sdp.broadcast_variables([kept], root_rank=0)
    weights = tf.Variable(contribution(0))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(weights * mine)  # so that the gradient is this rank's contribution
    (gradient,) = sdp.DistributedGradientTape(tape).gradient(loss, [weights])
    table = tf.Variable(tf.zeros((4, 2)))
    with tf.GradientTape() as sparse_tape:
        looked_up = tf.reduce_sum(tf.gather(table, [rank]))  # whose gradient is sparse
    (sparse,) = sdp.DistributedGradientTape(sparse_tape).gradient(looked_up, [table])
    average = sdp.ReduceOp.AVERAGE
    np.savez(
        directory / f"{rank}.npz",
        where=(rank, sdp.size(), sdp.local_rank(), sdp.local_size()),
        average=sdp.allreduce(mine, 0, 1, op=average),
        default=sdp.allreduce(mine, param_index=0, num_params=1, op=None),
        sum=sdp.allreduce(mine, 0, 1, op=sdp.ReduceOp.SUM),
        min=sdp.allreduce(mine, 0, 1, op=sdp.ReduceOp.MIN),
        max=sdp.allreduce(mine, 0, 1, op=sdp.ReduceOp.MAX),
        fp16=sdp.allreduce(mine, 0, 1, compression=sdp.Compression.fp16),
        oob=sdp.oob_allreduce(mine),
        broadcast=sdp.broadcast(mine, root_rank=sdp.size() - 1),
        variables=kept,
        gradient=gradient,
        sparse=sparse,
        sparse_is_dense=isinstance(sparse, tf.Tensor),
        overlap=sdp.overlap(mine),
        refused_before_init=before,
        refused_init=refusal(sdp.init),
        refused_oob_sum=refusal(lambda: sdp.oob_allreduce(mine, op=sdp.ReduceOp.SUM)),
        refused_tape_sum=refusal(lambda: sdp.DistributedGradientTape(tape, op=sdp.ReduceOp.SUM)),
        refused_device=refusal(lambda: sdp.DistributedGradientTape(tape, device_dense="/gpu:0")),
        refused_optimizer_device=refusal(lambda: sdp.DistributedOptimizer(None, device_sparse="/gpu:0")),
        refused_bucket=refusal(lambda: sdp.DistributedOptimizer(None, bucket_cap_mb=0.00001)),
        refused_index=refusal(lambda: sdp.allreduce(mine, 1, 1)),
        refused_global=refusal(lambda: sdp.broadcast_global_variables(0)),
        hook=after_the_hook(),
        keras=keras_weights(),
    )
    sdp.shutdown()


def after_the_hook() -> np.ndarray:
    """A variable of TensorFlow 1 that each rank began with a value of its own."""
    import smdistributed.dataparallel.tensorflow as sdp  # noqa: PLC0415
    import tensorflow as tf  # noqa: PLC0415

    with tf.Graph().as_default():
        variable = tf.compat.v1.get_variable("mine", initializer=contribution(sdp.rank()), use_resource=True)
        hooks = [sdp.BroadcastGlobalVariablesHook(0)]
        with tf.compat.v1.train.MonitoredTrainingSession(hooks=hooks) as session:
            return np.asarray(session.run(variable))


def keras_weights() -> np.ndarray:
    """What Keras's fit makes of weights and data that are each rank's own."""
    import smdistributed.dataparallel.tensorflow.keras as sdp_keras  # noqa: PLC0415
    import tensorflow as tf  # noqa: PLC0415

    tf.keras.utils.set_random_seed(sdp_keras.rank())
    model = tf.keras.Sequential([tf.keras.layers.Dense(1, input_shape=(4,))])
    model.compile(optimizer=sdp_keras.DistributedOptimizer(tf.keras.optimizers.SGD(0.1)), loss="mse")
    images, labels = tf.random.stateless_normal((8, 4), seed=(sdp_keras.rank(), 0)), tf.ones((8, 1))
    callbacks = [sdp_keras.callbacks.BroadcastGlobalVariablesCallback(0)]
    model.fit(images, labels, batch_size=8, epochs=2, callbacks=callbacks, verbose=0)
    return np.asarray(model.get_weights()[0])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
