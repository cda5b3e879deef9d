"""The CloudFormation templates that lie beside this module, each read as CloudFormation reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml  # type: ignore[import-untyped]

Tree = dict[str, Any]
"""A template, or a piece of one, as JSON has it."""


@dataclass(frozen=True)
class Part:
    """One concern of a stack: a template, and what leaves it out.

    A parameter of the same name as another part's output is that output; that is all the parts know of each other.
    """

    name: str
    switch: str | None = None
    """The choice whose value `none` leaves the part out; a parameter of the part, or a name of its own."""
    default: str = "yes"
    """The choice where nobody makes one."""
    follows: str | None = None
    """The part without which it is left out too, unless it is asked for."""

    @property
    def template(self) -> Tree:
        """Its template. Not to be changed."""
        return _template(self.name)

    @property
    def parameters(self) -> Mapping[str, Tree]:
        """Its parameters, as they are declared."""
        parameters: Mapping[str, Tree] = self.template.get("Parameters", {})
        return parameters

    @property
    def outputs(self) -> Mapping[str, Tree]:
        """What it puts out."""
        outputs: Mapping[str, Tree] = self.template.get("Outputs", {})
        return outputs


NONE = "none"
PARTS = (
    Part("network"),
    Part("endpoints", "InterfaceEndpoints", follows="network"),
    Part("nat", "Nat", NONE),
    Part("storage"),
    Part("registry", "Repositories"),
    Part("role"),
    Part("file_system", "FsxDeploymentType", "SCRATCH_2"),
    Part("efs", "Efs", NONE),
    Part("notebook", "NotebookInstanceType", NONE),
    Part("budget", "BudgetEmail", NONE),
)


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML with CloudFormation's short forms: `!Ref X` is {"Ref": "X"}, `!Sub X` is {"Fn::Sub": "X"}."""


def _short_form(loader: _Loader, name: str, node: yaml.Node) -> Tree:
    if isinstance(node, yaml.SequenceNode):
        value: Any = loader.construct_sequence(node, deep=True)
    elif isinstance(node, yaml.MappingNode):
        value = loader.construct_mapping(node, deep=True)
    else:
        value = loader.construct_scalar(node)
    if name == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {name if name in ("Ref", "Condition") else f"Fn::{name}": value}


_Loader.add_multi_constructor("!", _short_form)


@cache
def _template(name: str) -> Tree:
    text = files("cloud").joinpath("cloudformation", f"{name}.yaml").read_text(encoding="utf-8")
    template: Tree = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    return template
