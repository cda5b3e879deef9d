"""Read a data set in COCO's form: its annotations, and the images they speak of."""

from __future__ import annotations

import json
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as polygons

from examples import Object, coco_record, png
from shapes import CLASSES, SIDE, draw

Instances = dict[str, Any]
"""What an instances_*.json says: images, annotations, categories."""


@dataclass(frozen=True)
class Split:
    """The instances of a split, and a way to its images, from name to bytes, that each process opens for itself."""

    instances: Instances
    open_images: Callable[[], Callable[[str], bytes]]

    @cached_property
    def annotations(self) -> Mapping[int, list[Mapping[str, Any]]]:
        """Those of each image, by its id; COCO has a few boxes without any width or height, which are left out."""
        found: defaultdict[int, list[Mapping[str, Any]]] = defaultdict(list)
        for each in self.instances["annotations"]:
            if min(each["bbox"][2:]) > 0:
                found[each["image_id"]].append(each)
        return found

    def records(self, places: range) -> Iterator[bytes]:
        """The images at those places as framed examples, images without objects too."""
        image_of = self.open_images()
        for place in places:
            image = self.instances["images"][place]
            height, width = image["height"], image["width"]
            found = self.annotations.get(image["id"], [])
            objects = [as_object(each, height, width) for each in found]
            encoded = image_of(image["file_name"])
            yield coco_record(encoded, image_id=image["id"], height=height, width=width, objects=objects)


def as_object(annotation: Mapping[str, Any], height: int, width: int) -> Object:
    """An annotation with its mask drawn."""
    return Object(
        category=annotation["category_id"],
        box=tuple(annotation["bbox"]),
        area=annotation["area"],
        is_crowd=bool(annotation["iscrowd"]),
        mask=mask_of(annotation["segmentation"], height, width),
    )


def mask_of(segmentation: Any, height: int, width: int) -> np.ndarray:
    """A segmentation (polygons, or runs of a column-major mask) as an array of height x width."""
    if isinstance(segmentation, dict):
        lengths = np.asarray(segmentation["counts"])
        values = np.arange(len(lengths)) % 2
        return np.repeat(values, lengths).astype(bool).reshape(width, height).T
    return polygons.decode(polygons.merge(polygons.frPyObjects(segmentation, height, width))).astype(bool)


def zipped(annotations: Path, images: Path, name: str) -> Split:
    """A split of COCO-2017 as it is downloaded; nothing is unpacked to disk."""
    with zipfile.ZipFile(annotations) as opened:
        instances = json.loads(opened.read(f"annotations/instances_{name}.json"))
    return Split(instances, ZippedImages(images, name))


@dataclass(frozen=True)
class ZippedImages:
    """The images of a ZIP, which every process opens for itself."""

    archive: Path
    folder: str

    def __call__(self) -> Callable[[str], bytes]:
        """File name to its bytes."""
        opened = zipfile.ZipFile(self.archive)
        return lambda name: opened.read(f"{self.folder}/{name}")


def drawn(images: int, *, seed: int, first_id: int) -> Split:
    """So many images of drawn shapes."""
    random = np.random.default_rng(seed)
    pictures: dict[str, bytes] = {}
    instances: Instances = {
        "images": [],
        "annotations": [],
        "categories": [{"id": number, "name": name} for number, name in enumerate(CLASSES, 1)],
    }
    for image_id in range(first_id, first_id + images):
        pixels, shapes = draw(random)
        name = f"{image_id:012d}.png"
        pictures[name] = png(pixels)
        instances["images"].append({"id": image_id, "file_name": name, "height": SIDE, "width": SIDE})
        for category, mask in shapes:
            number = len(instances["annotations"]) + 1
            instances["annotations"].append(annotation(number, image_id, category, mask))
    return Split(instances, Pictures(pictures))


@dataclass(frozen=True)
class Pictures:
    """Images in memory."""

    encoded: Mapping[str, bytes]

    def __call__(self) -> Callable[[str], bytes]:
        """File name to its bytes."""
        return self.encoded.__getitem__


def annotation(number: int, image_id: int, category: int, mask: np.ndarray) -> dict[str, Any]:
    """A mask as COCO's annotation, its runs uncompressed as COCO has those of crowds."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    flat = np.concatenate([[False], mask.T.ravel(), [False]])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    return {
        "id": number,
        "image_id": image_id,
        "category_id": category,
        "bbox": [int(columns[0]), int(rows[0]), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1],
        "area": int(mask.sum()),
        "iscrowd": 0,
        "segmentation": {"size": list(mask.shape), "counts": runs(edges, mask.size)},
    }


def runs(edges: np.ndarray, size: int) -> list[int]:
    """The lengths of the runs between edges, the first of zeros."""
    return np.diff([0, *edges, size]).tolist()
