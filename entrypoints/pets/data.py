"""Read the images of one channel, and make batches of them."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch.utils.data import DataLoader

from preprocessing import central_square, resized
from sharing import epoch_order, validation_order


class Images(NamedTuple):
    """Where the images of a channel lie, what they show, and for each an id that no other of the data set has."""

    paths: list
    labels: np.ndarray
    ids: np.ndarray
    classes: tuple

    def __len__(self):
        return len(self.paths)

    def but(self, places):
        """Without those at these places."""
        kept = np.setdiff1d(np.arange(len(self)), places)
        return Images([self.paths[place] for place in kept], self.labels[kept], self.ids[kept], self.classes)


class Examples:
    """What a DataLoader asks for an image: (epoch, place) to (image, label, id), the same on whichever rank."""

    def __init__(self, images, size, *, augment=False, seed=0):
        self._images, self._size, self._augment, self._seed = images, size, augment, seed

    def __getitem__(self, key):
        epoch, place = key
        image = decode(self._images.paths[place])
        chance = np.random.default_rng((self._seed, epoch, int(self._images.ids[place])))
        if self._augment and chance.random() < 0.5:
            image = image.flip(-1)
        box = random_box(image, chance) if self._augment else central_square(image)
        return resized(image, box, self._size), int(self._images.labels[place]), int(self._images.ids[place])


def listed(channel):
    """Every image that the channel's split.json names."""
    listing = Path(channel, "split.json")
    if not listing.is_file():
        raise ValueError(f"there is no split.json in the channel {channel}: prepare.py writes it")
    split = json.loads(listing.read_text())
    classes, entries = tuple(split["classes"]), split["images"]
    if not entries:
        raise ValueError(f"{channel} holds no image")
    for entry in entries:
        if not 0 <= entry["label"] < len(classes):
            raise ValueError(
                f"{entry['file']} of {channel} has the label {entry['label']}: there are {len(classes)} classes"
            )
    return Images(
        [str(Path(channel, entry["file"])) for entry in entries],
        np.array([entry["label"] for entry in entries]),
        np.array([entry["id"] for entry in entries]),
        classes,
    )


def readable(images, share, total, *, skip_corrupt=False):
    """The images without those that can't be decoded, which are an error unless skip_corrupt.

    Each rank tries its part; `total` adds up a tensor over all, so that they agree on what is left.
    """
    mine = range(share.rank, len(images), share.size)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:  # PIL lets other threads run while it decodes
        faults = dict(zip(mine, pool.map(fault, [images.paths[place] for place in mine])))
    bad = torch.zeros(len(images))
    bad[[place for place, why in faults.items() if why]] = 1
    places = total(bad).nonzero().flatten().numpy()
    if not len(places):
        return images
    named = ", ".join(images.paths[place] for place in places[:5]) + (", …" if len(places) > 5 else "")
    said = f"{len(places)} of {len(images)} images can't be decoded: {named}"
    if not skip_corrupt:
        raise ValueError(f"{said}. Make the data set anew, or train without them: skip-corrupt=true")
    if share.rank == 0:
        print(f"skipped: {said}\n", end="", flush=True)
    return images.but(places)


def fault(path):
    """Why an image can't be decoded; None if it can."""
    try:
        decode(path)
    except (OSError, ValueError, UnidentifiedImageError) as error:
        return str(error)
    return None


def decode(path):
    """An image as (3, height, width) with values of 0 to 255."""
    with Image.open(path) as image:
        return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).float()


def random_box(image, chance):
    """A random part of an image, as Szegedy et al. (2014) cut it: 25 to 100 % of the area, sides of 3:4 to 4:3."""
    height, width = image.shape[-2:]
    area = height * width * chance.uniform(0.25, 1)
    ratio = np.exp(chance.uniform(np.log(3 / 4), np.log(4 / 3)))
    box_height, box_width = min(height, np.sqrt(area / ratio)), min(width, np.sqrt(area * ratio))
    top, left = chance.uniform(0, height - box_height), chance.uniform(0, width - box_width)
    return tuple(torch.tensor(value, dtype=torch.float32) for value in (top, left, box_height, box_width))


def training_batches(images, share, args, first_epoch=0):
    """Batches of (images, labels, ids) of a rank: the epochs from first_epoch on, one after the other."""
    keys = [
        (epoch, place)
        for epoch in range(first_epoch, args.epochs)
        for place in epoch_order(len(images), share, batch_size=args.batch_size, seed=args.seed, epoch=epoch).ravel()
    ]
    examples = Examples(images, args.size, augment=args.augment, seed=args.seed)
    return loader(examples, keys, args.batch_size, args.workers)


def validation_batches(images, share, args):
    """Batches of (images, labels, ids): the ranks together see every image once, as the served model will."""
    keys = [(0, place) for place in validation_order(len(images), share)]
    return loader(Examples(images, args.size), keys, args.batch_size, args.workers)


def loader(examples, keys, batch_size, workers):
    """A DataLoader over these keys. Its processes don't begin as copies of this one, which MPI would not bear."""
    context = "forkserver" if workers else None
    return DataLoader(examples, batch_size, sampler=keys, num_workers=workers, multiprocessing_context=context)
