"""Mask R-CNN's losses as Model Garden has them, for a batch that is shared by ranks; and how good the heads are."""

import tensorflow as tf
from official.vision.losses import maskrcnn_losses

LOSSES = ("rpn_score_loss", "rpn_box_loss", "label_loss", "box_loss", "mask_loss")
# The names under which public Mask R-CNN trainings have reported these for years, in tensorpack's order.
HEADS = (
    "fastrcnn_losses/box_loss",
    "fastrcnn_losses/label_loss",
    "fastrcnn_losses/label_metrics/accuracy",
    "fastrcnn_losses/label_metrics/false_negative",
    "fastrcnn_losses/label_metrics/fg_accuracy",
    "fastrcnn_losses/num_fg_label",
    "maskrcnn_loss/accuracy",
    "maskrcnn_loss/fg_pixel_ratio",
    "maskrcnn_loss/maskrcnn_loss",
    "maskrcnn_loss/pos_accuracy",
)


def losses(outputs, labels, anchors_per_image, mean):
    """The five losses, in the order of LOSSES, such that their mean over the ranks is that of one rank with all images.

    Four divide a sum by a count of their own, of matched anchors, boxes or pixels, which differs from rank to rank:
    `mean` (a tensor over the ranks) puts the mean of all counts in the place of a rank's own.
    """
    levels = sorted(outputs["rpn_boxes"])
    counts = tf.stack(
        [
            *(_matched(labels["rpn_box_targets"][level]) for level in levels),
            _count(outputs["class_targets"] > 0) * 4.0,
            _count(outputs["mask_class_targets"] > 0) * _pixels(outputs["mask_outputs"]),
        ]
    )
    *of_levels, of_boxes, of_masks = tf.unstack((counts + 0.01) / (mean(counts) + 0.01))  # 0.01: Model Garden's own
    rpn_box = maskrcnn_losses.RpnBoxLoss(1 / 9)
    targets = labels["rpn_box_targets"]
    boxes, classes = outputs["box_outputs"], outputs["class_targets"]
    found = [
        maskrcnn_losses.RpnScoreLoss(anchors_per_image)(outputs["rpn_scores"], labels["rpn_score_targets"]),
        tf.add_n(
            [
                share * rpn_box({level: outputs["rpn_boxes"][level]}, {level: targets[level]})
                for level, share in zip(levels, of_levels)
            ]
        ),
        maskrcnn_losses.FastrcnnClassLoss()(outputs["class_outputs"], classes),
        of_boxes * maskrcnn_losses.FastrcnnBoxLoss(1.0)(boxes, classes, outputs["box_targets"]),
        of_masks
        * maskrcnn_losses.MaskrcnnLoss()(
            outputs["mask_outputs"], outputs["mask_targets"], outputs["mask_class_targets"]
        ),
    ]
    return tf.stack([tf.reduce_mean(loss) for loss in found])


def heads(outputs, found):
    """What HEADS name, of one rank; `found` are its losses."""
    labels = tf.cast(outputs["class_targets"], tf.int64)
    guesses = tf.argmax(outputs["class_outputs"], axis=-1)
    object_here = labels > 0
    masks = outputs["mask_class_targets"] > 0
    target = tf.boolean_mask(outputs["mask_targets"], masks) > 0.5
    right = tf.equal(tf.boolean_mask(outputs["mask_outputs"], masks) > 0, target)
    return tf.stack(
        [
            found[LOSSES.index("box_loss")],
            found[LOSSES.index("label_loss")],
            _part(tf.equal(guesses, labels), tf.ones_like(object_here)),
            _part(tf.equal(guesses, 0), object_here),
            _part(tf.equal(guesses, labels), object_here),
            _count(object_here) / tf.cast(tf.shape(labels)[0], tf.float32),
            _part(right, tf.ones_like(right)),
            _part(target, tf.ones_like(target)),
            found[LOSSES.index("mask_loss")],
            _part(right, target),
        ]
    )


def _matched(targets):
    """Coordinates of anchors that have an object, as the loss counts them."""
    anchors = tf.reshape(targets, (-1, 4))
    return 4.0 * _count(tf.reduce_any(tf.abs(anchors) > 1e-6, axis=-1))


def _pixels(masks):
    return float(masks.shape[2] * masks.shape[3])


def _count(truths):
    return tf.reduce_sum(tf.cast(truths, tf.float32))


def _part(truths, among):
    """The part of those that are true; 0 of none."""
    return tf.math.divide_no_nan(_count(truths & among), _count(among))
