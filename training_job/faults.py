"""What pydantic found, as a person would say it: the place, what stands there, what is allowed. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from training_job.errors import Fault
from training_job.secret_names import HIDDEN, is_secret
from training_job.spelling import nearest
from training_job.words import unanchored

Location = tuple[str | int, ...]

_KINDS = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
}


def faults_of(error: ValidationError, model: type[BaseModel]) -> list[tuple[Location, str]]:
    """Every fault with its location in `model`'s own names, a parent's left out where a child explains it."""
    found = [(_location(detail), _say(detail, model)) for detail in error.errors(include_url=False)]
    return [
        (place, what)
        for place, what in found
        if not any(len(other) > len(place) and other[: len(place)] == place for other, _ in found)
    ]


def dotted(place: Iterable[str | int]) -> str:
    """`InputDataConfig[0].ChannelName`."""
    text = ""
    for step in place:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


def fault(place: Iterable[str | int], what: str) -> Fault:
    """A fault at a dotted place."""
    return Fault(dotted(place), what)


def _location(detail: ErrorDetails) -> Location:
    """The location without pydantic's word for a map's key, and with the member a validator has named."""
    place = tuple(step for step in detail["loc"] if step != "[key]")
    return (*place, detail["ctx"]["member"]) if detail["type"] == "member_fault" else place


def _say(detail: ErrorDetails, model: type[BaseModel]) -> str:
    """The sentence for one of pydantic's error types; pydantic's own for those that need no other."""
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    shown = HIDDEN if any(is_secret(str(step)) for step in detail["loc"]) else _short(value)
    if kind == "missing":
        return "is needed"
    if kind == "extra_forbidden":
        *parents, name = detail["loc"]
        return f"is not known here{nearest(str(name), _names_at(parents, model))}"
    if kind in _KINDS:
        return f"must be {_KINDS[kind]}, not {shown}"
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        allowed = [word.strip("'") for word in context["expected"].replace(" or ", ", ").split(", ")]
        return f"{shown} is none of {', '.join(allowed)}{nearest(str(value), allowed)}"
    return _about_size(kind, value, shown, context) or detail["msg"]


def _about_size(kind: str, value: Any, shown: str, context: dict[str, Any]) -> str:
    match kind:
        case "string_pattern_mismatch":
            return f"{shown} must match {unanchored(context['pattern'])}"
        case "string_too_long":
            return f"has {len(value):,} characters; {context['max_length']:,} are allowed"
        case "string_too_short":
            return f"has {len(value):,} characters; at least {context['min_length']:,} are needed"
        case "greater_than_equal":
            return f"must be {context['ge']:,} or more, not {shown}"
        case "greater_than":
            return f"must be more than {context['gt']:,g}, not {shown}"
        case "less_than_equal":
            return f"must be {context['le']:,} or less, not {shown}"
        case "too_long":
            return f"has {len(value):,} entries; {context['max_length']:,} are allowed"
        case "too_short":
            return f"has {len(value):,} entries; at least {context['min_length']:,} are needed"
    return ""


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _names_at(place: Iterable[str | int], model: type[BaseModel]) -> list[str]:
    """The names allowed at a location: the aliases of the model that stands there."""
    steps = iter(place)
    for step in steps:
        if isinstance(step, int):
            continue
        field = next((f for name, f in model.model_fields.items() if step in (f.alias, name)), None)
        inner = _model_in(field.annotation) if field else None
        if inner is None:
            return []
        if field and get_origin(field.annotation) is dict:
            next(steps, None)
        model = inner
    return [field.alias or name for name, field in model.model_fields.items() if not field.exclude]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The first model inside `tuple[Model, ...] | None` and its like."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((inner for part in get_args(annotation) if (inner := _model_in(part))), None)
