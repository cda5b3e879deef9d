"""Find and read single records of TFRecord files, so that any rank can take any image, in any order.

Of each record only its header is read to find it: 12 bytes of COCO's 160 kB.
"""

import json
import os
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.python.lib.io.tf_record import tf_record_random_reader  # the one reader by place, checksums included

HEADER, FOOTER = 12, 4  # bytes: length and its checksum; the checksum of what lies between


class Records(NamedTuple):
    """Where every record of a channel is; `place` in this module is an index into files and offsets."""

    paths: list
    files: np.ndarray
    offsets: np.ndarray

    def __len__(self):
        return len(self.offsets)

    def where(self, place):
        """In words, for people."""
        return f"the record at byte {self.offsets[place]} of {self.paths[self.files[place]]}"

    def read(self, place):
        """Its bytes, checksum verified; tf.errors.DataLossError where it is wrong."""
        # A reader for each record, as threads that share one read each other's place.
        record, _ = tf_record_random_reader(self.paths[self.files[place]]).read(int(self.offsets[place]))
        return record


def find_records(channel, *, skip_corrupt=False):
    """Every record of the channel's TFRecord files, in one order for all ranks; a cut end is an error or left out."""
    paths = sorted(str(path) for path in Path(channel).glob("*.tfrecord"))
    if not paths:
        raise ValueError(f"there is no .tfrecord file in the channel {channel}")
    with ThreadPoolExecutor(16) as pool:
        offsets, cut = zip(*pool.map(_offsets, paths))
    counts = [*map(len, offsets)]
    records = Records(paths, np.repeat(np.arange(len(paths)), counts), np.concatenate(offsets).astype(np.int64))
    promised = images_promised(channel)
    for fault_of_file in filter(None, cut):
        if not skip_corrupt:
            raise ValueError(f"{fault_of_file}. Make the file anew, or train without its end: skip-corrupt=true")
        print(f"skipped: {fault_of_file}\n", end="", flush=True)
    if promised not in (None, len(records)) and not skip_corrupt:
        raise ValueError(f"{channel} holds {len(records)} images, and its split.json says {promised}")
    if not len(records):
        raise ValueError(f"{channel} holds no image")
    return records


def images_promised(channel):
    """As many as split.json says; None where there is none."""
    split = Path(channel, "split.json")
    return json.loads(split.read_text())["images"] if split.exists() else None


def fault(records, place, classes):
    """Why a training can't use a record, in words; None if it can."""
    try:
        features = tf.train.Example.FromString(records.read(place)).features.feature
        tf.io.decode_image(features["image/encoded"].bytes_list.value[0])
        for mask in features["image/object/mask"].bytes_list.value:
            tf.io.decode_png(mask)
    except (tf.errors.OpError, IndexError, DecodeError) as error:
        return f"{records.where(place)} is corrupt: {getattr(error, 'message', error)}"
    labels = features["image/object/class/label"].int64_list.value
    wrong = [label for label in labels if not 1 <= label < classes]
    if wrong:
        return f"{records.where(place)} has an object of class {wrong[0]}: they go from 1 to {classes - 1}"
    return None


def without(records, places):
    """All but the records at those places."""
    kept = np.setdiff1d(np.arange(len(records)), places)
    return Records(records.paths, records.files[kept], records.offsets[kept])


def _offsets(path):
    """Where each whole record of a file begins, and what is wrong with its end, if anything is."""
    found, offset, size = [], 0, Path(path).stat().st_size
    with Path(path).open("rb") as file:
        while offset < size:
            header = os.pread(file.fileno(), HEADER, offset)
            begin, offset = offset, size + 1
            if len(header) == HEADER:
                offset = begin + HEADER + struct.unpack("<Q", header[:8])[0] + FOOTER
            if offset > size:
                return np.array(found, np.int64), f"{path} is cut short, or corrupt, after {len(found)} images"
            found.append(begin)
    return np.array(found, np.int64), None
