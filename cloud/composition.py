"""One template out of the parts that are wanted. Pure: the same choices, the same template.

One template and not nested stacks, which would want a bucket to lie in before there is one, nor several stacks, of
which only the first could show what it changes before anything is made: a single change set shows the whole, and what
fails takes the whole back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cloud import account
from cloud.templates import NONE, PARTS, Part, Tree
from training_job.errors import Fault, JobRefused
from training_job.spelling import nearest

ACCOUNT_OUTPUTS = frozenset(
    {
        account.ROLE,
        account.BUCKET,
        account.SUBNETS,
        account.SECURITY_GROUPS,
        account.FSX_NAME,
        account.FSX_ID,
        account.FSX_MOUNT_NAME,
        account.EFS_NAME,
        account.EFS_ID,
    }
)
"""What a stack puts out for homeport.toml's `stack =`, made by a part or given."""
_GIVEN = "Homeport"


@dataclass(frozen=True)
class Composed:
    """A stack as it is wanted: its template, the values of its parameters, and which parts it is made of."""

    template: Tree
    parameters: Mapping[str, str]
    parts: tuple[str, ...]

    @property
    def body(self) -> str:
        """The template as CreateChangeSet takes it; 51,200 bytes at most."""
        return json.dumps(self.template, separators=(",", ":"), ensure_ascii=False)


def compose(given: Mapping[str, str]) -> Composed:
    """The template of all parts but those that are switched off, and those whose outputs are given: an existing VPC
    (SubnetIds, SecurityGroupIds), bucket (BucketName), role or file system. Raises JobRefused with every fault."""
    parts = _wanted(given)
    if faults := [*_unknown(given), *_wrong(given, parts), *_missing(given, parts), *_unused(given, parts)]:
        raise JobRefused("stack", faults)
    made = {name: output["Value"] for part in parts for name, output in part.outputs.items()}
    supplied = {name: value for name, value in given.items() if name in ACCOUNT_OUTPUTS}
    declared = {name: {"Type": "String"} for name in supplied}
    declared |= {name: tree for part in parts for name, tree in part.parameters.items() if name not in made}
    template = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "What Homeport's training jobs need in an account.",
        # Read again by the next `stack up`, which changes nothing that it is not told to change.
        "Metadata": {_GIVEN: dict(sorted(given.items()))},
        "Parameters": declared,
        "Conditions": {name: tree for part in parts for name, tree in part.template.get("Conditions", {}).items()},
        "Resources": {name: tree for part in parts for name, tree in part.template["Resources"].items()},
        "Outputs": {name: {"Value": value} for name, value in made.items()}
        | {name: {"Value": {"Ref": name}} for name in supplied},
    }
    wired = {key: _wired(value, made) for key, value in template.items() if value}
    return Composed(
        wired, {name: given[name] for name in declared if name in given}, tuple(part.name for part in parts)
    )


def given_of(template: Tree) -> dict[str, str]:
    """The choices that a composed template was made of; none for any other."""
    return dict(template.get("Metadata", {}).get(_GIVEN, {}))


def _wanted(given: Mapping[str, str]) -> list[Part]:
    wanted: list[Part] = []
    for part in PARTS:
        choice = given.get(part.switch, part.default) if part.switch else part.default
        stands_alone = part.follows is None or part.switch in given or part.follows in (other.name for other in wanted)
        if choice != NONE and stands_alone and not given.keys() & part.outputs.keys() & ACCOUNT_OUTPUTS:
            wanted.append(part)
    return wanted


def _unknown(given: Mapping[str, str]) -> Iterator[Fault]:
    known = {part.switch for part in PARTS if part.switch} | {name for part in PARTS for name in part.parameters}
    known |= ACCOUNT_OUTPUTS
    for name in sorted(given.keys() - known):
        yield Fault(name, f"no template has such a parameter{nearest(name, known)}")


def _wrong(given: Mapping[str, str], parts: list[Part]) -> Iterator[Fault]:
    switched_off = {part.switch for part in PARTS if part.switch and given.get(part.switch) == NONE}
    for name, value in sorted((name, value) for name, value in given.items() if name not in switched_off):
        # What no part here takes is still put out, and has to be what it would be elsewhere.
        declared = [part.parameters[name] for part in parts if name in part.parameters]
        elsewhere = [part.parameters[name] for part in PARTS if name in part.parameters][:1]
        wrong = (allowed for each in declared or elsewhere if (allowed := _not_allowed(value, each)))
        if allowed := next(wrong, None):
            yield Fault(name, f"must be {allowed}, not {value!r}")
    for part in PARTS:
        if part.switch and part.switch not in part.parameters and given.get(part.switch, "yes") not in ("yes", NONE):
            yield Fault(part.switch, f"must be yes or none, not {given[part.switch]!r}")


def _not_allowed(value: str, declared: Tree) -> str | None:
    """What is allowed where this is not, as CloudFormation would have it."""
    if (values := declared.get("AllowedValues")) and value not in map(str, values):
        return f"one of {', '.join(map(str, values))}"
    if (pattern := declared.get("AllowedPattern")) is not None and not re.fullmatch(pattern, value):
        return f"like {pattern}"
    if declared["Type"] == "Number":
        least, most = declared.get("MinValue", 0), declared.get("MaxValue", float("inf"))
        if not (value.isdecimal() and least <= int(value) <= most):
            return f"a whole number from {least} on" + (f" to {most}" if "MaxValue" in declared else "")
    return None


def _missing(given: Mapping[str, str], parts: list[Part]) -> Iterator[Fault]:
    had = given.keys() | {name for part in parts for name in part.outputs}
    for part in PARTS:
        ours = part.outputs.keys() & ACCOUNT_OUTPUTS
        if part not in parts and (some := sorted(given.keys() & ours)):
            for name in sorted(ours - had):
                yield Fault(name, f"must be given too, since {some[0]} is")
            had |= ours
    for part in parts:
        for name, declared in part.parameters.items():
            if name not in had and "Default" not in declared:
                yield Fault(name, f"must be given: {part.name} needs it, and nothing here makes it")
        had |= part.parameters.keys()


def _unused(given: Mapping[str, str], parts: list[Part]) -> Iterator[Fault]:
    used = {name for part in parts for name in part.parameters} | {part.switch for part in PARTS} | ACCOUNT_OUTPUTS
    for name in sorted(given.keys() - used):
        if owners := [part.name for part in PARTS if name in part.parameters]:
            yield Fault(name, f"is for {', '.join(owners)}, left out here. To forget it: --parameter {name}=")


def _wired(tree: Any, made: Mapping[str, Any]) -> Any:
    """The tree with what other parts put out in the place of the parameters of the same names."""
    if isinstance(tree, list):
        return [_wired(item, made) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if len(tree) == 1:
        ((function, value),) = tree.items()
        if function == "Ref" and value in made:
            return made[value]
        if function == "Fn::Sub" and isinstance(value, str):
            names = [name for name in re.findall(r"\$\{([A-Za-z0-9]+)\}", value) if name in made]
            return {"Fn::Sub": [value, {name: made[name] for name in names}]} if names else tree
    return {key: _wired(item, made) for key, item in tree.items()}
