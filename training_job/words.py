"""How CreateTrainingJob's words are typed here: frozen, PascalCase aliases, the service's own limits.

A pattern of the service always has to match the whole value, so `limits` anchors it.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_pascal
from pydantic_core import PydanticCustomError

# Members whose case is the service's own.
_IRREGULAR = {
    "volume_size_in_gb": "VolumeSizeInGB",
    "enable_sagemaker_metrics_time_series": "EnableSageMakerMetricsTimeSeries",
}


def service_name(field: str) -> str:
    """CreateTrainingJob's name of a field: `s3_uri` is `S3Uri`."""
    return _IRREGULAR.get(field) or to_pascal(field)


class Words(BaseModel):
    """A structure of the service model: unknown members are an error, values are never coerced."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        alias_generator=service_name,
        validate_by_name=True,
        validate_by_alias=True,
        regex_engine="python-re",
        defer_build=True,
    )


def limits(least: int | None, most: int | None, pattern: str | None = None) -> StringConstraints:
    """A string of `least` to `most` characters of which all must match `pattern`."""
    return StringConstraints(
        min_length=least or None, max_length=most, pattern=rf"^(?:{pattern})\Z" if pattern else None
    )


def member_fault(member: str, what: str) -> PydanticCustomError:
    """What a structure's validator raises to say that one of its members is wrong beside the others."""
    return PydanticCustomError("member_fault", "{what}", {"member": member, "what": what})


def unanchored(pattern: str) -> str:
    """The service's own pattern inside one that `limits` anchored."""
    return pattern.removeprefix("^(?:").removesuffix(r")\Z")


S3Uri = Annotated[str, limits(0, 1024, "(https|s3)://([^/]+)/?(.*)")]
KmsKeyId = Annotated[str, limits(0, 2048, "[a-zA-Z0-9:/_-]*")]
LocalDirectory = Annotated[str, limits(0, 4096, ".*")]
Image = Annotated[str, limits(0, 255, ".*")]
Parameters = Annotated[
    dict[Annotated[str, limits(1, 256, ".*")], Annotated[str, limits(0, 256, ".*")]], Field(max_length=20)
]
