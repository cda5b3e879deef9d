"""Draw animals of as many breeds as are asked for, each with a fur of its own, the same every time."""

from __future__ import annotations

import colorsys
import io
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageDraw

IMAGES = 40  # of a breed
COATS = ("plain", "striped", "spotted")


def drawn_pets(breeds: int) -> Iterator[tuple[str, bytes]]:
    """File names and JPEG files, one breed after the other."""
    hues = -(-breeds // len(COATS))
    for number in range(breeds):
        coat, hue = COATS[number // hues], number % hues
        for image in range(IMAGES):
            yield f"{coat}_{hue:02d}_{image + 1}.jpg", jpeg(coat, hue / hues, np.random.default_rng((number, image)))


def jpeg(coat: str, hue: float, chance: np.random.Generator) -> bytes:
    """A head with two ears before a grey wall, at a place and of a size by chance."""
    width, height = (int(value) for value in chance.integers(88, 128, size=2))
    wall = int(chance.integers(60, 200))
    image = Image.new("RGB", (width, height), (wall, wall, wall))
    fur = colour(hue + chance.uniform(-0.01, 0.01), chance.uniform(0.75, 1.0))
    radius = min(width, height) * chance.uniform(0.34, 0.46)
    x, y = width / 2 + chance.uniform(-0.06, 0.06) * width, height / 2 + chance.uniform(-0.06, 0.06) * height
    draw = ImageDraw.Draw(image)
    for side in (-1, 1):
        draw.polygon(
            [(x + side * radius * at, y - radius * up) for at, up in ((0.2, 0.8), (0.9, 1.3), (0.95, 0.2))], fur
        )
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fur)
    mark(draw, coat, x, y, radius)
    pixels = np.asarray(image) + chance.normal(0, 6, (height, width, 1))
    content = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(content, "JPEG", quality=90)
    return content.getvalue()


def mark(draw: ImageDraw.ImageDraw, coat: str, x: float, y: float, radius: float) -> None:
    """The stripes or spots of a coat."""
    if coat == "striped":
        for at in np.linspace(-0.6, 0.6, 5):
            half = radius * np.sqrt(1 - at * at)
            draw.line((x - half, y + at * radius, x + half, y + at * radius), (20, 20, 20), max(2, int(radius / 9)))
    if coat == "spotted":
        for at in np.linspace(-0.5, 0.5, 3):
            for up in np.linspace(-0.5, 0.5, 3):
                spot = radius * 0.13
                middle = x + at * radius, y + up * radius
                draw.ellipse((middle[0] - spot, middle[1] - spot, middle[0] + spot, middle[1] + spot), (235, 235, 235))


def colour(hue: float, brightness: float) -> tuple[int, int, int]:
    """A colour full of its hue."""
    red, green, blue = (int(255 * part) for part in colorsys.hsv_to_rgb(hue % 1, 0.85, brightness))
    return red, green, blue
