"""What Mask R-CNN takes of decoded images and their objects, by Model Garden's parts.

It runs where the model does. A GPU hardly feels it, while a CPU would take six times as long as for decoding, most of
it for the anchors; and an image goes to the GPU in bytes, at its own size.
"""

import tensorflow as tf
from official.vision.ops import anchor, box_ops, preprocess_ops

MASK_SIDE = 112  # pixels of an object's mask, its box stretched to a square: Model Garden's own


def batch_spec(args):
    """A batch as data.py makes it: images padded to the largest, and objects with -1 to the most."""
    size = args.batch_size
    return {
        "images": tf.TensorSpec((size, None, None, 3), tf.uint8),
        "sizes": tf.TensorSpec((size, 2), tf.int32),
        "boxes": tf.TensorSpec((size, None, 4)),  # y and x of two corners, in parts of the image's sides
        "classes": tf.TensorSpec((size, None), tf.int64),
        "masks": tf.TensorSpec((size, None, MASK_SIDE, MASK_SIDE)),
    }


def model_inputs(batch, args):
    """Images (batch x side x side x 3), and the labels that Model Garden's model and losses know by these names."""
    side = args.image_size
    anchors = anchor.build_anchor_generator(
        min_level=args.min_level,
        max_level=args.max_level,
        num_scales=1,
        aspect_ratios=args.aspect_ratios,
        anchor_size=args.anchor_size,
    )((side, side))
    labeler = anchor.RpnAnchorLabeler(rpn_batch_size_per_im=args.anchors_per_image)

    # Drawn here, as the images of a batch are made side by side, in any order.
    mirrored = tf.random.uniform((args.batch_size,)) < (0.5 if args.flip else 0.0)

    def of_image(given):
        image, size, boxes, classes, mirror = given
        image = image[: size[0], : size[1]]
        image = tf.cond(mirror, lambda: preprocess_ops.horizontal_flip_image(image), lambda: image)
        boxes = tf.cond(mirror, lambda: preprocess_ops.horizontal_flip_boxes(boxes), lambda: boxes)
        image, geometry = fit(image, args)
        here = classes >= 0
        boxes = box_ops.denormalize_boxes(boxes[here], size)
        boxes = preprocess_ops.resize_and_crop_boxes(boxes, geometry[2], geometry[1], geometry[3])
        scores, offsets = labeler.label_anchors(anchors, boxes, tf.cast(classes[here][:, tf.newaxis], tf.float32))
        return image, geometry, preprocess_ops.clip_or_pad_to_fixed_size(boxes, args.max_objects, -1), scores, offsets

    per_location = len(args.aspect_ratios)
    images, geometry, boxes, scores, offsets = tf.map_fn(
        of_image,
        (batch["images"], batch["sizes"], batch["boxes"], batch["classes"], mirrored),
        fn_output_signature=(
            *fitted_spec(args),
            tf.TensorSpec((args.max_objects, 4)),
            {level: tf.TensorSpec((*boxes.shape[:2], per_location), tf.int32) for level, boxes in anchors.items()},
            {level: tf.TensorSpec((*boxes.shape[:2], 4 * per_location)) for level, boxes in anchors.items()},
        ),
    )
    masks = tf.where(mirrored[:, tf.newaxis, tf.newaxis, tf.newaxis], batch["masks"][..., ::-1], batch["masks"])
    return images, {
        "image_info": geometry,
        "anchor_boxes": {
            level: tf.tile(boxes[tf.newaxis], (args.batch_size, 1, 1, 1)) for level, boxes in anchors.items()
        },
        "rpn_score_targets": scores,
        "rpn_box_targets": offsets,
        "gt_boxes": boxes,
        "gt_classes": _padded(batch["classes"], args.max_objects),
        "gt_masks": _padded(masks, args.max_objects),
    }


def fit(image, args):
    """An image of any size as the model takes it, and its geometry: sizes before and after, scale, offset (4 x 2)."""
    side = [args.image_size, args.image_size]
    image, geometry = preprocess_ops.resize_and_crop_image(
        preprocess_ops.normalize_image(image), side, padded_size=side
    )
    return tf.ensure_shape(image, (*side, 3)), geometry


def fitted_spec(args):
    """What `fit` makes of an image."""
    return tf.TensorSpec((args.image_size, args.image_size, 3)), tf.TensorSpec((4, 2))


def _padded(values, length):
    """To so many objects for every image, with -1."""
    missing = length - tf.shape(values)[1]
    values = tf.pad(values, [(0, 0), (0, missing), *[(0, 0)] * (values.shape.rank - 2)], constant_values=-1)
    return tf.ensure_shape(values, (values.shape[0], length, *values.shape[2:]))
