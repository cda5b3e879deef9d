"""ml.* instance types: vCPUs, memory, GPUs and on-demand price.

The names are TrainingInstanceType of botocore 1.44.5 (a contract test compares them). vCPU, memory and GPU counts of
the families up to g5 and p4 are the EC2 user guide's (2023-06); those of newer families follow the same naming rule
or AWS's announcements and were not checked against a guide. Prices are US dollars an hour for one instance,
us-east-1, as published in 2024-05; a type without one has no price here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

PRICES_OF = "2024-05"

_FAMILIES = {
    "m4": "xlarge 2xlarge 4xlarge 10xlarge 16xlarge",
    "g4dn": "xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge",
    "m5": "large xlarge 2xlarge 4xlarge 12xlarge 24xlarge",
    "c4": "xlarge 2xlarge 4xlarge 8xlarge",
    "p2": "xlarge 8xlarge 16xlarge",
    "p3": "2xlarge 8xlarge 16xlarge",
    "p3dn": "24xlarge",
    "p4d": "24xlarge",
    "p4de": "24xlarge",
    "p5": "48xlarge 4xlarge",
    "p5e": "48xlarge",
    "p5en": "48xlarge",
    "c5": "xlarge 2xlarge 4xlarge 9xlarge 18xlarge",
    "c5n": "xlarge 2xlarge 4xlarge 9xlarge 18xlarge",
    "g5": "xlarge 2xlarge 4xlarge 8xlarge 16xlarge 12xlarge 24xlarge 48xlarge",
    "g6": "xlarge 2xlarge 4xlarge 8xlarge 16xlarge 12xlarge 24xlarge 48xlarge",
    "g6e": "xlarge 2xlarge 4xlarge 8xlarge 16xlarge 12xlarge 24xlarge 48xlarge",
    "trn1": "2xlarge 32xlarge",
    "trn1n": "32xlarge",
    "trn2": "48xlarge",
    "m6i": "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 32xlarge",
    "c6i": "xlarge 2xlarge 8xlarge 4xlarge 12xlarge 16xlarge 24xlarge 32xlarge",
    "r5d": "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge",
    "t3": "medium large xlarge 2xlarge",
    "r5": "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge",
    "p6-b200": "48xlarge",
    "m7i": "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 48xlarge",
    "c7i": "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 48xlarge",
    "r7i": "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 48xlarge",
    "p6e-gb200": "36xlarge",
    "p6-b300": "48xlarge",
    "g7e": "2xlarge 4xlarge 8xlarge 12xlarge 24xlarge 48xlarge",
    "g7": "2xlarge 4xlarge 8xlarge 12xlarge 24xlarge 48xlarge",
    "r6i": "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 32xlarge",
    "m8i": "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 32xlarge 48xlarge 96xlarge",
    "c8i": "xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 32xlarge 48xlarge 96xlarge",
    "r8i": "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 32xlarge 48xlarge 96xlarge",
    "m7i-flex": "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge",
    "c7i-flex": "xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge",
    "m8i-flex": "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge",
    "c8i-flex": "xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge",
    "r8i-flex": "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge",
}

NAMES = tuple(f"ml.{family}.{size}" for family, sizes in _FAMILIES.items() for size in sizes.split())

_GIB_PER_VCPU = {"c": 2, "m": 4, "r": 8, "g4dn": 4, "g5": 4, "g6": 4, "g6e": 8, "g7e": 8}

# Sizes whose vCPU count or memory (GiB) does not follow from the name.
_ODD_SIZES = {
    "c4.8xlarge": (36, 60),
    "t3.medium": (2, 4),
    "t3.large": (2, 8),
    "t3.xlarge": (4, 16),
    "t3.2xlarge": (8, 32),
    "p2.xlarge": (4, 61),
    "p2.8xlarge": (32, 488),
    "p2.16xlarge": (64, 732),
    "p3.2xlarge": (8, 61),
    "p3.8xlarge": (32, 244),
    "p3.16xlarge": (64, 488),
    "p3dn.24xlarge": (96, 768),
    "p4d.24xlarge": (96, 1152),
    "p4de.24xlarge": (96, 1152),
    "p5.4xlarge": (16, 256),
    "p5.48xlarge": (192, 2048),
    "p5e.48xlarge": (192, 2048),
    "p5en.48xlarge": (192, 2048),
    "p6-b200.48xlarge": (192, 2048),
    "p6-b300.48xlarge": (192, 4096),
    "p6e-gb200.36xlarge": (144, 960),
    "trn1.2xlarge": (8, 32),
    "trn1.32xlarge": (128, 512),
    "trn1n.32xlarge": (128, 512),
    "trn2.48xlarge": (192, 2048),
}

_WIDE = {"12xlarge": 4, "24xlarge": 4, "48xlarge": 8}
_GPUS: dict[str, dict[str, int]] = {
    "p2": {"xlarge": 1, "8xlarge": 8, "16xlarge": 16},
    "p3": {"2xlarge": 1, "8xlarge": 4, "16xlarge": 8},
    "p3dn": {"24xlarge": 8},
    "p4d": {"24xlarge": 8},
    "p4de": {"24xlarge": 8},
    "p5": {"48xlarge": 8, "4xlarge": 1},
    "p5e": {"48xlarge": 8},
    "p5en": {"48xlarge": 8},
    "p6-b200": {"48xlarge": 8},
    "p6-b300": {"48xlarge": 8},
    "p6e-gb200": {"36xlarge": 4},
    "g4dn": {"12xlarge": 4},
    "g5": _WIDE,
    "g6": _WIDE,
    "g6e": _WIDE,
    "g7e": {"12xlarge": 2, "24xlarge": 4, "48xlarge": 8},
}
_SINGLE_GPU_FAMILIES = ("g4dn", "g5", "g6", "g6e", "g7e")
_UNKNOWN_GPU_FAMILIES = ("g7",)

_PRICES = {
    "p3.2xlarge": 3.825,
    "p3.8xlarge": 14.688,
    "p3.16xlarge": 28.152,
    "g4dn.xlarge": 0.736,
    "c5.xlarge": 0.204,
    "c5.2xlarge": 0.408,
    "c5.4xlarge": 0.816,
    "c5.9xlarge": 1.836,
    "c5.18xlarge": 3.672,
    "m5.large": 0.115,
    "m5.xlarge": 0.23,
    "m5.2xlarge": 0.461,
    "m5.4xlarge": 0.922,
    "m5.12xlarge": 2.765,
    "m5.24xlarge": 5.53,
}


@dataclass(frozen=True)
class InstanceType:
    """One ml.* type. `gpus` is None where no source says how many there are."""

    name: str
    vcpus: int
    memory_gib: float
    gpus: int | None
    price_per_hour: float | None


@cache
def instance_type(name: str) -> InstanceType:
    """The type of this name; KeyError if TrainingInstanceType does not have it."""
    if name not in NAMES:
        raise KeyError(name)
    short = name.removeprefix("ml.")
    family, size = short.rsplit(".", 1)
    vcpus, memory = _ODD_SIZES.get(short) or _by_the_rule(family, size)
    return InstanceType(name, vcpus, memory, _gpus(family, size), _PRICES.get(short))


def price_per_hour(instances: Iterable[tuple[str, int]]) -> float | None:
    """US dollars an hour for so many instances of each type; None where a type's price is not known."""
    total = 0.0
    for name, count in instances:
        price = instance_type(name).price_per_hour
        if price is None:
            return None
        total += price * count
    return total


def _by_the_rule(family: str, size: str) -> tuple[int, float]:
    """`large` is 2 vCPUs, `Nxlarge` 4 N; memory per vCPU is the family's."""
    vcpus = 2 if size == "large" else 4 * int(size.removesuffix("xlarge") or 1)
    return vcpus, vcpus * _GIB_PER_VCPU.get(family, _GIB_PER_VCPU.get(family[0], 4))


def _gpus(family: str, size: str) -> int | None:
    if family in _UNKNOWN_GPU_FAMILIES:
        return None
    return _GPUS.get(family, {}).get(size, 1 if family in _SINGLE_GPU_FAMILIES else 0)
