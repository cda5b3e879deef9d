"""prepare.py of Mask R-CNN: COCO's archives, or drawn shapes, as TFRecords that lack nothing."""

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tests.scripts import imported
from tests.unit.test_prepare_cifar10 import fields, read_records, varint

FOLDER = Path(__file__).parents[2] / "entrypoints" / "mask_rcnn"


@pytest.fixture
def prepare(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """prepare.py, to make 24 + 6 images in 4 + 2 files."""
    images = {"shapes": {"train": 24, "validation": 6}, "coco": {"train": 2, "validation": 2}}
    with imported(FOLDER, "prepare") as module:
        monkeypatch.setattr(module, "IMAGES", images)
        monkeypatch.setattr(module, "SHARDS", {name: {"train": 4, "validation": 2} for name in images})
        yield module


@pytest.fixture
def web(prepare: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """COCO's three archives as if they were fetched, of two images each."""
    made = small_coco(tmp_path)
    monkeypatch.setattr(prepare, "fetch", lambda archive, _: made / archive.url.rpartition("/")[2])
    return made


def test_the_sample_has_every_image_once_in_files_of_equal_size(prepare: ModuleType, tmp_path: Path) -> None:
    assert prepare.main([str(tmp_path / "coco"), "--sample"]) == 0

    manifest = json.loads((tmp_path / "coco" / "dataset.json").read_text())
    examples = [it for split in ("train", "validation") for it in read_split(tmp_path / "coco" / split)]
    assert [split["images"] for split in manifest["splits"].values()] == [24, 6]
    assert {file["images"] for file in manifest["splits"]["train"]["files"].values()} == {6}
    assert sorted(int(example["image/source_id"][0]) for example in examples) == list(range(1, 31))
    assert json.loads((tmp_path / "coco" / "train" / "split.json").read_text())["images"] == 24


def test_a_shapes_box_and_area_are_those_of_its_mask(prepare: ModuleType, tmp_path: Path) -> None:
    prepare.main([str(tmp_path / "coco"), "--sample"])

    examples = read_split(tmp_path / "coco" / "train")
    assert {label for example in examples for label in example["image/object/class/label"]} == {1, 2, 3}
    for example in examples:
        assert pixels_of(example["image/encoded"][0]).shape == (128, 128, 3)
        for number, content in enumerate(example["image/object/mask"]):
            mask = pixels_of(content)[..., 0]
            rows, columns = np.nonzero(mask)
            sides = [example[f"image/object/bbox/{side}"][number] * 128 for side in ("xmin", "ymin", "xmax", "ymax")]
            assert sides == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert example["image/object/area"][number] == mask.sum()


def test_the_instances_by_which_a_training_is_judged_have_the_same_masks(prepare: ModuleType, tmp_path: Path) -> None:
    prepare.main([str(tmp_path / "coco"), "--sample"])

    truth = json.loads((tmp_path / "coco" / "validation" / "instances.json").read_text())
    masks = {
        int(example["image/source_id"][0]): [pixels_of(content)[..., 0] for content in example["image/object/mask"]]
        for example in read_split(tmp_path / "coco" / "validation")
    }
    assert len(truth["annotations"]) == sum(map(len, masks.values())) > 6
    for annotation in truth["annotations"]:
        counts = annotation["segmentation"]["counts"]
        told = np.repeat(np.arange(len(counts)) % 2, counts).reshape(128, 128).T
        assert any(np.array_equal(told, mask) for mask in masks[annotation["image_id"]])


def test_the_same_sample_has_the_same_bytes(prepare: ModuleType, tmp_path: Path) -> None:
    prepare.main([str(tmp_path / "one"), "--sample"])
    prepare.main([str(tmp_path / "two"), "--sample"])

    assert (tmp_path / "one" / "dataset.json").read_text() == (tmp_path / "two" / "dataset.json").read_text()


@pytest.mark.usefixtures("web")
def test_cocos_polygons_and_crowds_become_masks(prepare: ModuleType, tmp_path: Path) -> None:
    assert prepare.main([str(tmp_path / "coco"), "--coco"]) == 0

    (first, second) = sorted(read_split(tmp_path / "coco" / "train"), key=lambda example: example["image/source_id"])
    polygon, crowd = (pixels_of(content)[..., 0] for content in first["image/object/mask"])
    assert (polygon[10:30, 20:60] == 1).all()
    assert polygon.sum() == 800
    assert crowd[:, :1].sum() == crowd.sum() == 50
    assert first["image/object/is_crowd"] == [0, 1]
    assert first["image/object/class/label"] == [18, 90]
    assert first["image/encoded"] == [b"jpeg of 1"]
    assert second["image/object/class/label"] == []


@pytest.mark.usefixtures("web")
def test_an_archive_that_lacks_images_is_not_used(
    prepare: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(prepare, "IMAGES", {"coco": {"train": 3, "validation": 2}})

    assert prepare.main([str(tmp_path / "coco"), "--coco"]) == 3

    assert "train has 2 images, and coco has 3" in capsys.readouterr().err
    assert not (tmp_path / "coco").exists()


@pytest.mark.usefixtures("web")
def test_a_complete_data_set_is_left_alone_and_only_coco_takes_the_place_of_the_sample(
    prepare: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = str(tmp_path / "coco")
    prepare.main([target, "--sample"])
    prepare.main([target, "--sample"])
    assert "is complete: shapes, 24 train + 6 validation images" in capsys.readouterr().out

    prepare.main([target, "--coco"])
    prepare.main([target, "--sample"])

    assert "is complete: coco, 2 train + 2 validation images" in capsys.readouterr().out
    assert json.loads((tmp_path / "coco" / "dataset.json").read_text())["name"] == "coco"


def test_a_directory_of_something_else_is_refused(
    prepare: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")

    assert prepare.main([str(tmp_path), "--sample"]) == 2

    assert "holds what this program did not make" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def small_coco(folder: Path) -> Path:
    """Two images of 100 x 50: one with a rectangle, a crowd at its left and a box of no width, one with nothing."""
    web = folder / "web"
    web.mkdir()
    annotations = [
        {**where(18, [20, 10, 40, 20], 800), "segmentation": [[20, 10, 60, 10, 60, 30, 20, 30]], "iscrowd": 0},
        {**where(90, [0, 0, 1, 50], 50), "segmentation": {"size": [50, 100], "counts": [0, 50, 4950]}, "iscrowd": 1},
        {**where(1, [5, 5, 0, 9], 0), "segmentation": [[5, 5, 5, 14, 5, 9]], "iscrowd": 0},
    ]
    images = [{"id": number, "file_name": f"{number:012d}.jpg", "height": 50, "width": 100} for number in (1, 2)]
    instances = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}
    with zipfile.ZipFile(web / "annotations_trainval2017.zip", "w") as archive:
        for split in ("train2017", "val2017"):
            archive.writestr(f"annotations/instances_{split}.json", json.dumps(instances))
    for split in ("train2017", "val2017"):
        with zipfile.ZipFile(web / f"{split}.zip", "w") as archive:
            for number in (1, 2):
                archive.writestr(f"{split}/{number:012d}.jpg", f"jpeg of {number}")
    return web


def where(category: int, box: list[int], area: int) -> dict[str, Any]:
    return {"id": category, "image_id": 1, "category_id": category, "bbox": box, "area": area}


def read_split(folder: Path) -> list[dict[str, list[Any]]]:
    records = (record for path in sorted(folder.glob("*.tfrecord")) for record in read_records(path.read_bytes()))
    return [read_example(record) for record in records]


def read_example(record: bytes) -> dict[str, list[Any]]:
    """The features of a tf.train.Example, read as any protobuf reader would."""
    features: dict[str, list[Any]] = {}
    for _, entry in fields(dict(fields(record))[1]):
        name, feature = dict(fields(entry)).values()
        ((kind, values),) = fields(feature)
        found = [value for _, value in fields(values)]
        if kind == 2:
            found = list(struct.unpack(f"<{len(found[0]) // 4}f", found[0]))
        elif kind == 3:
            found = list(varints(found[0]))
        features[name.decode()] = found
    return features


def varints(content: bytes) -> Iterator[int]:
    while content:
        value, content = varint(content)
        yield value


def pixels_of(content: bytes) -> np.ndarray:
    """A PNG whose rows are not filtered, every checksum verified."""
    stream = io.BytesIO(content)
    assert stream.read(8) == b"\x89PNG\r\n\x1a\n"
    chunks = {}
    while header := stream.read(8):
        length, name = struct.unpack(">I4s", header)
        chunks[name] = stream.read(length)
        assert struct.unpack(">I", stream.read(4))[0] == zlib.crc32(name + chunks[name])
    width, height, depth, colour = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert depth == 8
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, -1)
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(height, width, {0: 1, 2: 3}[colour])
