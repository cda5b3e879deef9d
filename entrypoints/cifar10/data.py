"""Read the images of one channel with tf.data, shared out among the ranks."""

import json
import struct
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

IMAGE_SHAPE = (32, 32, 3)
FEATURES = {
    "image": tf.io.FixedLenFeature([], tf.string),
    "label": tf.io.FixedLenFeature([], tf.int64),
    "id": tf.io.FixedLenFeature([], tf.int64),
}


class Share(NamedTuple):
    """Which of the ranks reads, and how many share the images."""

    rank: int
    size: int


def training_images(channel, share, *, batch_size, seed, augment):
    """Batches of (image, label) of one epoch: none twice, in a new order every epoch, and as many for every rank."""
    images = count_images(channel) // share.size  # ranks that took unequal steps would wait for each other for ever
    if images < batch_size:
        raise ValueError(f"{channel} has {images} images for each of {share.size} ranks: no batch of {batch_size}")
    dataset = records(channel, share).take(images).cache()  # CIFAR-10 fits in memory: read the files once
    dataset = dataset.shuffle(images, seed=seed, reshuffle_each_iteration=True)
    dataset = dataset.map(parse, num_parallel_calls=tf.data.AUTOTUNE)
    if augment:
        dataset = dataset.map(crop_and_flip, num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.batch(batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def validation_images(channel, share, *, batch_size):
    """Batches of (image, label): the ranks together see every image once, as it is."""
    dataset = records(channel, share).cache().map(parse, num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.batch(batch_size).prefetch(tf.data.AUTOTUNE)


def records(channel, share):
    """The serialised examples of a rank: of all the channel's, every size-th one."""
    images = count_images(channel)
    if images < share.size:
        raise ValueError(f"{channel} has {images} images, fewer than the {share.size} ranks that share them")
    dataset = tf.data.TFRecordDataset(record_files(channel))
    # Fails if the files hold fewer images than split.json says, and lets Keras know the steps of an epoch.
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(images))
    return dataset.shard(share.size, share.rank)


def parse(record):
    """The image, in the bytes it was written in, and its label: the model itself normalises."""
    example = tf.io.parse_single_example(record, FEATURES)
    return tf.reshape(tf.io.decode_raw(example["image"], tf.uint8), IMAGE_SHAPE), example["label"]


def crop_and_flip(image, label):
    """The image moved by up to 4 pixels, and mirrored half of the time."""
    padded = tf.image.resize_with_crop_or_pad(image, 40, 40)
    return tf.image.random_flip_left_right(tf.image.random_crop(padded, IMAGE_SHAPE)), label


def count_images(channel):
    """As many as split.json says, or as there are records: found by their lengths, without reading them."""
    split = Path(channel, "split.json")
    if split.exists():
        return json.loads(split.read_text())["images"]
    return sum(count_records(path) for path in record_files(channel))


def count_records(path):
    """A record is its length in 8 bytes, 4 bytes of checksum, the payload, and 4 bytes of checksum."""
    count = 0
    with Path(path).open("rb") as file:
        while header := file.read(12):
            file.seek(struct.unpack("<Q4x", header)[0] + 4, 1)
            count += 1
    return count


def record_files(channel):
    """The channel's TFRecord files, in the same order for every rank."""
    paths = sorted(str(path) for path in Path(channel).glob("*.tfrecord"))
    if not paths:
        raise ValueError(f"there is no .tfrecord file in the channel {channel}")
    return paths
