"""Draw circles, squares and triangles, with their exact masks. Pure: the same generator, the same pixels.

Objects so plain that a Mask R-CNN learns them from nothing on two cores in minutes; COCO itself wants eight GPUs.
"""

from __future__ import annotations

import numpy as np

CLASSES = ("circle", "square", "triangle")
SIDE = 128  # pixels of an image
RADII = (0.12, 0.25)  # of a shape, in parts of the side: none so small that a coarse feature map misses it
AT_MOST = 3  # shapes in an image
NOISE = 12  # standard deviation of every pixel, of 255


def draw(random: np.random.Generator) -> tuple[np.ndarray, list[tuple[int, np.ndarray]]]:
    """An image (SIDE x SIDE x 3, uint8), and for each shape its category, from 1, and its mask (SIDE x SIDE, bool)."""
    image = random.uniform(60, 200, 3) + random.normal(0, NOISE, (SIDE, SIDE, 3))
    taken = np.zeros((SIDE, SIDE), bool)
    shapes: list[tuple[int, np.ndarray]] = []
    for _ in range(random.integers(1, AT_MOST + 1)):
        category, mask = place(random)
        if (mask & taken).any():
            continue  # fewer shapes rather than hidden ones, whose masks would not be theirs
        taken |= mask
        image[mask] = random.uniform(0, 255, 3) + random.normal(0, NOISE, (int(mask.sum()), 3))
        shapes.append((category, mask))
    return np.clip(image, 0, 255).astype(np.uint8), shapes


def place(random: np.random.Generator) -> tuple[int, np.ndarray]:
    """A category, and its shape somewhere in the image."""
    category = int(random.integers(1, len(CLASSES) + 1))
    radius = random.uniform(*RADII) * SIDE
    across, down = random.uniform(radius, SIDE - radius, 2)
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    x, y = np.abs(x - across), y - down
    if category == 1:
        return category, x**2 + y**2 <= radius**2
    if category == 2:
        return category, np.maximum(x, np.abs(y)) <= 0.88 * radius
    return category, (y >= -radius) & (y <= 0.8 * radius) & (x <= 0.55 * (y + radius))
