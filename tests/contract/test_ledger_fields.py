"""The ledger knows every field that CreateTrainingJob has, and speaks of no other."""

from collections.abc import Iterator

import pytest
from botocore.loaders import Loader
from botocore.model import ListShape, ServiceModel, Shape, StructureShape

from local_mode.ledger import TREATMENTS, treated

SERVICE = ServiceModel(Loader().load_service_model("sagemaker", "service-2"), "sagemaker")
# The word of the SageMaker SDK's local mode for a directory of this machine.
OURS = {"InputDataConfig.DataSource.FileDataSource"}


def fields(shape: Shape, place: str = "") -> Iterator[str]:
    """Every field of a shape, dotted; entries of a list share their field, as they do in the ledger."""
    if place:
        yield place
    if isinstance(shape, ListShape):
        yield from (field for field in fields(shape.member, place) if field != place)
    elif isinstance(shape, StructureShape):
        for name, inner in shape.members.items():
            yield from fields(inner, f"{place}.{name}" if place else name)


FIELDS = list(fields(SERVICE.shape_for("CreateTrainingJobRequest")))
LEAVES = [field for field in FIELDS if not any(other.startswith(f"{field}.") for other in FIELDS)]


@pytest.mark.parametrize("field", LEAVES)
def test_a_field_of_the_service_has_a_treatment(field: str) -> None:
    assert treated(field) in TREATMENTS


@pytest.mark.parametrize("field", TREATMENTS)
def test_a_treatment_is_of_a_field_of_the_service(field: str) -> None:
    assert field in {*FIELDS, *OURS}


def test_every_treatment_says_how() -> None:
    assert all(treatment.how for treatment in TREATMENTS.values())


def test_only_recorded_fields_can_be_strict() -> None:
    assert {treatment.kind for treatment in TREATMENTS.values() if treatment.strict} == {"recorded"}
