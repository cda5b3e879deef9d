"""Every name, limit, pattern, enum and required member of our models is the service's, but for what is named here."""

from collections.abc import Iterator
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from annotated_types import Ge, Le, MaxLen, MinLen
from botocore.loaders import Loader
from botocore.model import ListShape, MapShape, ServiceModel, Shape, StructureShape
from botocore.validate import ParamValidator
from pydantic import AfterValidator, BaseModel, StringConstraints
from pydantic.fields import FieldInfo

from tests.fakes import NOW, a_job, an_fsx_channel, an_s3_channel
from training_job import instance_types
from training_job.job_file import RESPONSE_ONLY
from training_job.lifecycle import _MESSAGES, Exit, Transition, conclude, describe
from training_job.metrics import MetricPoint
from training_job.model import TrainingJob
from training_job.words import unanchored

SERVICE = ServiceModel(Loader().load_service_model("sagemaker", "service-2"), "sagemaker")

# Members that are ours: a place fills them in, or works them out.
OURS = {"TrainingJob": {"SourceDir"}, "DataSource": {"NamedFileSystem", "FileDataSource"}}
# A place gives the role and the output path; a job without an image or instances is none that could be rehearsed.
REQUIRED_HERE = {"TrainingJob": {"TrainingJobName", "AlgorithmSpecification", "ResourceConfig"}}
# Python's re knows no \p{…}.
PATTERNS = {
    r"arn:[\p{Alnum}\-]+:lambda:[\p{Alnum}\-]+:[0-9]{12}:function:.*": (
        r"arn:[a-zA-Z0-9\-]+:lambda:[a-zA-Z0-9\-]+:[0-9]{12}:function:.*"
    ),
    r"([\p{L}\p{Z}\p{N}_.:/=+\-@]*)": r"([\w\s.:/=+\-@]*)",
}
# Nothing here depends on where the service runs a rule.
ANY_TEXT = {"ProcessingInstanceType"}


@dataclass(frozen=True)
class Rules:
    """What a value may be. A least of 0 is no limit."""

    kind: str
    least: int | None = None
    most: int | None = None
    pattern: str | None = None
    enum: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Pair:
    """One field of ours and the shape it stands for."""

    place: str
    annotation: Any
    shape: Shape


def fields(model: type[BaseModel]) -> dict[str, Any]:
    """The service's name of each field with its annotation, as it was written."""
    hints = get_type_hints(model, include_extras=True)
    return {field.alias or name: hints[name] for name, field in model.model_fields.items()}


def bare(annotation: Any) -> tuple[Any, list[Any]]:
    """The type inside `Annotated[…] | None`, and everything it is annotated with."""
    extras: list[Any] = []
    while True:
        if get_origin(annotation) is Annotated:
            annotation, *more = get_args(annotation)
            extras += [
                extra for found in more for extra in (found.metadata if isinstance(found, FieldInfo) else [found])
            ]
        elif get_origin(annotation) in (Union, UnionType):
            (annotation,) = [part for part in get_args(annotation) if part is not type(None)]
        else:
            return annotation, extras


def walk(place: str, annotation: Any, shape: Shape) -> Iterator[Pair]:
    """Our types and the service's shapes, side by side, down to the last."""
    yield Pair(place, annotation, shape)
    kind, _ = bare(annotation)
    if isinstance(shape, StructureShape):
        for name, inner in fields(kind).items():
            if name in shape.members:
                yield from walk(f"{place}.{name}", inner, shape.members[name])
    elif isinstance(shape, ListShape):
        yield from walk(f"{place}[]", get_args(kind)[0], shape.member)
    elif isinstance(shape, MapShape):
        key, value = get_args(kind)
        yield from walk(f"{place}.key", key, shape.key)
        yield from walk(f"{place}.value", value, shape.value)


PAIRS = list(walk("CreateTrainingJob", TrainingJob, SERVICE.shape_for("CreateTrainingJobRequest")))
STRUCTURES = [pair for pair in PAIRS if isinstance(pair.shape, StructureShape)]
OTHERS = [pair for pair in PAIRS if not isinstance(pair.shape, StructureShape)]


def our_rules(annotation: Any) -> Rules:
    kind, extras = bare(annotation)
    if get_origin(kind) is Literal:
        return Rules("string", enum=frozenset(get_args(kind)))
    if any(isinstance(extra, AfterValidator) for extra in extras):
        return Rules("string", enum=frozenset(instance_types.NAMES))
    least: int | None = None
    most: int | None = None
    pattern: str | None = None
    for extra in extras:
        match extra:
            case StringConstraints():
                least, most = extra.min_length, extra.max_length
                pattern = unanchored(extra.pattern) if extra.pattern else None
            case Ge() | MinLen():
                least = extra.ge if isinstance(extra, Ge) else extra.min_length
            case Le() | MaxLen():
                most = extra.le if isinstance(extra, Le) else extra.max_length
    name = {str: "string", int: "integer", bool: "boolean", tuple: "list", dict: "map"}[get_origin(kind) or kind]
    return Rules(name, least or None, most, pattern)


