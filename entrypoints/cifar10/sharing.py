"""Which images each rank takes, and in which order. Pure: numpy alone, so that it is tested without TensorFlow.

All ranks draw one order for all images from the seed and the epoch, and each takes its part of every batch of it. So
the images of a step are the same on any number of ranks, none is seen twice in an epoch, all ranks take equally many
steps, and a job that is resumed goes on with the order it would have had.
"""

from typing import NamedTuple

import numpy as np


class Share(NamedTuple):
    """Which of the ranks takes its part, and how many there are."""

    rank: int = 0
    size: int = 1


def steps_per_epoch(images, share, batch_size):
    """Steps in an epoch; batch_size is a rank's. What fills no batch of all ranks waits for another epoch."""
    steps = images // (batch_size * share.size)
    if not steps:
        raise ValueError(
            f"{images} images are too few for one step: {share.size} rank(s) of batch-size {batch_size} take "
            f"{batch_size * share.size}. Give a smaller batch-size, fewer ranks or more images."
        )
    return steps


def epoch_order(images, share, *, batch_size, seed, epoch):
    """The places of a rank's images in the order of an epoch, in an array of (steps, batch_size)."""
    steps = steps_per_epoch(images, share, batch_size)
    everyone = np.random.default_rng((seed, epoch)).permutation(images)
    return everyone[: steps * share.size * batch_size].reshape(steps, share.size, batch_size)[:, share.rank]


def validation_order(images, share):
    """The places of the images that a rank validates: every size-th, so that the ranks together see each one once."""
    if images < share.size:
        raise ValueError(f"{images} images to validate are fewer than the {share.size} ranks that share them")
    return np.arange(share.rank, images, share.size)
