"""How many images a core makes ready for training, beside the floor (decode, and nothing more) and what 8 V100s eat.

It runs in the training image, which has TensorFlow, and holds to one core there. A core's rate is images by seconds of
processor time, so what else the machine does counts little; each way is set against the floor of its own round.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

REACH = 0.7
"""Of the floor."""

_ROOT = Path(__file__).parents[1]
_SCRIPTS = _ROOT / "entrypoints"
_IMAGE = "homeport/tensorflow:cpu"
_CORES = 64  # vCPUs of ml.p3.16xlarge, which feed its 8 V100s


@dataclass(frozen=True)
class Eaten:
    """Images a second that 8 V100s take, and where the figure is from."""

    rate: float
    source: str


# The workshop's CIFAR-10 model with Keras, the same as ours: 40,000 images in an epoch of 9 s on one GPU in local mode.
_CIFAR10 = Eaten(8 * 40_000 / 9, "8 times one GPU's 40,000 images in 9 s")
# tensorpack's and AWS's Mask R-CNN workshops, R50-FPN at a short side of 800 pixels.
_MASK_RCNN = Eaten(59.6, "measured by the workshop")
WAYS = {
    "CIFAR-10, batches": ("cifar10", "cifar10 floor", _CIFAR10),
    "CIFAR-10, moved and mirrored": ("cifar10 augmented", "cifar10 floor", _CIFAR10),
    "COCO, our scripts": ("coco", "coco floor", _MASK_RCNN),
    "COCO, Model Garden's parser": ("coco parser", "coco floor", _MASK_RCNN),
}
"""What is shown, by the names that input_rates.py gives to a way and its floor."""
_PEERS = ("coco parser",)


def main() -> int:
    """Measure, print. A reach that is missed is said, and fails nothing."""
    parser = argparse.ArgumentParser(description="Images a second and core, of the input pipelines.")
    parser.add_argument("-n", "--runs", type=int, default=5, help="how often each is measured (default: %(default)s)")
    parser.add_argument("--data", type=Path, default=_ROOT / "data" / "fsx" / "cifar10", help="what `make data` made")
    parser.add_argument("--image", default=_IMAGE, help="the training image (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to FILE")
    asked = parser.parse_args()
    if not (asked.data / "train").is_dir():
        print(f"{asked.data} holds no data set: make data", file=sys.stderr)
        return 3
    print(f"cores {os.cpu_count()}, of which one is used, load average {_load()}", flush=True)
    cifar10 = _measure("cifar10", "/data/train", asked)
    coco = _measure("mask_rcnn", "/tmp/train", asked)
    _print_table(cifar10["rates"] | coco["rates"])
    size = coco["photo_bytes"] / coco["photos"] / 1e3
    print(f"COCO's images are drawn here: noise and ellipses, 640 × 480, JPEG of {size:,.0f} kB, with 7 masks each")
    print("What our scripts leave to the device that trains: size, colours, mirroring, anchors (mask_rcnn/inputs.py)")
    print(f"Median of {asked.runs} (least to most). Load average at the end {_load()}")
    if asked.json:
        asked.json.write_text(json.dumps({"cifar10": cifar10, "coco": coco}, indent=2) + "\n")
    return 0


def _load() -> str:
    return " ".join(f"{load:.1f}" for load in os.getloadavg())


def _measure(workload: str, train: str, asked: argparse.Namespace) -> dict[str, Any]:
    """What input_rates.py says, in a container without a network."""
    mounts = {_SCRIPTS: "/scripts", asked.data.resolve(): "/data", Path(__file__).parent: "/benchmarks"}
    words = ["docker", "run", "--rm", "--init", "--network", "none", "--env", "TF_CPP_MIN_LOG_LEVEL=2"]
    words += [word for path, inside in mounts.items() for word in ("--volume", f"{path}:{inside}:ro")]
    program = ["/benchmarks/input_rates.py", workload, "--scripts", f"/scripts/{workload}", "--train", train]
    command = [*words, "--entrypoint", "python", asked.image, *program, "--runs", str(asked.runs)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _print_table(rates: dict[str, list[float]]) -> None:
    row = "{:<31}{:<32}{:<32}{:<9}{:<21}{}".format
    heads = ("images/s by a core", "floor: decode alone", "× floor", f"at least {REACH:g} of it", "8 V100s eat")
    print(f"\n{row('', *heads)}")
    for title, (name, floor, eaten) in WAYS.items():
        ours, floors = rates[name], rates[floor]
        # Each against the floor beside it: the machine's load differs from round to round.
        ratio = median(mine / beside for mine, beside in zip(ours, floors, strict=True))
        met = "peer" if name in _PEERS else "met" if ratio >= REACH else "not met"
        cores = eaten.rate / median(ours)
        needs = f"{eaten.rate:,.4g} images/s, {cores:.1f} of {_CORES} cores ({eaten.source})"
        print(row(title, _spread(ours), _spread(floors), f"{ratio:.2f}", met, needs))


def _spread(values: Sequence[float]) -> str:
    return f"{median(values):,.0f} ({min(values):,.0f} to {max(values):,.0f})"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(f"{' '.join(map(str, error.cmd))}: {error.stderr.strip()[-2000:]}")
    except KeyboardInterrupt:
        sys.exit(130)
