"""The ledger knows each field that CreateTrainingJob has and no other, and a test shows each effect it claims."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.loaders import Loader
from botocore.model import ListShape, ServiceModel, Shape, StructureShape

from local_mode.ledger import TREATMENTS, treated

SERVICE = ServiceModel(Loader().load_service_model("sagemaker", "service-2"), "sagemaker")
# The word of the SageMaker SDK's local mode for a directory of this machine.
OURS = {"InputDataConfig.DataSource.FileDataSource"}
# Recorded as a rule, but not where the place has the bucket or the command says when to interrupt (plan.py).
SOMETIMES = {"OutputDataConfig.S3OutputPath", "EnableManagedSpotTraining"}
WITH_EFFECT = {field for field, found in TREATMENTS.items() if found.kind in ("honoured", "emulated")} | SOMETIMES


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


def fields_shown(source: str) -> set[str]:
    """The fields of `@pytest.mark.effect(…)` over the tests of a module; one that only the night runs shows nothing."""
    found = set()
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.FunctionDef) or not function.name.startswith("test_"):
            continue
        if "pytest.mark.nightly" in map(ast.unparse, function.decorator_list):
            continue
        for decorator in function.decorator_list:
            if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.effect":
                found |= {str(ast.literal_eval(argument)) for argument in decorator.args}
    return found


SHOWN = {
    field for path in Path(__file__).parents[1].rglob("test_*.py") for field in fields_shown(path.read_text("utf-8"))
}


@pytest.mark.parametrize("field", sorted(WITH_EFFECT))
def test_a_test_shows_the_effect_that_is_claimed(field: str) -> None:
    assert field in SHOWN


@pytest.mark.parametrize("field", sorted(SHOWN))
def test_an_effect_that_is_shown_is_claimed(field: str) -> None:
    assert field in WITH_EFFECT


def test_only_a_test_that_runs_shows_an_effect() -> None:
    source = """
@pytest.mark.effect("A", "B")
@pytest.mark.parametrize("x", [1])
def test_one(x): ...
@pytest.mark.nightly
@pytest.mark.effect("C")
def test_two(): ...
@pytest.mark.effect("D")
def no_test(): ...
"""

    assert fields_shown(source) == {"A", "B"}
