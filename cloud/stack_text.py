"""Words for people about a stack: what changes, what goes, what it costs. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from cloud.prices import PRICES_OF, Cost, total
from cloud.stack_state import Change
from cloud.templates import Tree

_SIGNS = {"Add": "+", "Modify": "~", "Remove": "-"}
_HOLDS_DATA = {
    "AWS::S3::Bucket": "BucketName",
    "AWS::EFS::FileSystem": "EfsFileSystemId",
}


def change_lines(stack: str, changes: Sequence[Change]) -> Iterator[str]:
    """One line for each resource that is made, changed, replaced or removed."""
    yield f"stack {stack}: {len(changes)} changes"
    for change in changes:
        fate = "  (replaced by a new one, which is empty)" if change.replaced else ""
        yield f"  {_SIGNS.get(change.action, '?')} {change.resource:<24} {change.type}{fate}"


def cost_lines(found: Sequence[Cost]) -> Iterator[str]:
    """What it costs, one line for each resource that costs."""
    yield f"  costs ${total(found):.3f} an hour while it stands (prices of {PRICES_OF})"
    for cost in found:
        price = f"${cost.an_hour:.3f}" if cost.an_hour is not None else "by use"
        yield f"    {price:<8} {cost.resource}: {cost.why}"


def removal_lines(stack: str, template: Tree, resources: Mapping[str, str]) -> Iterator[str]:
    """What goes with a stack, and what stays since it holds data."""
    types = {name: resource["Type"] for name, resource in template["Resources"].items()}
    stays = [
        name for name in resources if template["Resources"].get(name, {}).get("DeletionPolicy", "Delete") != "Delete"
    ]
    goes = [name for name in resources if name not in stays]
    yield f"stack {stack}: {len(goes)} resources go, {len(stays)} stay"
    for name in goes:
        yield f"  - {name:<24} {resources[name]}"
    for name in stays:
        again = _HOLDS_DATA.get(types.get(name, ""))
        use = f"; used again with --parameter {again}={resources[name]}" if again else ""
        yield f"    {name:<24} {resources[name]} stays{use}"
    if stays:
        yield "  what stays, and what is in it, goes with: homeport-cloud cleanup --yes"
