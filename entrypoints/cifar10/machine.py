"""What a rank takes of the machine it runs on."""

import os

import tensorflow as tf


def use_own_share(local_rank=0, local_size=1):
    """One GPU for each rank of this host, or a fair part of its cores: rather than fight for them."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        if local_rank >= len(gpus):
            raise ValueError(f"this host has {len(gpus)} GPU(s) for its {local_size} ranks: each needs its own")
        tf.config.set_visible_devices(gpus[local_rank], "GPU")
        tf.config.experimental.set_memory_growth(gpus[local_rank], True)
    else:
        tf.config.threading.set_intra_op_parallelism_threads(max(1, len(os.sched_getaffinity(0)) // local_size))


def untuned(dataset):
    """The data set with as many threads as it begins with, one for each core, up to 16.

    What would look for a better number does so ever more rarely, every minute in the end, and holds up the end of a
    training until it has looked once more.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
