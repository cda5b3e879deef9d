"""Get Oxford-IIIT Pets and split it; with no network, or with --sample, draw a small set of 37 breeds in the same form.

    python entrypoints/pets/prepare.py data/fsx/pets

makes that directory, whole or not at all:

    train/Abyssinian/Abyssinian_1.jpg …  train/split.json    validation/…    test/…    dataset.json

`split.json` names the classes and every image with its label and id, for a job that sees only its folder;
`dataset.json` the source, every file with its bytes, and each that can't be decoded and was left out. This runs on the
host, not in the training image.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from download import Archive, ChecksumError, NetworkError, fetch
from drawing import drawn_pets
from whole import ended, make_whole

OXFORD = Archive(
    url="https://www.robots.ox.ac.uk/~vgg/data/pets/data/images.tar.gz",
    size=791_918_971,
    sha256="67195c5e1c01f1ab5f9b6a5d22b8c27a580d896ece458917e61d459337fa318d",
)
BREEDS = 37
SPLITS = ("train", "validation", "test")
HELD_OUT = 0.1  # of each breed, for validation and again for test


def main(argv: list[str] | None = None) -> int:
    """Prepare the data set, or say in a sentence why not: 2 is the command line's fault, 3 the network's or disk's."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path, help="where the data set goes, such as data/fsx/pets")
    source = parser.add_mutually_exclusive_group()
    for name, words in (("oxford", "the real set, or fail"), ("sample", "the drawn set, without the network")):
        source.add_argument(f"--{name}", dest="source", action="store_const", const=name, default="auto", help=words)
    args = parser.parse_args(argv)
    return ended(parser.prog, args.directory, lambda: prepare(args.directory, args.source))


def prepare(directory: Path, source: str) -> None:
    """Make the directory hold the whole data set, unless it does."""
    manifest, was_there = make_whole(
        directory,
        is_enough=lambda made: source in ("auto", made["name"]),
        make=lambda beside, partial: read_and_write(source, beside, partial),
    )
    upgrade = "; --oxford replaces it" if was_there and manifest["name"] != "oxford" else ""
    print(f"{directory}{' is complete' if was_there else ''}: {in_words(manifest)}{upgrade}")


def in_words(manifest: dict) -> str:
    """Such as `oxford, 5,912 train + 739 validation + 739 test images; 3 can't be decoded and were left out`."""
    counts = " + ".join(f"{split['images']:,} {name}" for name, split in manifest["splits"].items())
    left_out = f"; {len(manifest['left_out'])} can't be decoded and were left out" if manifest["left_out"] else ""
    return f"{manifest['name']}, {counts} images{left_out}"


def read_and_write(source: str, beside: Path, partial: Path) -> dict:
    """The data set itself; `auto` turns to the drawn one when the network fails, never when the bytes are wrong."""
    if source != "sample":
        try:
            return write("oxford", OXFORD.url, jpegs(fetch(OXFORD, beside)), partial)
        except NetworkError as error:
            if source == "oxford":
                raise
            print(f"Oxford-IIIT Pets can't be fetched ({error}).")
            print("Drawing a small set of 37 breeds instead. Once there is a network, --oxford replaces it.")
    return write("sample", "drawn by prepare.py", drawn_pets(BREEDS), partial)


def jpegs(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of every JPEG file of the archive; nothing else of it is unpacked."""
    with tarfile.open(archive) as tar:
        for member in tar:
            name = Path(member.name).name
            content = tar.extractfile(member) if name.endswith(".jpg") and not name.startswith(".") else None
            if content is not None:
                yield name, content.read()


def write(name: str, source: str, found: Iterator[tuple[str, bytes]], directory: Path) -> dict:
    """Write every image that can be decoded to where its split is, and the manifest last."""
    everything, left_out = directory / "everything", []
    for file, content in found:
        if why := fault(content):
            left_out.append({"file": file, "why": why})
            continue
        path = everything / breed(file) / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    files = sorted(path.name for path in everything.glob("*/*.jpg"))
    classes = sorted({breed(file) for file in files}, key=str.lower)
    if len(classes) != BREEDS:
        raise ChecksumError(f"{source} has {len(classes)} breeds, and should have {BREEDS}")
    ids = {file: number for number, file in enumerate(files)}
    splits = {split: move(members, classes, ids, directory, split) for split, members in shared_out(files).items()}
    for emptied in (*everything.iterdir(), everything):
        emptied.rmdir()
    manifest = {"name": name, "source": source, "classes": classes, "left_out": left_out, "splits": splits}
    (directory / "dataset.json").write_text(json.dumps(manifest, indent=2) + "\n")
    return manifest


def breed(file: str) -> str:
    """Such as `american_bulldog` of american_bulldog_10.jpg."""
    return file.rpartition("_")[0]


def fault(content: bytes) -> str:
    """Why a file is no whole image; nothing if it is one."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.convert("RGB")
    except (OSError, ValueError, SyntaxError) as error:
        return str(error) or type(error).__name__
    return ""


def shared_out(files: list[str]) -> dict[str, list[str]]:
    """Which files are in which split: a tenth of each breed by the digest of its name, so the same every time."""
    by_breed: dict[str, list[str]] = {}
    for file in sorted(files, key=lambda file: hashlib.sha256(file.encode()).digest()):
        by_breed.setdefault(breed(file), []).append(file)
    splits: dict[str, list[str]] = {split: [] for split in SPLITS}
    for members in by_breed.values():
        held_out = max(1, round(HELD_OUT * len(members)))
        splits["validation"] += members[:held_out]
        splits["test"] += members[held_out : 2 * held_out]
        splits["train"] += members[2 * held_out :]
    return {split: sorted(members) for split, members in splits.items()}


def move(files: list[str], classes: list[str], ids: dict[str, int], directory: Path, split: str) -> dict:
    """Put the files of a split into its folder, and list them there; returns what the manifest says of them."""
    labels = {name: label for label, name in enumerate(classes)}
    for name in classes:
        (directory / split / name).mkdir(parents=True, exist_ok=True)
    listing, manifest = [], {}
    for file in files:
        place = f"{breed(file)}/{file}"
        (directory / "everything" / place).rename(directory / split / place)
        listing.append({"file": place, "label": labels[breed(file)], "id": ids[file]})
        manifest[place] = {"bytes": (directory / split / place).stat().st_size}
    text = json.dumps({"split": split, "classes": classes, "images": listing}, indent=1) + "\n"
    (directory / split / "split.json").write_text(text)
    manifest["split.json"] = {"bytes": len(text.encode())}
    return {"images": len(files), "files": manifest}


if __name__ == "__main__":
    sys.exit(main())
