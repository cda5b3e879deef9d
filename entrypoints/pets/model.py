"""The networks, the weights they begin with, and the form in which they are served."""

import hashlib
import re
from functools import partial
from pathlib import Path

import torch
import torchvision
from torch import nn

from preprocessing import DEVIATION, MEAN, central_square, resized

# Of torchvision, each with a last layer `fc` that transfer learning replaces; and one of our own for CPUs.
NETWORKS = ("small", "resnet18", "resnet50", "resnext50_32x4d", "resnext101_32x8d", "wide_resnet50_2")


class Classifier(nn.Module):
    """Images of (n, 3, size, size) with values of 0 to 255 to the logits of the classes."""

    def __init__(self, network, classes):
        super().__init__()
        self.register_buffer("mean", 255 * torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("deviation", 255 * torch.tensor(DEVIATION)[:, None, None], persistent=False)
        self.network = (
            Small(classes) if network == "small" else getattr(torchvision.models, network)(num_classes=classes)
        )

    def forward(self, images):
        return self.network((images - self.mean) / self.deviation)


class Small(nn.Sequential):
    """Four convolutions for CPUs and drawn images; group normalisation, so that a step depends on its images alone."""

    def __init__(self, classes, width=24):
        channels = (3, width, 2 * width, 4 * width, 4 * width)
        blocks = [
            layer
            for before, after in zip(channels, channels[1:])
            for layer in (nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.GroupNorm(8, after), nn.ReLU())
        ]
        super().__init__(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels[-1], classes))


class Served(nn.Module):
    """Images of (n, height, width, 3) in uint8, of any size, to the probabilities of the classes."""

    def __init__(self, classifier, size):
        super().__init__()
        self.classifier, self.size = classifier, size

    def forward(self, images):
        images = images.permute(0, 3, 1, 2).float()
        return self.classifier(resized(images, central_square(images), self.size)).softmax(1)


OPTIMIZERS = {"adam": torch.optim.Adam, "sgd": partial(torch.optim.SGD, momentum=0.9)}


def build_model(args, classes):
    """The network with weights drawn by torch's seed, or a file's; the last layer is always drawn."""
    model = Classifier(args.model, classes)
    if args.weights:
        begin_with(model.network, args.model, Path(args.weights_dir, args.weights))
    return model


def begin_with(network, name, path):
    """Take over a file's weights, as torchvision publishes them."""
    if not path.is_file():
        raise ValueError(f"there are no weights {path}: is the channel named weights, and the file in it?")
    check_digest(path)
    state = torch.load(path, map_location="cpu")
    own = network.state_dict()
    kept = {key: value for key, value in state.items() if not key.startswith("fc.")}
    wrong = sorted(key for key in kept if key not in own or own[key].shape != kept[key].shape)
    missing = sorted(key for key in own if key not in kept and not key.startswith("fc."))
    if wrong or missing:
        raise ValueError(f"{path} holds the weights of another network than {name}: see {(wrong + missing)[0]}")
    network.load_state_dict(kept, strict=False)


def check_digest(path):
    """What torchvision publishes carries the first digits of its SHA-256 in its name."""
    promised = re.search(r"-([0-9a-f]{8})\.pth$", path.name)
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if promised else ""
    if promised and not digest.startswith(promised[1]):
        raise ValueError(f"{path} is not the file it was: its SHA-256 begins with {digest[:8]}. Fetch it anew")


def export(model, size, classes, directory):
    """Leave model.pt (TorchScript), model.onnx and classes.txt, a class a line in the order of the probabilities."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    served = Served(model, size).cpu().eval()
    example = torch.zeros(2, size + 3, size + 5, 3, dtype=torch.uint8)
    with torch.no_grad():
        traced = torch.jit.trace(served, example)
        traced.save(str(directory / "model.pt"))
        torch.onnx.export(
            served,
            example,
            str(directory / "model.onnx"),
            opset_version=13,
            input_names=["images"],
            output_names=["probabilities"],
            dynamic_axes={"images": {0: "n", 1: "height", 2: "width"}, "probabilities": {0: "n"}},
        )
    (directory / "classes.txt").write_text("".join(f"{name}\n" for name in classes))