def service_rules(shape: Shape) -> Rules:
    if shape.name in ANY_TEXT:
        return Rules("string")
    said = shape.metadata
    pattern = said.get("pattern")
    kind = "integer" if shape.type_name == "long" else shape.type_name
    enum = frozenset(said.get("enum", ()))
    return Rules(kind, said.get("min") or None, said.get("max"), PATTERNS.get(pattern, pattern), enum)


@pytest.mark.parametrize("pair", STRUCTURES, ids=lambda pair: pair.place)
def test_a_structure_has_the_services_members(pair: Pair) -> None:
    model, _ = bare(pair.annotation)

    assert set(fields(model)) - OURS.get(model.__name__, set()) == set(pair.shape.members)


@pytest.mark.parametrize("pair", STRUCTURES, ids=lambda pair: pair.place)
def test_a_structure_needs_what_the_service_needs(pair: Pair) -> None:
    model, _ = bare(pair.annotation)

    needed = {field.alias for field in model.model_fields.values() if field.is_required()}

    assert needed == REQUIRED_HERE.get(model.__name__, set(pair.shape.required_members))


@pytest.mark.parametrize("pair", OTHERS, ids=lambda pair: pair.place)
def test_a_value_is_limited_as_the_service_limits_it(pair: Pair) -> None:
    assert our_rules(pair.annotation) == service_rules(pair.shape)


def test_every_difference_that_is_named_is_there() -> None:
    shapes = {pair.shape.name for pair in PAIRS}
    patterns = {pair.shape.metadata.get("pattern") for pair in PAIRS}
    request = SERVICE.shape_for("CreateTrainingJobRequest")

    assert shapes >= ANY_TEXT
    assert patterns >= set(PATTERNS)
    assert set(request.required_members) == {"TrainingJobName", "RoleArn", "OutputDataConfig"}


def test_the_instance_types_are_the_services() -> None:
    enum = SERVICE.shape_for("TrainingInstanceType").metadata["enum"]

    assert sorted(instance_types.NAMES) == sorted(enum)


def test_what_only_an_answer_holds_is_the_difference_of_the_shapes() -> None:
    asked = set(SERVICE.shape_for("CreateTrainingJobRequest").members)
    answered = set(SERVICE.shape_for("DescribeTrainingJobResponse").members)

    # Every answer of botocore has ResponseMetadata.
    assert sorted(RESPONSE_ONLY) == sorted((answered - asked) | {"ResponseMetadata"})


def test_what_an_answer_shares_with_a_request_is_the_same_shape() -> None:
    asked = SERVICE.shape_for("CreateTrainingJobRequest").members
    answered = SERVICE.shape_for("DescribeTrainingJobResponse").members

    differ = {name for name in asked.keys() & answered.keys() if asked[name].name != answered[name].name}
    assert {name for name in differ if asked[name].type_name == "structure"} == set()


@pytest.mark.parametrize("code", [0, 1])
def test_a_description_is_the_services_answer(code: int) -> None:
    job = a_job(
        Tags=[{"Key": "a", "Value": "b"}],
        SessionChainingConfig={"EnableSessionTagChaining": True},
        InputDataConfig=[an_s3_channel(), an_fsx_channel()],
        HyperParameters={"a": "1"},
    )
    outcome = conclude([Exit("algo-1", code, 0)], "exited", {"algo-1": "x" * 5000})
    answer = describe(
        job.request(),
        arn="arn:aws:sagemaker:us-west-2:000000000000:training-job/job-1",
        transitions=[Transition(status, NOW) for status in ("Starting", "Training", outcome.secondary_status)],
        outcome=outcome,
        end=NOW,
        metrics=[MetricPoint("loss", 0.5, NOW, "algo-1")],
        model_artifacts="s3://bucket/model.tar.gz",
    )
    shape = SERVICE.shape_for("DescribeTrainingJobResponse")

    report = ParamValidator().validate(answer, shape)

    assert report.generate_report() == ""
    assert len(answer.get("FailureReason", "")) <= shape.members["FailureReason"].metadata["max"]
    assert answer["TrainingJobStatus"] in shape.members["TrainingJobStatus"].metadata["enum"]


def test_every_status_is_one_of_the_services() -> None:
    assert set(_MESSAGES) <= set(SERVICE.shape_for("SecondaryStatus").metadata["enum"])
