"""One rank of an MPI job: train a step each of Horovod's two ways, and save the weights as DIRECTORY/<rank>.npz.

Every rank starts from weights of its own and sees data of its own.
"""

import sys
from pathlib import Path

import horovod.tensorflow as hvd
import horovod.tensorflow.keras as hvd_keras
import numpy as np
import tensorflow as tf


def model() -> tf.keras.Model:
    """Weights that are this rank's own until they are broadcast."""
    tf.keras.utils.set_random_seed(hvd.rank())
    return tf.keras.Sequential([tf.keras.layers.Dense(1, input_shape=(4,))])


def batch() -> tuple[tf.Tensor, tf.Tensor]:
    """Data that is this rank's own."""
    return tf.random.stateless_normal((8, 4), seed=(hvd.rank(), 0)), tf.ones((8, 1))


def keras_step() -> list[np.ndarray]:
    """Keras with DistributedOptimizer and the callbacks."""
    trained = model()
    trained.compile(optimizer=hvd_keras.DistributedOptimizer(tf.keras.optimizers.Adam(0.1)), loss="mse")
    callbacks = [
        hvd_keras.callbacks.BroadcastGlobalVariablesCallback(0),
        hvd_keras.callbacks.MetricAverageCallback(),
        hvd_keras.callbacks.LearningRateWarmupCallback(initial_lr=0.1, warmup_epochs=1),
    ]
    trained.fit(*batch(), batch_size=8, epochs=2, callbacks=callbacks, verbose=0)
    return trained.get_weights()


def tape_step() -> list[np.ndarray]:
    """A loop of one's own with DistributedGradientTape, in a tf.function."""
    trained = model()
    hvd.broadcast_variables(trained.variables, root_rank=0)
    optimizer = tf.keras.optimizers.SGD(0.1)

    @tf.function
    def step(images: tf.Tensor, labels: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(trained(images, training=True) - labels))
        gradients = hvd.DistributedGradientTape(tape).gradient(loss, trained.trainable_variables)
        optimizer.apply_gradients(zip(gradients, trained.trainable_variables, strict=True))

    step(*batch())
    return trained.get_weights()


def main(directory: Path) -> None:
    """Needs mpirun."""
    hvd.init()
    untrained = model().get_weights()
    steps = {"untrained": untrained, "keras": keras_step(), "tape": tape_step()}
    np.savez(directory / f"{hvd.rank()}.npz", **{name: weights[0] for name, weights in steps.items()})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
