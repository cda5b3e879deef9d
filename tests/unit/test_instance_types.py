"""The table of instance types, against the rows that the EC2 user guide and the price lists give."""

import pytest

from training_job.instance_types import NAMES, instance_type


@pytest.mark.parametrize(
    ("name", "vcpus", "memory", "gpus", "price"),
    [
        ("p2.xlarge", 4, 61, 1, None),
        ("p2.8xlarge", 32, 488, 8, None),
        ("p2.16xlarge", 64, 732, 16, None),
        ("p3.2xlarge", 8, 61, 1, 3.825),
        ("p3.8xlarge", 32, 244, 4, 14.688),
        ("p3.16xlarge", 64, 488, 8, 28.152),
        ("p3dn.24xlarge", 96, 768, 8, None),
        ("p4d.24xlarge", 96, 1152, 8, ...),
        ("p4de.24xlarge", 96, 1152, 8, ...),
        ("p5.48xlarge", 192, 2048, 8, ...),
        ("p5.4xlarge", 16, 256, 1, ...),
        ("g4dn.xlarge", 4, 16, 1, ...),
        ("g4dn.12xlarge", 48, 192, 4, ...),
        ("g4dn.16xlarge", 64, 256, 1, ...),
        ("g5.xlarge", 4, 16, 1, ...),
        ("g5.16xlarge", 64, 256, 1, ...),
        ("g5.12xlarge", 48, 192, 4, ...),
        ("g5.24xlarge", 96, 384, 4, ...),
        ("g5.48xlarge", 192, 768, 8, ...),
        ("g6.16xlarge", 64, 256, 1, ...),
        ("g6.12xlarge", 48, 192, 4, ...),
        ("g6.48xlarge", 192, 768, 8, ...),
        ("c5.xlarge", 4, 8, 0, 0.204),
        ("c5.9xlarge", 36, 72, 0, 1.836),
        ("c5.18xlarge", 72, 144, 0, 3.672),
        ("m5.large", 2, 8, 0, 0.115),
        ("m5.24xlarge", 96, 384, 0, 5.53),
    ],
)
def test_a_type_has_what_the_guide_says(name: str, vcpus: int, memory: float, gpus: int, price: float | None) -> None:
    found = instance_type(f"ml.{name}")

    assert (found.vcpus, found.memory_gib, found.gpus) == (vcpus, memory, gpus)
    # The published tables disagree where this one is silent.
    assert price is ... or found.price_per_hour == price


@pytest.mark.parametrize("name", NAMES)
def test_every_type_has_cores_and_memory(name: str) -> None:
    found = instance_type(name)

    assert found.vcpus >= 2
    assert found.memory_gib >= found.vcpus
    assert found.gpus is None or 0 <= found.gpus <= 16


def test_a_name_that_is_none_is_no_type() -> None:
    with pytest.raises(KeyError):
        instance_type("ml.c5.large")
