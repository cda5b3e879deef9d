"""One CloudFormation stack of one account, by its name: look at it, propose a change, carry one out, watch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from cloud.aws import Clients
from cloud.aws_errors import ClientError, message_of, told
from cloud.composition import Composed
from cloud.request import PROJECT_TAG
from cloud.stack_state import Change, Event, is_the_stack, is_under_way, of_the_last_order
from cloud.templates import Tree
from training_job.errors import AccountCannot

_INTERVAL = 5.0
"""Seconds between two looks at what CloudFormation is doing."""
_CHANGE_SET = "homeport-"
_UNCHANGED = ("didn't contain changes", "No updates are to be performed")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Observed:
    """A stack as it is."""

    id: str
    status: str
    reason: str
    tags: Mapping[str, str]
    outputs: Mapping[str, str]
    parameters: Mapping[str, str]


@dataclass(frozen=True)
class Proposal:
    """A change set that nothing has come of yet."""

    id: str
    stack_id: str
    changes: tuple[Change, ...] = field(default=())


class StackClient:
    """CloudFormation, about one stack. Every method raises AccountCannot for what AWS refuses."""

    def __init__(self, clients: Clients, name: str, region: str, say: Say, pause: Callable[[float], None]) -> None:
        self.name = name
        self.region = region
        self.say = say
        self._clients = clients
        self._pause = pause

    def observe(self, stack_id: str | None = None) -> Observed | None:
        """The stack, or None where there is none. One that is deleted is found by its id alone."""
        with self._told("looking at"):
            try:
                found = self._cloudformation.describe_stacks(StackName=stack_id or self.name)["Stacks"][0]
            except ClientError as error:
                if "does not exist" in message_of(error):
                    return None
                raise
        return Observed(
            id=found["StackId"],
            status=found["StackStatus"],
            reason=found.get("StackStatusReason", ""),
            tags=_tags(found),
            outputs={output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", ())},
            parameters={item["ParameterKey"]: item.get("ParameterValue", "") for item in found.get("Parameters", ())},
        )

    def is_ours(self, found: Observed) -> bool:
        """Whether this project made it. One that is only proposed has no tags yet: it is ours by its change sets."""
        if found.status != "REVIEW_IN_PROGRESS":
            return found.tags.get(PROJECT_TAG) == self.name
        with self._told("looking at the changes of"):
            pages = self._cloudformation.get_paginator("list_change_sets").paginate(StackName=found.id)
            return all(item["ChangeSetName"].startswith(_CHANGE_SET) for page in pages for item in page["Summaries"])

    def template(self, found: Observed) -> Tree:
        """The template it was made of. One that is only proposed has none yet."""
        if found.status == "REVIEW_IN_PROGRESS":
            return {"Resources": {}}
        with self._told("reading"):
            body: Any = self._cloudformation.get_template(StackName=self.name)["TemplateBody"]
        template: Tree = json.loads(body) if isinstance(body, str) else body
        return template

    def resources(self) -> dict[str, str]:
        """What it consists of: the physical id of every resource that has one, by its logical id."""
        with self._told("listing"):
            pages = self._cloudformation.get_paginator("list_stack_resources").paginate(StackName=self.name)
            return {
                item["LogicalResourceId"]: item["PhysicalResourceId"]
                for page in pages
                for item in page["StackResourceSummaries"]
                if item.get("PhysicalResourceId") and item["ResourceStatus"] != "DELETE_COMPLETE"
            }

    def propose(self, composed: Composed, *, creates: bool) -> Proposal:
        """A change set that would make the stack what is composed. One of a killed client is replaced."""
        body = composed.body
        known = hashlib.sha256(json.dumps([body, dict(composed.parameters)]).encode()).hexdigest()[:16]
        with self._told("proposing a change of"):
            made = self._cloudformation.create_change_set(
                StackName=self.name,
                ChangeSetName=f"{_CHANGE_SET}{known}-{uuid4().hex[:8]}",
                ChangeSetType="CREATE" if creates else "UPDATE",
                TemplateBody=body,
                Parameters=[
                    {"ParameterKey": key, "ParameterValue": value} for key, value in composed.parameters.items()
                ],
                Capabilities=["CAPABILITY_IAM"],
                Tags=[{"Key": PROJECT_TAG, "Value": self.name}],
                # What is asked again since no answer came is not done again.
                ClientToken=uuid4().hex,
            )
            while True:
                pages = list(self._described(made["Id"]))
                if pages[0]["Status"] not in ("CREATE_PENDING", "CREATE_IN_PROGRESS"):
                    break
                self._pause(1.0)
        reason = pages[0].get("StatusReason", "")
        changes = tuple(_change(item["ResourceChange"]) for page in pages for item in page.get("Changes", ()))
        proposal = Proposal(made["Id"], made["StackId"], changes)
        if pages[0]["Status"] != "FAILED":
            return proposal
        self.discard(proposal, creates=creates)
        if any(words in reason for words in _UNCHANGED):
            return Proposal(made["Id"], made["StackId"])
        raise AccountCannot(f"stack {self.name}: CloudFormation refuses the change: {reason}")

    def discard(self, proposal: Proposal, *, creates: bool) -> None:
        """Forget a proposal, and the name that one of a new stack takes up."""
        with self._told("forgetting a change of"):
            self._cloudformation.delete_change_set(ChangeSetName=proposal.id)
        if creates:
            self.delete(proposal.stack_id)

    def execute(self, proposal: Proposal) -> None:
        """Have it carried out; returns at once."""
        with self._told("changing"):
            self._cloudformation.execute_change_set(ChangeSetName=proposal.id, ClientRequestToken=uuid4().hex)

    def delete(self, stack_id: str) -> None:
        """Have the stack deleted; returns at once."""
        with self._told("deleting"):
            self._cloudformation.delete_stack(StackName=stack_id, ClientRequestToken=uuid4().hex)

    def newest_event(self, stack_id: str) -> str:
        """The id of what happened to it last; empty where nothing has."""
        return next((event["EventId"] for event in self.events(stack_id)), "")

    def follow(self, stack_id: str, after: str = "") -> Observed:
        """Wait until CloudFormation has done what it was last told, and say what it does. Returns how it ended.

        `after` is the newest event of before it was told: as long as there is none newer, it has not begun.
        """
        told: set[str] = set()
        while True:
            observed = self.observe(stack_id)
            events = self.events(stack_id)
            begun = bool(events) and events[0]["EventId"] != after
            for event in of_the_last_order(events) if begun else ():
                if event["EventId"] not in told and not is_the_stack(event):
                    self.say(_progress(event))
                told.add(event["EventId"])
            if observed is None or (begun and not is_under_way(observed.status)):
                return observed or Observed(stack_id, "DELETE_COMPLETE", "", {}, {}, {})
            self._pause(_INTERVAL)

    def events(self, stack_id: str) -> list[Event]:
        """Everything that has happened to it, newest first."""
        with self._told("following"):
            pages = self._cloudformation.get_paginator("describe_stack_events").paginate(StackName=stack_id)
            return [event for page in pages for event in page["StackEvents"]]

    @property
    def _cloudformation(self) -> Any:
        return self._clients("cloudformation")

    def _described(self, change_set: str) -> Iterator[Mapping[str, Any]]:
        more: dict[str, str] = {}
        while True:
            page = self._cloudformation.describe_change_set(ChangeSetName=change_set, **more)
            yield page
            if not page.get("NextToken"):
                return
            more = {"NextToken": page["NextToken"]}

    def _told(self, doing: str) -> Any:
        return told(f"{doing} stack {self.name}", self.region)


def _tags(found: Mapping[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in found.get("Tags", ())}


def _change(asked: Mapping[str, Any]) -> Change:
    replaced = asked.get("Replacement") in ("True", "Conditional")
    return Change(asked["Action"], asked["LogicalResourceId"], asked["ResourceType"], replaced)


def _progress(event: Event) -> str:
    reason = f": {event['ResourceStatusReason']}" if event["ResourceStatus"].endswith("_FAILED") else ""
    return f"  {event['ResourceStatus']:<20} {event['LogicalResourceId']} ({event['ResourceType']}){reason}"
