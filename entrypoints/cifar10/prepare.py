"""Get CIFAR-10 and write it as sharded TFRecords; with no network, scikit-learn's handwritten digits in the same form.

    python entrypoints/cifar10/prepare.py data/fsx/cifar10

makes that directory, whole or not at all:

    train/train-00000-of-00016.tfrecord …  train/split.json    validation/…    test/…    dataset.json

`dataset.json` names the source, the classes and every file with its images, bytes and sha256; `split.json` says how
many images a split has to a job that sees only its folder. This runs on the host, not in the training image.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import pickle
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from download import Archive, NetworkError, fetch
from tfrecords import example, record
from whole import ended, make_whole

SHARDS = 16  # files in a split: any number of ranks up to 16 finds a fair share of them
IMAGE_SHAPE = (32, 32, 3)

CIFAR10 = Archive(
    url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    size=170_498_071,
    sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
)
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR10_BATCHES = {
    "train": ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4"),
    "validation": ("data_batch_5",),
    "test": ("test_batch",),
}
IMAGES_PER_BATCH = 10_000
DIGITS_HELD_OUT = 300  # of the 1,797 digits, for validation and again for test


@dataclass(frozen=True)
class Split:
    """Images of IMAGE_SHAPE in uint8, their labels, and for each an id that no other image of the data set has."""

    images: np.ndarray
    labels: np.ndarray
    ids: np.ndarray

    def record(self, i: int) -> bytes:
        """The image, label and id at that place, as they stand in a file."""
        image = self.images[i]
        assert (image.shape, image.dtype) == (IMAGE_SHAPE, np.uint8)
        return record(example(image=image.tobytes(), label=int(self.labels[i]), image_id=int(self.ids[i])))


@dataclass(frozen=True)
class DataSet:
    """A data set in memory, ready to be written."""

    name: str
    source: str
    classes: tuple[str, ...]
    splits: dict[str, Split]


def main(argv: list[str] | None = None) -> int:
    """Prepare the data set, or say in a sentence why not: 2 is the command line's fault, 3 the network's or disk's."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path, help="where the data set goes, such as data/fsx/cifar10")
    parser.add_argument(
        "--source",
        choices=("auto", "cifar10", "digits"),
        default="auto",
        help="auto (the default) is CIFAR-10, and the digits where it can't be reached",
    )
    args = parser.parse_args(argv)
    return ended(parser.prog, args.directory, lambda: prepare(args.directory, args.source))


def prepare(directory: Path, source: str) -> None:
    """Make the directory hold the whole data set, unless it does."""
    manifest, was_there = make_whole(
        directory,
        is_enough=lambda made: source in ("auto", made["name"]),
        make=lambda beside, partial: write(read(source, beside), partial),
    )
    upgrade = "; --source cifar10 replaces it" if was_there and manifest["name"] != "cifar10" else ""
    print(f"{directory}{' is complete' if was_there else ''}: {in_words(manifest)}{upgrade}")


def in_words(manifest: dict) -> str:
    """Such as `cifar10, 40,000 train + 10,000 validation + 10,000 test images`."""
    counts = " + ".join(f"{split['images']:,} {name}" for name, split in manifest["splits"].items())
    return f"{manifest['name']}, {counts} images"


def read(source: str, beside: Path) -> DataSet:
    """The data set itself; `auto` turns to the digits when the network fails, never when the bytes are wrong."""
    if source == "digits":
        return digits()
    try:
        return cifar10(fetch(CIFAR10, beside))
    except NetworkError as error:
        if source == "cifar10":
            raise
        print(f"CIFAR-10 can't be fetched ({error}).")
        print("Taking scikit-learn's handwritten digits instead: real images of 10 classes, in the same form.")
        print("Once there is a network, --source cifar10 replaces them.")
        return digits()


def cifar10(archive: Path) -> DataSet:
    """CIFAR-10's six pickles as three splits; nothing is unpacked to disk."""
    wanted = {f"cifar-10-batches-py/{batch}" for batches in CIFAR10_BATCHES.values() for batch in batches}
    with tarfile.open(archive) as tar:  # read once from front to back: a gzip can't be wound back cheaply
        found = {Path(member.name).name: read_batch(tar, member) for member in tar if member.name in wanted}
    splits = {}
    first_id = 0
    for split, names in CIFAR10_BATCHES.items():
        images = np.concatenate([found[name][0] for name in names])  # of every batch, not of the last alone
        labels = np.concatenate([found[name][1] for name in names])
        splits[split] = Split(images, labels, np.arange(first_id, first_id + len(images)))
        first_id += len(images)
    return DataSet("cifar10", CIFAR10.url, CIFAR10_CLASSES, splits)


def read_batch(tar: tarfile.TarFile, member: tarfile.TarInfo) -> tuple[np.ndarray, np.ndarray]:
    """The images of one pickle, turned from rows of channels into height x width x channels, and their labels."""
    batch = pickle.load(tar.extractfile(member), encoding="bytes")  # noqa: S301 the archive's checksum is verified
    images = batch[b"data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    labels = np.array(batch[b"labels"])
    assert len(images) == len(labels) == IMAGES_PER_BATCH, f"{member.name}: {len(images)} images, {len(labels)} labels"
    return images, labels


def digits() -> DataSet:
    """The 1,797 digits, their 8x8 pixels of 0..16 drawn as blocks of 4x4, split by class, the same way every time."""
    from sklearn.datasets import load_digits  # noqa: PLC0415 slow to import, and seldom needed
    from sklearn.model_selection import train_test_split  # noqa: PLC0415

    bunch = load_digits()
    grey = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    images = np.repeat(grey.repeat(4, axis=1).repeat(4, axis=2)[..., np.newaxis], 3, axis=3)
    rest = np.arange(len(images))
    held_out = {}
    for split in ("validation", "test"):
        rest, chosen = train_test_split(rest, test_size=DIGITS_HELD_OUT, stratify=bunch.target[rest], random_state=0)
        held_out[split] = np.sort(chosen)
    ids = {"train": np.sort(rest), **held_out}
    splits = {split: Split(images[chosen], bunch.target[chosen], chosen) for split, chosen in ids.items()}
    return DataSet("digits", "sklearn.datasets.load_digits", tuple("0123456789"), splits)


def write(dataset: DataSet, directory: Path) -> dict:
    """Write every image of the data set, and the manifest last."""
    manifest = {
        "name": dataset.name,
        "source": dataset.source,
        "classes": dataset.classes,
        "image_shape": IMAGE_SHAPE,
        "splits": {name: write_split(split, name, directory / name) for name, split in dataset.splits.items()},
    }
    (directory / "dataset.json").write_text(json.dumps(manifest, indent=2) + "\n")
    return manifest


def write_split(split: Split, name: str, directory: Path) -> dict:
    """Deal the images out to the shards like cards, so that no shard has more than one image more than another."""
    directory.mkdir(parents=True)
    files = {}
    for shard in range(SHARDS):
        cards = [split.record(i) for i in range(shard, len(split.images), SHARDS)]
        content = b"".join(cards)
        path = directory / f"{name}-{shard:05d}-of-{SHARDS:05d}.tfrecord"
        path.write_bytes(content)
        files[path.name] = {"images": len(cards), "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    images = sum(file["images"] for file in files.values())
    assert images == len(split.images), f"{name}: {images} images written of {len(split.images)}"
    (directory / "split.json").write_text(json.dumps({"split": name, "images": images}) + "\n")
    return {"images": images, "files": files}


if __name__ == "__main__":
    sys.exit(main())
