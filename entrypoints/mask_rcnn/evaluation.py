"""Judge a model as COCO does: every rank detects in its images, and rank 0 compares what all found."""

import contextlib
import io
import json
import zlib
from pathlib import Path

import numpy as np
import tensorflow as tf
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from data import validation_batches
from results import coco_results

# COCO's first six numbers, by the names under which public Mask R-CNN trainings report them.
AVERAGE_PRECISIONS = ("IoU=0.5:0.95", "IoU=0.5", "IoU=0.75", "small", "medium", "large")
KINDS = ("bbox", "segm")


def evaluate(dist, share, detector, records, args):
    """What all ranks found, as COCO's results, and COCO's metrics: on rank 0, and nothing on the others."""
    mine = {"ids": [], "results": []}
    for images, geometry, ids in validation_batches(records, share, args):
        found = {name: value.numpy() for name, value in detector.detect(images, geometry).items()}
        for place, image_id in enumerate(ids.numpy()):
            height, width = (int(side) for side in geometry[place, 0])
            of_image = {name: value[place] for name, value in found.items()}
            mine["ids"].append(int(image_id))
            mine["results"] += coco_results(image_id, height, width, of_image)
    parts = gather(dist, share, mine)
    if share.rank:
        return [], {}
    ids = [image_id for part in parts for image_id in part["ids"]]
    if len(set(ids)) != len(ids):
        raise ValueError(f"{len(ids) - len(set(ids))} images of {args.validation} are there twice")
    results = [result for part in parts for result in part["results"]]
    return results, coco_metrics(Path(args.validation, "instances.json"), ids, results)


def gather(dist, share, mine):
    """Each rank's value, in the order of ranks, on every rank; by broadcasts, as SMDDP has no call to gather."""
    packed = zlib.compress(json.dumps(mine).encode())
    own = np.frombuffer(packed + bytes(-len(packed) % 4), np.int32)
    found = []
    for root in range(share.size):
        length = int(dist.broadcast(tf.constant(len(own)), root_rank=root))
        content = dist.broadcast(tf.constant(own if root == share.rank else np.zeros(length, np.int32)), root_rank=root)
        unpacked = zlib.decompressobj().decompress(content.numpy().tobytes())  # which leaves out the padding
        found.append(json.loads(unpacked))
    return found


def coco_metrics(instances, ids, results):
    """The mean average precisions of boxes and masks over the images that were looked at."""
    with contextlib.redirect_stdout(io.StringIO()):  # its own table, once for each kind
        truth = COCO(str(instances))
        found = truth.loadRes(results) if results else None
        precisions = {kind: _precisions(truth, found, ids, kind) for kind in KINDS}
    named = {
        f"mAP({kind})/{name}": value
        for kind, values in precisions.items()
        for name, value in zip(AVERAGE_PRECISIONS, values)
    }
    return {**{f"{kind}_AP": values[0] for kind, values in precisions.items()}, **named}


def _precisions(truth, found, ids, kind):
    if found is None:
        return [0.0] * len(AVERAGE_PRECISIONS)
    judged = COCOeval(truth, found, kind)
    judged.params.imgIds = ids
    judged.evaluate()
    judged.accumulate()
    judged.summarize()
    return [max(0.0, float(value)) for value in judged.stats]  # -1 stands for no object of that size
