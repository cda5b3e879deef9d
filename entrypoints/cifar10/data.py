"""Read the images of one channel, and make batches of them with tf.data."""

import json
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from augmentation import bordered, epoch_moves, moved
from machine import untuned
from sharing import epoch_order, validation_order

IMAGE_SHAPE = (32, 32, 3)
CLASSES = 10
FEATURES = {
    "image": tf.io.FixedLenFeature([], tf.string),
    "label": tf.io.FixedLenFeature([], tf.int64),
    "id": tf.io.FixedLenFeature([], tf.int64),
}


class Images(NamedTuple):
    """All images of a channel in memory, which they fit: CIFAR-10's 40,000 are 123 MB."""

    pixels: np.ndarray
    labels: np.ndarray
    ids: np.ndarray

    def __len__(self):
        return len(self.ids)


def load(channel, *, skip_corrupt=False):
    """Every image of the channel's TFRecord files; a file that can't be read to its end is an error, or cut short."""
    parts = [read_file(path, skip_corrupt) for path in record_files(channel)]
    images = Images(*(np.concatenate(field) for field in zip(*parts)))
    promised = images_promised(channel)
    if promised not in (None, len(images)):
        if not skip_corrupt:
            raise ValueError(f"{channel} holds {len(images)} images, and its split.json says {promised}")
        print(f"skipped: {promised - len(images)} of the {promised} images of {channel}\n", end="", flush=True)
    if not len(images):
        raise ValueError(f"{channel} holds no image")
    return images


def training_batches(images, share, *, batch_size, seed, epochs, first_epoch=0, augment=False):
    """Batches of (image, label, id) of a rank: the epochs from first_epoch up to `epochs`, one after the other."""
    places, moves = [np.empty((0, batch_size), np.int64)], [np.empty((0, batch_size, 3), np.int64)]
    for epoch in range(first_epoch, epochs):  # none, where a job is resumed at its end
        places.append(epoch_order(len(images), share, batch_size=batch_size, seed=seed, epoch=epoch))
        moves.append(epoch_moves(len(images), seed=seed, epoch=epoch)[places[-1]])
    with tf.device("CPU"):  # where tf.data works; else all images would go to the GPU and back
        labels, ids = tf.constant(images.labels), tf.constant(images.ids)
        pixels = None if augment else tf.constant(images.pixels)
    wide = bordered(images.pixels) if augment else None

    def take(places, moves):
        if augment:
            made = tf.numpy_function(partial(moved, wide), (places, moves), tf.uint8)
            batch = tf.ensure_shape(made, (batch_size, *IMAGE_SHAPE))
        else:
            batch = tf.gather(pixels, places)
        return batch, tf.gather(labels, places), tf.gather(ids, places)

    # An element is a whole batch: image by image, tf.data would take longer to call `take` than that takes.
    dataset = tf.data.Dataset.from_tensor_slices((np.concatenate(places), np.concatenate(moves)))
    return untuned(dataset.map(take, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE))


def validation_batches(images, share, *, batch_size):
    """Batches of (image, label, id): the ranks together see every image once, as it is."""
    places = validation_order(len(images), share)
    dataset = tf.data.Dataset.from_tensor_slices(tuple(field[places] for field in images))
    return untuned(dataset.batch(batch_size).prefetch(tf.data.AUTOTUNE))


def without_ids(pixels, labels, _):
    """What Keras's fit takes of a batch."""
    return pixels, labels


def read_file(path, skip_corrupt):
    """The images of one file."""
    images, error = read_until_corrupt(path, at_once=1024)
    if error:
        images, error = read_until_corrupt(path, at_once=1)  # so that no image is lost but those behind the fault
        why = error.message.rpartition("}} ")[2].partition(" [Op:")[0]
        fault = f"{path} is corrupt after {len(images)} images: {why}"
        if not skip_corrupt:
            raise ValueError(f"{fault}. Make the file anew, or train without its rest: skip-corrupt=true")
        print(f"skipped: {fault}\n", end="", flush=True)
    return images


def read_until_corrupt(path, at_once):
    """The images of a file, so many records at a time, and the error that ended it, if one did."""
    parts, error = [empty()], None
    try:
        for records in tf.data.TFRecordDataset(path).batch(at_once):
            parts.append(parse(path, records))  # noqa: PERF401 what was read before an error is kept
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as caught:
        error = caught
    return Images(*(np.concatenate(field) for field in zip(*parts))), error


def parse(path, records):
    """Serialised examples as images."""
    examples = tf.io.parse_example(records, FEATURES)
    pixels = tf.reshape(tf.io.decode_raw(examples["image"], tf.uint8), (-1, *IMAGE_SHAPE)).numpy()
    labels, ids = examples["label"].numpy(), examples["id"].numpy()
    wrong = (labels < 0) | (labels >= CLASSES)
    if wrong.any():
        raise ValueError(
            f"image {ids[wrong][0]} of {path} has the label {labels[wrong][0]}: there are {CLASSES} classes"
        )
    return Images(pixels, labels, ids)


def empty():
    """No image."""
    return Images(np.empty((0, *IMAGE_SHAPE), np.uint8), np.empty(0, np.int64), np.empty(0, np.int64))


def images_promised(channel):
    """As many as split.json says; None where there is none."""
    split = Path(channel, "split.json")
    return json.loads(split.read_text())["images"] if split.exists() else None


def record_files(channel):
    """The channel's TFRecord files, in the same order for every rank."""
    paths = sorted(str(path) for path in Path(channel).glob("*.tfrecord"))
    if not paths:
        raise ValueError(f"there is no .tfrecord file in the channel {channel}")
    return paths
