"""How many images a core reads, decodes and makes ready: what input_pipeline.py runs by the image's own Python.

A rate is images by seconds of this process's processor time, so that nothing else that the machine does counts. The
answer is one line of JSON: the rates of every way, one for each run; how many photos it drew, and their bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # before TensorFlow counts the cores

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

BATCH, EPOCHS = 64, 20  # of CIFAR-10's; the digits that stand in for it are few
PHOTOS, HEIGHT, WIDTH = 32, 480, 640  # as most of COCO's are
OBJECTS = 7  # COCO has 7.3 in an image
BOX = tuple(f"image/object/bbox/{side}" for side in ("ymin", "xmin", "ymax", "xmax"))
FEATURES = {
    "image/encoded": tf.io.FixedLenFeature([], tf.string),
    "image/object/mask": tf.io.VarLenFeature(tf.string),
    "image/object/class/label": tf.io.VarLenFeature(tf.int64),
    **{side: tf.io.VarLenFeature(tf.float32) for side in BOX},
}
Way = tuple[int, Callable[[], object]]
"""How many images there are, and what goes through them all."""


def main() -> None:
    """Measure each way so many times, in turn."""
    parser = argparse.ArgumentParser(description="Images by seconds of a core, for every way.")
    parser.add_argument("workload", choices=("cifar10", "mask_rcnn"))
    parser.add_argument("--scripts", required=True, help="the directory of the workload's scripts")
    parser.add_argument("--train", required=True, help="CIFAR-10's training channel, or where to draw photos")
    parser.add_argument("--runs", type=int, required=True)
    asked = parser.parse_args()
    sys.path.insert(0, asked.scripts)
    sys.argv = [asked.workload]  # the scripts have arguments of their own: their defaults
    drawn = write_photos(Path(asked.train)) if asked.workload == "mask_rcnn" else 0
    ways = {"cifar10": cifar10_ways, "mask_rcnn": coco_ways}[asked.workload](asked.train)
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for run in range(asked.runs + 1):
        for name, way in ways.items():
            rate = measured(way)
            if run:  # the first is a warm-up
                rates[name].append(rate)
    print(json.dumps({"rates": rates, "photos": PHOTOS, "photo_bytes": drawn}))


def measured(way: Way) -> float:
    """Images by seconds of processor time."""
    images, go = way
    began = time.process_time()
    go()
    return images / (time.process_time() - began)


def consumed(dataset: tf.data.Dataset) -> None:
    """Go through a data set, as a training would, on one thread."""
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    for _ in dataset.with_options(options):
        pass


# CIFAR-10's records: raw pixels.


def cifar10_ways(train: str) -> dict[str, Way]:
    """The floor reads and decodes every record once an epoch; the scripts do so once, and make batches from memory."""
    import data  # noqa: PLC0415 where it lies is an argument
    from sharing import Share  # noqa: PLC0415

    images = data.load(train)
    files = data.record_files(train)
    order = {"batch_size": BATCH, "seed": 1, "epochs": EPOCHS}

    def decoded(records: tf.Tensor) -> tf.Tensor:
        return tf.io.decode_raw(tf.io.parse_example(records, data.FEATURES)["image"], tf.uint8)

    def floor() -> None:
        consumed(tf.data.TFRecordDataset(files).repeat(EPOCHS).batch(BATCH).map(decoded))

    def ours(*, augment: bool) -> None:
        consumed(data.training_batches(images, Share(), **order, augment=augment))

    given = len(images) // BATCH * BATCH * EPOCHS
    return {
        "cifar10 floor": (len(images) * EPOCHS, floor),
        "cifar10": (given, lambda: ours(augment=False)),
        "cifar10 augmented": (given, lambda: ours(augment=True)),
    }


# COCO's records: a JPEG, boxes, and a PNG for each mask.


def coco_ways(train: str) -> dict[str, Way]:
    """The floor decodes JPEG and masks; the others make of them what Mask R-CNN takes, or what a device makes it of."""
    import data  # noqa: PLC0415 where it lies is an argument
    from arguments import parse_args  # noqa: PLC0415
    from official.vision.dataloaders.maskrcnn_input import Parser  # noqa: PLC0415
    from official.vision.dataloaders.tf_example_decoder import TfExampleDecoder  # noqa: PLC0415
    from records import find_records  # noqa: PLC0415

    args = parse_args("COCO's records")
    records = find_records(train)
    parser = Parser(
        output_size=[args.image_size, args.image_size],
        min_level=args.min_level,
        max_level=args.max_level,
        num_scales=1,
        aspect_ratios=args.aspect_ratios,
        anchor_size=args.anchor_size,
        aug_rand_hflip=args.flip,
        include_mask=True,
    )
    decode, parse = TfExampleDecoder(include_mask=True).decode, parser.parse_fn(is_training=True)
    serialized = tf.data.TFRecordDataset(records.paths)
    ways = {
        "coco floor": serialized.map(decoded_photo),
        "coco": data.training_dataset(records, np.arange(len(records)), args),
        "coco parser": serialized.map(lambda record: parse(decode(record))).batch(args.batch_size),
    }
    return {name: (PHOTOS, partial(consumed, dataset)) for name, dataset in ways.items()}


def decoded_photo(record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Image (height x width x 3, uint8), boxes (n x 4, parts of the sides), masks (n x height x width, uint8)."""
    example = tf.io.parse_single_example(record, FEATURES)
    boxes = tf.stack([tf.sparse.to_dense(example[side]) for side in BOX], axis=1)
    encoded = tf.sparse.to_dense(example["image/object/mask"], default_value="")
    masks = tf.map_fn(lambda png: tf.io.decode_png(png, 1)[..., 0], encoded, fn_output_signature=tf.uint8)
    return tf.io.decode_jpeg(example["image/encoded"], 3), boxes, masks


