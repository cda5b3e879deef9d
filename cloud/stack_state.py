"""What a stack's status and events mean. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

Event = Mapping[str, Any]
"""A StackEvent of DescribeStackEvents."""

_STACK = "AWS::CloudFormation::Stack"
_CANCELLED = ("Resource creation cancelled", "Resource update cancelled", "Resource deletion cancelled")
_BEGINS = ("CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS", "DELETE_IN_PROGRESS")


@dataclass(frozen=True)
class Change:
    """What becomes of one resource: `action` is Add, Modify or Remove; `replaced` where Modify makes a new one."""

    action: str
    resource: str
    type: str
    replaced: bool = False


class Step(Enum):
    """What `stack up` does with a stack as it finds it."""

    CREATE = "create it"
    CHANGE = "change it"
    WAIT = "wait until what is under way has ended"
    REMOVE_FIRST = "remove what a failed creation left, then create it"
    CANNOT = "leave it to a person"


def step_for(status: str | None) -> Step:
    """By its StackStatus; None where there is no stack."""
    if status in (None, "REVIEW_IN_PROGRESS", "DELETE_COMPLETE"):
        return Step.CREATE
    if status in ("CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED"):
        return Step.REMOVE_FIRST
    if status in ("DELETE_FAILED", "UPDATE_ROLLBACK_FAILED", "UPDATE_FAILED"):
        return Step.CANNOT
    return Step.WAIT if is_under_way(status) else Step.CHANGE


def is_under_way(status: str | None) -> bool:
    """Whether CloudFormation is at work on it: it takes no other order before that has ended."""
    return status is not None and status.endswith("_IN_PROGRESS") and status != "REVIEW_IN_PROGRESS"


def has_failed(status: str) -> bool:
    """Whether what was under way has ended otherwise than it was meant to."""
    return "ROLLBACK" in status or status.endswith("_FAILED")


def of_the_last_order(events: Sequence[Event]) -> list[Event]:
    """The events, oldest first, of what the stack was last told to do. `events` as DescribeStackEvents has them: newest
    first."""
    ours: list[Event] = []
    for event in events:
        ours.append(event)
        if is_the_stack(event) and event["ResourceStatus"] in _BEGINS:
            break
    return ours[::-1]


def is_the_stack(event: Event) -> bool:
    """Whether it tells of the stack itself and of no resource in it."""
    return event.get("ResourceType") == _STACK and event.get("PhysicalResourceId") == event.get("StackId")


def first_failure(events: Iterable[Event]) -> Event | None:
    """The resource that failed first, of events that are oldest first: those after it were only called off."""
    for event in events:
        reason = event.get("ResourceStatusReason", "")
        if event["ResourceStatus"].endswith("_FAILED") and not is_the_stack(event) and reason not in _CANCELLED:
            return event
    return None
