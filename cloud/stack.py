"""What `homeport-cloud stack` does: bring a stack up, take it down, tell how it is.

Nothing is kept here between two commands: a client that was killed is started again, finds what CloudFormation is
doing, waits for it, and goes on.
"""

from __future__ import annotations

from collections.abc import Mapping

from cloud.aws import Clients
from cloud.aws_errors import ClientError, code_of, told
from cloud.composition import Composed, compose, given_of
from cloud.prices import costs
from cloud.request import PROJECT_TAG
from cloud.stack_client import Observed, Proposal, StackClient
from cloud.stack_state import Change, Step, first_failure, has_failed, is_under_way, of_the_last_order, step_for
from cloud.stack_text import change_lines, cost_lines, removal_lines
from cloud.templates import NONE, Tree
from training_job.errors import AccountCannot


def up(stack: StackClient, clients: Clients, asked: Mapping[str, str], *, yes: bool) -> None:
    """Make the stack what it was and what is asked besides, after showing what that changes and costs.

    An empty choice is forgotten. Raises JobRefused for choices that no stack can have, AccountCannot for what fails.
    """
    found = _settled(stack)
    step = step_for(found.status if found else None)
    if found and step is Step.CANNOT:
        raise AccountCannot(
            f"stack {stack.name} is {found.status}: {found.reason or 'no reason is told'}. "
            + _BY_HAND.get(found.status, _WAY_OUT).format(stack.name)
        )
    standing = found if step is Step.CHANGE else None
    composed = _composed(stack, clients, asked, found)
    if found and not standing:
        if step is Step.REMOVE_FIRST and not yes:
            stack.say(f"stack {stack.name} is {found.status}: what a failed creation left is removed first")
            _show(stack, composed, _all_new(composed))
            stack.say("nothing was made; --yes makes it")
            return
        # It holds nothing: what a failed creation had made was taken back, and one that is only proposed made nothing.
        _delete(stack, found)
    proposal = stack.propose(composed, creates=standing is None)
    if not proposal.changes:
        stack.say(f"stack {stack.name}: nothing to change")
        return
    _show(stack, composed, proposal.changes)
    if not yes:
        stack.discard(proposal, creates=standing is None)
        stack.say("nothing was made; --yes makes it")
        return
    _carry_out(stack, proposal)


def down(stack: StackClient, *, yes: bool) -> None:
    """Delete the stack, after showing what goes and what stays since it holds data."""
    found = _settled(stack)
    if found is None:
        stack.say(f"stack {stack.name}: there is none in {stack.region}")
        return
    for line in removal_lines(stack.name, stack.template(found), stack.resources()):
        stack.say(line)
    if not yes:
        stack.say("nothing was removed; --yes removes it")
        return
    _delete(stack, found)
    stack.say(f"stack {stack.name}: removed")


def status(stack: StackClient) -> None:
    """How it is, what it puts out, and what it costs. Raises AccountCannot where there is none, or it has failed."""
    found = stack.observe()
    if found is None:
        raise AccountCannot(f"stack {stack.name}: there is none in {stack.region}. Make it: homeport-cloud stack up")
    stack.say(f"stack {stack.name} in {stack.region}: {found.status}")
    for name, value in sorted(found.outputs.items()):
        stack.say(f"  {name:<20} {value}")
    for line in cost_lines(costs(stack.template(found), found.parameters)):
        stack.say(line)
    if step_for(found.status) in (Step.CANNOT, Step.REMOVE_FIRST):
        _check(stack, found)


def _settled(stack: StackClient) -> Observed | None:
    """The stack, once CloudFormation is not at work on it. Raises AccountCannot for one that is not ours."""
    found = stack.observe()
    if found and not stack.is_ours(found):
        raise AccountCannot(
            f"stack {stack.name} in {stack.region} has no tag {PROJECT_TAG}={stack.name}: it was not made by Homeport, "
            "which leaves it alone. Name another with stack in [cloud] of homeport.toml"
        )
    if found and is_under_way(found.status):
        stack.say(f"stack {stack.name} is {found.status}: waiting")
        found = stack.follow(found.id)
    return None if found is None or found.status == "DELETE_COMPLETE" else found