def write_photos(directory: Path) -> int:
    """Draw as many bytes as COCO's photos have, 150,000 or so each; returns how many all have."""
    random = np.random.default_rng(0)
    size = 0
    directory.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(directory / "photos.tfrecord")) as writer:
        for number in range(PHOTOS):
            record, encoded = drawn_photo(random, number)
            writer.write(record)
            size += encoded
    return size


def drawn_photo(random: np.random.Generator, number: int) -> tuple[bytes, int]:
    """A record, as Model Garden reads it, of ellipses on noise at several scales, as photos have; its JPEG's bytes."""
    layers = (
        np.kron(random.normal(0, 160 / side, (HEIGHT // side, WIDTH // side, 3)), np.ones((side, side, 1))) * side**0.5
        for side in (1, 4, 16, 80)
    )
    image = np.clip(128 + sum(layers) / 12, 0, 255).astype(np.uint8)
    masks, boxes = zip(*(ellipse(random) for _ in range(OBJECTS)), strict=True)
    encoded = tf.io.encode_jpeg(image, quality=92).numpy()
    pngs = [tf.io.encode_png(mask[..., np.newaxis].astype(np.uint8)).numpy() for mask in masks]
    features = {
        "image/encoded": blobs([encoded]),
        "image/source_id": blobs([str(number).encode()]),
        "image/height": integers([HEIGHT]),
        "image/width": integers([WIDTH]),
        "image/object/mask": blobs(pngs),
        "image/object/class/label": integers([1] * OBJECTS),
        "image/object/is_crowd": integers([0] * OBJECTS),
        "image/object/area": floats([mask.sum() for mask in masks]),
        **{side: floats([box[place] for box in boxes]) for place, side in enumerate(BOX)},
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString(), len(encoded)


def blobs(values: Sequence[bytes]) -> tf.train.Feature:
    """A feature of byte strings."""
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def integers(values: Sequence[int]) -> tf.train.Feature:
    """A feature of integers."""
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def floats(values: Sequence[float]) -> tf.train.Feature:
    """A feature of numbers."""
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def ellipse(random: np.random.Generator) -> tuple[np.ndarray, tuple[float, float, float, float]]:
    """A mask (height x width, bool) and its box (ymin, xmin, ymax, xmax, parts of the sides)."""
    half = random.uniform(0.03, 0.25, 2)
    centre = random.uniform(half, 1 - half)
    y, x = np.mgrid[:HEIGHT, :WIDTH] / np.array([HEIGHT, WIDTH]).reshape(2, 1, 1)
    mask = ((y - centre[0]) / half[0]) ** 2 + ((x - centre[1]) / half[1]) ** 2 <= 1
    return mask, (*(centre - half), *(centre + half))


if __name__ == "__main__":
    main()
