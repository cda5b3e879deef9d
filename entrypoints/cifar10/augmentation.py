"""How training images are moved and mirrored. Pure: numpy alone, which is quicker here than TensorFlow's own gather."""

import numpy as np

FARTHEST = 4  # pixels


def epoch_moves(images, *, seed, epoch):
    """How each image is moved in an epoch: (down, across, whether mirrored), the same on any number of ranks.

    Down and across are 0 to twice FARTHEST; FARTHEST is where the image stays.
    """
    random = np.random.default_rng((seed, epoch, 1))  # the 1: else they were drawn like the epoch's order
    return random.integers(0, (2 * FARTHEST + 1, 2 * FARTHEST + 1, 2), (images, 3))


def bordered(images):
    """The images (n x height x width x channels) with FARTHEST black pixels around each."""
    return np.pad(images, ((0, 0), (FARTHEST, FARTHEST), (FARTHEST, FARTHEST), (0, 0)))


def moved(wide, places, moves):
    """The bordered images at those places after their moves, at the size they had before."""
    height, width = wide.shape[1] - 2 * FARTHEST, wide.shape[2] - 2 * FARTHEST
    batch = np.empty((len(places), height, width, wide.shape[-1]), wide.dtype)
    for image, place, (down, across, is_mirrored) in zip(batch, places.tolist(), moves.tolist()):
        part = wide[place, down : down + height, across : across + width]
        if is_mirrored:
            for channel in range(part.shape[-1]):  # quicker than all: in reverse, pixels would be copied one by one
                image[..., channel] = part[:, ::-1, channel]
        else:
            image[:] = part
    return batch