def _composed(stack: StackClient, clients: Clients, asked: Mapping[str, str], found: Observed | None) -> Composed:
    given = (given_of(stack.template(found)) if found else {}) | dict(asked)
    given = {name: value for name, value in given.items() if value}
    composed = compose(given)
    if there := _repositories(stack, clients, composed, stack.resources() if found else {}):
        stack.say(f"{', '.join(there)}: there already, and used as they are; the stack makes no repositories")
        return compose(given | {"Repositories": NONE})
    return composed


def _repositories(stack: StackClient, clients: Clients, composed: Composed, own: Mapping[str, str]) -> list[str]:
    """The repositories that the template would make and somebody else has made: a push, or another stack."""
    prefix = composed.parameters.get("ImagePrefix") or composed.template["Parameters"].get("ImagePrefix", {}).get(
        "Default"
    )
    names = [f"{prefix}/{kind}" for kind in ("tensorflow", "pytorch")] if "registry" in composed.parts else []
    there = []
    with told("looking for repositories", stack.region):
        for name in names:
            try:
                clients("ecr").describe_repositories(repositoryNames=[name])
            except ClientError as error:
                if code_of(error) != "RepositoryNotFoundException":
                    raise
            else:
                there += [name] if name not in own.values() else []
    return there


def _show(stack: StackClient, composed: Composed, changes: tuple[Change, ...]) -> None:
    for line in [*change_lines(stack.name, changes), *cost_lines(costs(composed.template, composed.parameters))]:
        stack.say(line)


def _all_new(composed: Composed) -> tuple[Change, ...]:
    resources: Tree = composed.template["Resources"]
    return tuple(Change("Add", name, resource["Type"]) for name, resource in resources.items())


def _delete(stack: StackClient, found: Observed) -> None:
    before = stack.newest_event(found.id)
    stack.delete(found.id)
    stack.say(_UNDER_WAY)
    _check(stack, stack.follow(found.id, before))


def _carry_out(stack: StackClient, proposal: Proposal) -> None:
    before = stack.newest_event(proposal.stack_id)
    stack.execute(proposal)
    stack.say(_UNDER_WAY)
    ended = stack.follow(proposal.stack_id, before)
    _check(stack, ended)
    stack.say(f"stack {stack.name}: {ended.status}")
    for name, value in sorted(ended.outputs.items()):
        stack.say(f"  {name:<20} {value}")


def _check(stack: StackClient, ended: Observed) -> None:
    """Raises AccountCannot for an end that was not meant, with the resource that failed first."""
    if not has_failed(ended.status):
        return
    failed = first_failure(of_the_last_order(stack.events(ended.id)))
    if failed is None:
        raise AccountCannot(f"stack {stack.name} is {ended.status}: {ended.reason or 'no reason is told'}. {_WAY_OUT}")
    raise AccountCannot(
        f"stack {stack.name} is {ended.status}. {failed['LogicalResourceId']} ({failed['ResourceType']}) failed first: "
        f"{failed.get('ResourceStatusReason', 'no reason is told')}\n{_WAY_OUT}"
    )


_UNDER_WAY = "under way, also when this command is stopped; started again, it goes on"
_BY_HAND = {
    "DELETE_FAILED": "Mend that and delete it again: homeport-cloud stack down --yes",
    "UPDATE_ROLLBACK_FAILED": "Mend that, then: aws cloudformation continue-update-rollback --stack-name {}",
}
_WAY_OUT = (
    "Mend that and run `homeport-cloud stack up` again, which removes what a failed creation left; or remove it all: "
    "homeport-cloud stack down"
)
