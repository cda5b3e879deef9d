"""What the scripts of Mask R-CNN make of a record is what Model Garden's own parser makes of it."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

os.environ["MPLCONFIGDIR"] = "/tmp/matplotlib"  # not at home, where test_file_system.py looks what the build has left

from official.vision.dataloaders.maskrcnn_input import Parser
from official.vision.dataloaders.tf_example_decoder import TfExampleDecoder

sys.path.append("/entrypoints/mask_rcnn")

from arguments import parse_args
from data import training_dataset
from inputs import batch_spec, model_inputs
from records import find_records

SIDE, IMAGES = 256, 6
ALL_ANCHORS = 100_000  # so that none is left to chance


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of several sizes: one is grey, one has no object, one a crowd, one a line for a box."""
    folder = tmp_path_factory.mktemp("channel")
    random = np.random.default_rng(0)
    with tf.io.TFRecordWriter(str(folder / "photos.tfrecord")) as writer:
        for number, (height, width) in enumerate(random.integers(40, 400, (IMAGES, 2)).tolist()):
            writer.write(photo(random, number, height, width))
    return folder


def photo(random: np.random.Generator, number: int, height: int, width: int) -> bytes:
    """A record of COCO's features, as Model Garden reads them."""
    objects = 0 if number == 2 else int(random.integers(1, 6))
    corners = random.uniform(0, 0.6, (objects, 2))
    boxes = np.concatenate([corners, corners + random.uniform(0.05, 0.4, (objects, 2))], axis=1)
    if number == 4:
        boxes[0, 2] = boxes[0, 0]
    masks = (random.random((objects, height, width, 1)) < 0.5).astype(np.uint8)
    pixels = random.integers(0, 256, (height, width, 1 if number == 1 else 3)).astype(np.uint8)
    sides = {
        f"image/object/bbox/{name}": floats(boxes[:, at]) for at, name in enumerate(("ymin", "xmin", "ymax", "xmax"))
    }
    features = {
        "image/encoded": blobs([tf.io.encode_jpeg(pixels).numpy()]),
        "image/source_id": blobs([str(number).encode()]),
        "image/height": integers([height]),
        "image/width": integers([width]),
        "image/object/mask": blobs([tf.io.encode_png(mask).numpy() for mask in masks]),
        "image/object/class/label": integers(random.integers(1, 4, objects)),
        "image/object/is_crowd": integers([number == 3 and not place for place in range(objects)]),
        "image/object/area": floats(masks.sum(axis=(1, 2, 3))),
        **sides,
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def blobs(values: list[bytes]) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def integers(values: object) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=map(int, values)))


def floats(values: np.ndarray) -> tf.train.Feature:
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_scripts_give_a_model_what_model_gardens_parser_would(
    channel: Path, monkeypatch: pytest.MonkeyPatch, *, mirrored: bool
) -> None:
    # Both mirror where a number that they draw is less than a half.
    monkeypatch.setattr(tf.random, "uniform", lambda shape, *_, **__: tf.zeros(shape))
    options = {"image-size": SIDE, "classes": 4, "anchors-per-image": ALL_ANCHORS, "batch-size": 3, "flip": mirrored}
    monkeypatch.setattr(
        sys, "argv", ["train", *(word for name in options for word in (f"--{name}", str(options[name])))]
    )
    args = parse_args("as a job would")
    records = find_records(channel)

    step = tf.function(lambda batch: model_inputs(batch, args), input_signature=[batch_spec(args)])
    ours = [(*step(batch), ids) for batch, ids in training_dataset(records, np.arange(IMAGES), args)]
    parse = Parser(
        output_size=[SIDE, SIDE],
        min_level=args.min_level,
        max_level=args.max_level,
        num_scales=1,
        aspect_ratios=args.aspect_ratios,
        anchor_size=args.anchor_size,
        rpn_batch_size_per_im=ALL_ANCHORS,
        aug_rand_hflip=mirrored,
        max_num_instances=args.max_objects,
        include_mask=True,
    ).parse_fn(is_training=True)
    decode = TfExampleDecoder(include_mask=True).decode
    serialized = tf.data.Dataset.from_tensor_slices([records.read(place) for place in range(IMAGES)])
    theirs = serialized.map(lambda record: parse(decode(record))).batch(3)

    seen = []
    for (our_images, our_labels, ids), (images, labels) in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(our_images, images, atol=1e-5)
        for name, mine in our_labels.items():
            tf.nest.map_structure(
                lambda one, other: np.testing.assert_allclose(one, other, atol=1e-4), mine, labels[name]
            )
        seen += ids.numpy().tolist()
    assert seen == list(range(IMAGES))
    assert {name for name in labels if name not in our_labels} == {"gt_outer_boxes"}  # which no model of ours asks for
