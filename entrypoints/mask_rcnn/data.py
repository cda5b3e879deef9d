"""Batches of images and of what Mask R-CNN is to find in them: what a CPU does for them, by Model Garden's decoder.

That is to decode, and little more. The rest is in inputs.py.
"""

import numpy as np
import tensorflow as tf
from official.vision.dataloaders.tf_example_decoder import TfExampleDecoder

from inputs import MASK_SIDE, batch_spec
from machine import untuned
from ranks import average
from records import fault, find_records, without
from sharing import epoch_order, validation_order

decode = TfExampleDecoder().decode

# Beside Model Garden's decoder, which would decode all of a mask and keep it in floats.
MASKS = {"image/object/mask": tf.io.RaggedFeature(tf.string)}
PADDING = {"images": 0, "sizes": 0, "boxes": -1, "classes": -1, "masks": -1}


def training_batches(records, share, args, *, first_step, steps):
    """Batches, as inputs.py takes them, and the ids of their images: those of a rank's steps from first_step on."""
    per_epoch = len(records) // (args.batch_size * share.size)
    epochs = range(first_step // per_epoch, -(-steps // per_epoch))
    order = {"batch_size": args.batch_size, "seed": args.seed}
    places = [epoch_order(len(records), share, **order, epoch=epoch).ravel() for epoch in epochs]
    places = np.concatenate([np.empty(0, np.int64), *places])
    places = places[(first_step % per_epoch if epochs else 0) * args.batch_size :]
    dataset = training_dataset(records, places, args)
    yield from _naming_faults(dataset, records, places.reshape(-1, args.batch_size), args.classes)


def training_dataset(records, places, args):
    """The records at those places, in that order, in batches of equal size."""

    def example(record):
        decoded = decode(record)
        classes = decoded["groundtruth_classes"]
        known = tf.reduce_all((classes >= 1) & (classes < args.classes))
        with tf.control_dependencies([tf.debugging.Assert(known, [classes])]):
            image_id = tf.strings.to_number(decoded["source_id"], tf.int64)
        # As Model Garden's own parser: a crowd is no object to learn from, and neither is a box without any area.
        there = tf.logical_not(decoded["groundtruth_is_crowd"]) & _has_area(decoded["groundtruth_boxes"])
        there = tf.where(there)[: args.max_objects, 0]
        masks = tf.io.parse_single_example(record, MASKS)["image/object/mask"]
        boxes, classes, masks = (tf.gather(each, there) for each in (decoded["groundtruth_boxes"], classes, masks))
        masks = tf.map_fn(_mask_in_box, (masks, boxes), fn_output_signature=tf.TensorSpec((MASK_SIDE, MASK_SIDE)))
        image = decoded["image"]
        return {
            "images": image,
            "sizes": tf.shape(image)[:2],
            "boxes": boxes,
            "classes": classes,
            "masks": masks,
        }, image_id

    shapes = tf.nest.map_structure(lambda spec: spec.shape[1:], batch_spec(args))
    dataset = _read(records, places).map(example, tf.data.AUTOTUNE)
    padding = {name: tf.constant(PADDING[name], spec.dtype) for name, spec in batch_spec(args).items()}
    return dataset.padded_batch(args.batch_size, (shapes, ()), (padding, tf.constant(0, tf.int64)), drop_remainder=True)


def validation_batches(records, share, args):
    """Batches of (images, sizes, ids): the ranks together see every image once, as it is."""

    def example(record):
        decoded = decode(record)
        image = decoded["image"]
        return image, tf.shape(image)[:2], tf.strings.to_number(decoded["source_id"], tf.int64)

    places = validation_order(len(records), share)
    dataset = _read(records, places).map(example, tf.data.AUTOTUNE)
    batches = np.array_split(places, range(args.eval_batch_size, len(places), args.eval_batch_size))
    yield from _naming_faults(dataset.padded_batch(args.eval_batch_size), records, batches, args.classes)


def load(channel, dist, share, args):
    """The channel's records; with skip-corrupt each rank looks through its part, and all leave out what any found."""
    records = find_records(channel, skip_corrupt=args.skip_corrupt)
    if not args.skip_corrupt:
        return records
    bad = np.zeros(len(records), np.float32)
    for place in range(share.rank, len(records), share.size):
        why = fault(records, place, args.classes)
        if why:
            bad[place] = 1
            print(f"skipped: {why}\n", end="", flush=True)
    bad = np.flatnonzero(average(dist, tf.constant(bad)).numpy())
    if share.rank == 0 and len(bad):
        print(f"skipped {len(bad)} of {len(records)} images of {channel}\n", end="", flush=True)
    return without(records, bad)


def _naming_faults(dataset, records, batches, classes):
    """The batches; where one can't be made, an error that says which record is at fault, and why."""
    made = iter(untuned(dataset.prefetch(2)))
    for places in batches:
        try:
            batch = next(made)
        except tf.errors.OpError as error:
            why = next(filter(None, (fault(records, place, classes) for place in places)), error.message)
            raise ValueError(f"{why}. Make the file anew, or train without it: skip-corrupt=true") from None
        yield batch


def _read(records, places):
    """The serialised examples at those places."""

    def read(place):
        return tf.ensure_shape(tf.numpy_function(records.read, [place], tf.string), ())

    return tf.data.Dataset.from_tensor_slices(places).map(read, tf.data.AUTOTUNE)


def _has_area(boxes):
    return tf.reduce_all(boxes[:, 2:] > boxes[:, :2], axis=1)


def _mask_in_box(given):
    """The part of an encoded mask that is in its box, as a square; the box is y and x of two corners."""
    encoded, box = given
    mask = tf.io.decode_png(encoded, 1)[tf.newaxis]
    return tf.image.crop_and_resize(mask, box[tf.newaxis], [0], (MASK_SIDE, MASK_SIDE))[0, ..., 0]
