"""Batches of images and of what Mask R-CNN is to find in them, by Model Garden's decoder and parser."""

import numpy as np
import tensorflow as tf
from official.vision.dataloaders.maskrcnn_input import Parser
from official.vision.dataloaders.tf_example_decoder import TfExampleDecoder
from official.vision.ops import preprocess_ops

from ranks import average
from records import fault, find_records, without
from sharing import epoch_order, validation_order


def training_batches(records, share, args, *, first_step, steps):
    """Batches of (image, labels, id) of a rank: those of the steps from first_step up to `steps`."""
    per_epoch = len(records) // (args.batch_size * share.size)
    epochs = range(first_step // per_epoch, -(-steps // per_epoch))
    order = {"batch_size": args.batch_size, "seed": args.seed}
    places = [epoch_order(len(records), share, **order, epoch=epoch).ravel() for epoch in epochs]
    places = np.concatenate([np.empty(0, np.int64), *places])
    places = places[(first_step % per_epoch if epochs else 0) * args.batch_size :]
    parser = Parser(
        output_size=[args.image_size, args.image_size],
        min_level=args.min_level,
        max_level=args.max_level,
        num_scales=1,
        aspect_ratios=args.aspect_ratios,
        anchor_size=args.anchor_size,
        rpn_batch_size_per_im=args.anchors_per_image,
        aug_rand_hflip=args.flip,
        max_num_instances=args.max_objects,
        include_mask=True,
    )
    parse = parser.parse_fn(is_training=True)

    def example(decoded):
        known = tf.reduce_all((decoded["groundtruth_classes"] >= 1) & (decoded["groundtruth_classes"] < args.classes))
        with tf.control_dependencies([tf.debugging.Assert(known, [decoded["groundtruth_classes"]])]):
            image_id = tf.strings.to_number(decoded["source_id"], tf.int64)
        image, labels = parse(decoded)
        return image, labels, image_id

    decoded = _decoded(records, places, include_mask=True)
    dataset = decoded.map(example, tf.data.AUTOTUNE).batch(args.batch_size, drop_remainder=True)
    yield from _naming_faults(dataset, records, places.reshape(-1, args.batch_size), args.classes)


def validation_batches(records, share, args):
    """Batches of (image, geometry, id): the ranks together see every image once, as it is."""

    def example(decoded):
        image, geometry = fit(decoded["image"], args)
        return image, geometry, tf.strings.to_number(decoded["source_id"], tf.int64)

    places = validation_order(len(records), share)
    dataset = _decoded(records, places, include_mask=False).map(example, tf.data.AUTOTUNE).batch(args.eval_batch_size)
    batches = np.array_split(places, range(args.eval_batch_size, len(places), args.eval_batch_size))
    yield from _naming_faults(dataset, records, batches, args.classes)


def fit(image, args):
    """An image of any size as the model takes it, and its geometry: sizes before and after, scale, offset (4 x 2)."""
    side = [args.image_size, args.image_size]
    image, geometry = preprocess_ops.resize_and_crop_image(
        preprocess_ops.normalize_image(image), side, padded_size=side
    )
    return tf.ensure_shape(image, (*side, 3)), geometry


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
    made = iter(dataset.prefetch(2))
    for places in batches:
        try:
            batch = next(made)
        except tf.errors.OpError as error:
            why = next(filter(None, (fault(records, place, classes) for place in places)), error.message)
            raise ValueError(f"{why}. Make the file anew, or train without it: skip-corrupt=true") from None
        yield batch


def _decoded(records, places, *, include_mask):
    """What Model Garden's decoder makes of the records at those places."""
    decode = TfExampleDecoder(include_mask=include_mask).decode

    def read(place):
        record = tf.numpy_function(records.read, [place], tf.string)
        return decode(tf.ensure_shape(record, ()))

    dataset = tf.data.Dataset.from_tensor_slices(places)
    return dataset.map(read, tf.data.AUTOTUNE, deterministic=True)
