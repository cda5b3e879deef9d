"""From an image of any size to what the network sees: the same operations in training, validation and the export."""

import torch

# ImageNet's, which torchvision's weights were trained with.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def central_square(image):
    """Top, left, height and width of the largest square in the middle, in pixels; the image is (..., height, width)."""
    height, width = centres(image[..., 0]).max() + 0.5, centres(image[..., 0, :]).max() + 0.5
    side = torch.minimum(height, width)
    return (height - side) / 2, (width - side) / 2, side, side


def resized(image, box, size):
    """The box of an image of (..., height, width), drawn on size x size pixels by a triangle filter, as PIL's BILINEAR.

    By two matrices, as that is exact everywhere: an operator that resizes does it in another way in each library. All
    sizes are tensors, so that a traced graph takes images of any.
    """
    top, left, height, width = box
    rows = weights(centres(image[..., 0]), top, height, size)
    columns = weights(centres(image[..., 0, :]), left, width, size)
    return rows @ image @ columns.T


def centres(line):
    """Where the pixels of a line lie: 0.5, 1.5, … along its last dimension."""
    while line.dim() > 1:
        line = line[0]
    return torch.ones_like(line).cumsum(0) - 0.5


def weights(pixels, start, length, size):
    """How much each of the old pixels counts in each of the new ones: (size, pixels), each row of sum 1."""
    step = length / size
    new = start + (torch.arange(size, dtype=torch.float32) + 0.5) * step
    triangle = (1 - (new[:, None] - pixels[None, :]).abs() / step.clamp(min=1.0)).clamp(min=0.0)
    return triangle / triangle.sum(1, keepdim=True)
