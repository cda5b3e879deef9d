"""Judge a model as COCO does: every rank detects in its images, and rank 0 compares what all found."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from data import validation_batches
from packing import pack, unpack
from precision import coco_metrics
from results import coco_results


def evaluate(dist, share, detector, records, args):
    """What all ranks found, as COCO's results, and COCO's metrics: on rank 0, and nothing on the others."""
    mine = {"ids": [], "results": []}
    for images, sizes, ids in validation_batches(records, share, args):
        found = {name: value.numpy() for name, value in detector.detect(images, sizes).items()}
        for place, image_id in enumerate(ids.numpy()):
            height, width = (int(side) for side in sizes[place])
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
    own, found = pack(mine), []
    for root in range(share.size):
        length = int(dist.broadcast(tf.constant(len(own)), root_rank=root))
        content = own if root == share.rank else np.zeros(length, np.int32)
        found.append(unpack(dist.broadcast(tf.constant(content), root_rank=root).numpy()))
    return found
