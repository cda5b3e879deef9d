"""COCO's numbers for what was found, by its own evaluation. Without TensorFlow, so that it is tested on the host."""

import contextlib
import io

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

# COCO's first six numbers, by the names under which public Mask R-CNN trainings report them.
AVERAGE_PRECISIONS = ("IoU=0.5:0.95", "IoU=0.5", "IoU=0.75", "small", "medium", "large")
KINDS = ("bbox", "segm")


def coco_metrics(instances, ids, results):
    """The mean average precisions of boxes and masks over the images looked at; -1 where COCO has no such object."""
    with contextlib.redirect_stdout(io.StringIO()):  # its own table, once for each kind
        truth = COCO(str(instances))
        precisions = {kind: _precisions(truth, results, ids, kind) for kind in KINDS}
    named = {
        f"mAP({kind})/{name}": value
        for kind, values in precisions.items()
        for name, value in zip(AVERAGE_PRECISIONS, values)
    }
    return {**{f"{kind}_AP": values[0] for kind, values in precisions.items()}, **named}


def _precisions(truth, results, ids, kind):
    if not results:
        return [0.0] * len(AVERAGE_PRECISIONS)
    # Given both, COCO takes the size of an object from its box.
    other = {"bbox": "segmentation", "segm": "bbox"}[kind]
    found = truth.loadRes([{name: value for name, value in each.items() if name != other} for each in results])
    judged = COCOeval(truth, found, kind)
    judged.params.imgIds = ids
    judged.evaluate()
    judged.accumulate()
    judged.summarize()
    return [float(value) for value in judged.stats[: len(AVERAGE_PRECISIONS)]]  # -1: no object of that size
