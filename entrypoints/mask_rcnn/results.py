"""Detections as COCO's results: one object a line, boxes and masks in the pixels of the image as it came."""

import numpy as np
from official.vision.ops.mask_ops import paste_instance_masks
from pycocotools import mask as runs


def coco_results(image_id, height, width, found):
    """The detections of one image (arrays, without the batch's axis) as a list of COCO's result objects."""
    number = int(found["num_detections"])
    top, left, bottom, right = found["detection_boxes"][:number].T
    boxes = np.stack([left, top, right - left, bottom - top], axis=1)
    masks = paste_instance_masks(found["detection_masks"][:number], boxes, height, width) if number else []
    return [
        {
            "image_id": int(image_id),
            "category_id": int(category),
            "bbox": [round(float(side), 3) for side in box],
            "score": round(float(score), 6),
            "segmentation": run_lengths(mask),
        }
        for category, box, score, mask in zip(
            found["detection_classes"][:number], boxes, found["detection_scores"][:number], masks
        )
    ]


def run_lengths(mask):
    """A mask as COCO's compressed runs, in text."""
    encoded = runs.encode(np.asfortranarray(mask, np.uint8))
    return {"size": [int(side) for side in encoded["size"]], "counts": encoded["counts"].decode()}
