"""Write an image and its objects as Model Garden reads them, without TensorFlow, which the host does not have.

The features are those of Model Garden's `TfExampleDecoder`; a mask is a PNG of the whole image, 1 where the object is.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tfrecords import field, record, varint

BYTES, FLOATS, INTEGERS = 1, 2, 3  # field numbers in tf.train.Feature


@dataclass(frozen=True)
class Object:
    """One annotation; the box is COCO's (x, y, width, height) and the area in pixels, the mask height x width."""

    category: int
    box: tuple[float, float, float, float]
    area: float
    is_crowd: bool
    mask: np.ndarray


def coco_record(encoded: bytes, *, image_id: int, height: int, width: int, objects: Sequence[Object]) -> bytes:
    """A framed tf.train.Example; boxes are written in parts of the image's sides, within it."""
    left, top, wide, high = np.array([each.box for each in objects], np.float64).reshape(-1, 4).T
    sides = {"xmin": left / width, "xmax": (left + wide) / width, "ymin": top / height, "ymax": (top + high) / height}
    features = {
        "image/encoded": blobs([encoded]),
        "image/height": integers([height]),
        "image/width": integers([width]),
        "image/source_id": blobs([str(image_id).encode()]),
        **{f"image/object/bbox/{side}": floats(np.clip(values, 0, 1)) for side, values in sides.items()},
        "image/object/class/label": integers([each.category for each in objects]),
        "image/object/area": floats([each.area for each in objects]),
        "image/object/is_crowd": integers([each.is_crowd for each in objects]),
        "image/object/mask": blobs([png(each.mask[..., np.newaxis].astype(np.uint8)) for each in objects]),
    }
    entries = (field(1, field(1, name.encode()) + field(2, feature)) for name, feature in features.items())
    return record(field(1, b"".join(entries)))


def blobs(values: Sequence[bytes]) -> bytes:
    """A feature of byte strings."""
    return field(BYTES, b"".join(field(1, value) for value in values))


def floats(values: Sequence[float] | np.ndarray) -> bytes:
    """A feature of 32-bit floats, packed."""
    return field(FLOATS, field(1, struct.pack(f"<{len(values)}f", *values)))


def integers(values: Sequence[int]) -> bytes:
    """A feature of integers that are not negative, packed."""
    return field(INTEGERS, field(1, b"".join(varint(int(value)) for value in values)))


def png(pixels: np.ndarray) -> bytes:
    """Pixels (height x width x 1 or 3, uint8) as a PNG: grey or RGB, no row filtered."""
    height, width, channels = pixels.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, width * channels)], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, {1: 0, 3: 2}[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )
