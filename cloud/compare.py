"""What differed between a run on this machine and one in the cloud, field by field. Reads run folders; asks nobody.

Some members have to differ and say nothing: names, roles, tags, where the cloud keeps things. Those are left out; the
rest is told, with what is the same counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cloud.run_folder import RunFolder, read_json

_COMPARED = {
    "hyperparameter": "HyperParameters",
    "environment": "Environment",
    "input": "InputDataConfig",
    "resource": "ResourceConfig",
    "limit": "StoppingCondition",
    "checkpoint": "CheckpointConfig",
}
_SWITCHES = ("EnableNetworkIsolation", "EnableInterContainerTrafficEncryption", "EnableManagedSpotTraining")
# What the toolkits are told of the run itself.
_OF_THE_RUN = ("sagemaker_job_name",)
_TIMES = ("TrainingTimeInSeconds", "BillableTimeInSeconds")


@dataclass(frozen=True)
class Row:
    """One field with both values; None where a run has none."""

    field: str
    local: Any
    cloud: Any

    @property
    def differs(self) -> bool:
        """Whether they are not the same."""
        return bool(self.local != self.cloud)


def compared(local: RunFolder, cloud: RunFolder, answer: Mapping[str, Any]) -> list[Row]:
    """Every field of both. `answer` describes the job in the cloud."""
    ours = local.answer()
    plan = read_json(local.directory / "plan.json")
    sent = cloud.sent()
    rows = [
        Row("status", ours.get("TrainingJobStatus"), answer.get("TrainingJobStatus")),
        Row("image id", plan.get("image_id"), sent.image_id if sent else None),
        Row("image", _image(ours), _image(answer)),
        Row("input mode", *(_specified(each, "TrainingInputMode") for each in (ours, answer))),
    ]
    for word, member in _COMPARED.items():
        rows += _rows(word, ours.get(member), answer.get(member))
    rows += [Row(switch, bool(ours.get(switch)), bool(answer.get(switch))) for switch in _SWITCHES]
    rows += _rows("metric", _metrics(ours), _metrics(answer))
    return [*rows, *(Row(name, ours.get(name), answer.get(name)) for name in _TIMES)]


def compare_text(local: str, cloud: str, rows: list[Row]) -> str:
    """What differed, a line a field; how much was the same."""
    different = [row for row in rows if row.differs]
    lines = [f"{local} here, {cloud} in the cloud: {len(different)} of {len(rows)} fields differ"]
    width = max((len(row.field) for row in different), default=0)
    lines += [
        f"  {row.field:<{width}}  {_shown(row.local)} here, {_shown(row.cloud)} there{_by(row)}" for row in different
    ]
    return "\n".join(lines)


def _rows(word: str, ours: Any, theirs: Any) -> Iterator[Row]:
    here, there = dict(_flat(ours, word)), dict(_flat(theirs, word))
    for name in dict.fromkeys([*here, *there]):
        if not name.endswith(_OF_THE_RUN):
            yield Row(name, here.get(name), there.get(name))


def _flat(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The leaves with their names; a channel by its own name, not by its place."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{name} {key}" if " " not in name else f"{name}.{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            own = inner.get("ChannelName") if isinstance(inner, Mapping) else None
            rest = {key: one for key, one in inner.items() if key != "ChannelName"} if own else inner
            yield from _flat(rest, f"{name} {own}" if own else f"{name}[{index}]")
    elif value is not None:
        yield name, value


def _image(answer: Mapping[str, Any]) -> Any:
    return _specified(answer, "TrainingImage")


def _specified(answer: Mapping[str, Any], member: str) -> Any:
    return answer.get("AlgorithmSpecification", {}).get(member)


def _metrics(answer: Mapping[str, Any]) -> dict[str, float]:
    return {point["MetricName"]: point["Value"] for point in answer.get("FinalMetricDataList", [])}


def _shown(value: Any) -> str:
    return "nothing" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _by(row: Row) -> str:
    """By how much numbers differ."""
    if isinstance(row.local, bool) or not (isinstance(row.local, int | float) and isinstance(row.cloud, int | float)):
        return ""
    return f" ({row.cloud / row.local - 1:+.1%})" if row.local else ""
