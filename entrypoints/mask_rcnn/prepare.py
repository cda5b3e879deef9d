"""Get COCO-2017 and write it as sharded TFRecords, with --coco; or draw a small data set of shapes in the same form.

    python entrypoints/mask_rcnn/prepare.py data/fsx/mask_rcnn --coco

makes that directory, whole or not at all:

    train/train-00000-of-00256.tfrecord …  train/split.json    validation/…  validation/instances.json    dataset.json

`instances.json` is COCO's own file, by which a training is judged; `split.json` says how many images a split has, and
its categories, to a job that sees only its folder. COCO wants 20 GB for its archives, which stay beside the directory,
and as much again for the records. This runs on the host, not in the training image.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from coco import Split, drawn, zipped
from download import Archive, ChecksumError, fetch
from whole import ended, make_whole

# Ranks share images, not files, so any number of them has a fair share; files are for a file system that stripes them.
SHARDS = {"coco": {"train": 256, "validation": 32}, "shapes": {"train": 64, "validation": 64}}
IMAGES = {"coco": {"train": 118_287, "validation": 5_000}, "shapes": {"train": 800, "validation": 100}}

ANNOTATIONS = Archive(
    url="http://images.cocodataset.org/annotations/annotations_trainval2017.zip",
    size=252_907_541,
    sha256="113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
)
ARCHIVES = {
    "train": Archive(
        url="http://images.cocodataset.org/zips/train2017.zip",
        size=19_336_861_798,
        sha256="69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929",
    ),
    "validation": Archive(
        url="http://images.cocodataset.org/zips/val2017.zip",
        size=815_585_330,
        sha256="4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",
    ),
}


@dataclass(frozen=True)
class Shard:
    """One file of a split, and which images go into it."""

    path: Path
    places: range


def main(argv: list[str] | None = None) -> int:
    """Prepare the data set, or say in a sentence why not: 2 is the command line's fault, 3 the network's or disk's."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path, help="where the data set goes, such as data/fsx/mask_rcnn")
    sources = parser.add_mutually_exclusive_group()
    sources.add_argument(
        "--coco", action="store_true", help="fetch COCO-2017: 20 GB, and as much again for the records"
    )
    sources.add_argument("--sample", action="store_true", help="draw 900 images of shapes: the default")
    args = parser.parse_args(argv)
    source = "coco" if args.coco else "shapes"
    return ended(parser.prog, args.directory, lambda: prepare(args.directory, source))


def prepare(directory: Path, source: str) -> None:
    """Make the directory hold the whole data set, unless it does."""

    def make(beside: Path, partial: Path) -> dict:
        splits = read(source, beside)
        written = {name: write_split(splits[name], name, partial / name, source) for name in splits}
        manifest = {"name": source, "splits": written}
        (partial / "dataset.json").write_text(json.dumps(manifest, indent=2) + "\n")
        return manifest

    # A sample never takes COCO's place.
    manifest, was_there = make_whole(directory, is_enough=lambda made: source in ("shapes", made["name"]), make=make)
    print(f"{directory}{' is complete' if was_there else ''}: {in_words(manifest)}")


def in_words(manifest: dict) -> str:
    """Such as `coco, 118,287 train + 5,000 validation images`."""
    counts = " + ".join(f"{split['images']:,} {name}" for name, split in manifest["splits"].items())
    return f"{manifest['name']}, {counts} images"


def read(source: str, beside: Path) -> dict[str, Split]:
    """The splits by name; their images are read, or drawn, one at a time."""
    if source == "shapes":
        first_ids = {"train": 1, "validation": 1 + IMAGES["shapes"]["train"]}
        return {
            name: drawn(images, seed=first_ids[name], first_id=first_ids[name])
            for name, images in IMAGES["shapes"].items()
        }
    annotations = fetch(ANNOTATIONS, beside)
    folders = {"train": "train2017", "validation": "val2017"}
    return {name: zipped(annotations, fetch(archive, beside), folders[name]) for name, archive in ARCHIVES.items()}


def write_split(split: Split, name: str, directory: Path, source: str) -> dict:
    """Deal the images out to the shards like cards, each shard by a process of its own; count them again at the end."""
    directory.mkdir(parents=True)
    images, shards = len(split.instances["images"]), SHARDS[source][name]
    expected = IMAGES[source][name]
    if images != expected:
        raise ChecksumError(f"{name} has {images:,} images, and {source} has {expected:,}")
    tasks = [
        Shard(directory / f"{name}-{shard:05d}-of-{shards:05d}.tfrecord", range(shard, images, shards))
        for shard in range(shards)
    ]
    objects = sum(map(len, split.annotations.values()))
    # Forked, so that COCO's annotations, which are gigabytes as objects, are sent nowhere.
    with ProcessPoolExecutor(mp_context=get_context("fork"), initializer=take, initargs=(split,)) as pool:
        files = dict(pool.map(write_shard, tasks))
    written = sum(file["images"] for file in files.values())
    assert written == images, f"{name}: {written} images written of {images}"
    categories = {str(category["id"]): category["name"] for category in split.instances["categories"]}
    about = {"split": name, "images": images, "categories": categories}
    (directory / "split.json").write_text(json.dumps(about) + "\n")
    if name == "validation":
        (directory / "instances.json").write_text(json.dumps(split.instances) + "\n")
    return {"images": images, "objects": objects, "files": files}


def take(split: Split) -> None:
    """What a process works on."""
    globals()["SPLIT"] = split


def write_shard(shard: Shard) -> tuple[str, dict]:
    """Write one file of the split that the process has; what the manifest says of it."""
    content = b"".join(globals()["SPLIT"].records(shard.places))
    shard.path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    return shard.path.name, {"images": len(shard.places), "bytes": len(content), "sha256": digest}


if __name__ == "__main__":
    sys.exit(main())
