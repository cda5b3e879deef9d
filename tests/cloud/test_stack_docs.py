"""What docs/stacks.md says of commands and costs is so."""

import re
import shlex
from pathlib import Path

import pytest

from cloud.__main__ import _parser
from cloud.composition import compose
from cloud.prices import costs, total
from cloud.stack_commands import parameters_of
from cloud.templates import PARTS, Part

DOCS = (Path(__file__).parents[2] / "docs/stacks.md").read_text()
COMMANDS = [
    line for block in re.findall(r"```sh\n(.*?)```", DOCS, re.DOTALL) for line in block.replace("\\\n", "").splitlines()
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_one(command: str) -> None:
    program, *words = shlex.split(command, comments=True)

    asked = _parser().parse_args(words)

    assert program == ".venv/bin/homeport-cloud"
    given = parameters_of(getattr(asked, "parameter", []))
    assert compose({name: value for name, value in given.items() if value}).parts


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_the_cost_of_every_part_is_told(part: Part) -> None:
    told = re.search(rf"^\| `{part.name}` \|[^|]*\| ([^|]*) \|", DOCS, re.MULTILINE)
    assert told
    if told[1].startswith("$"):
        without = compose({})
        given = {"nat": {"Nat": "yes"}, "endpoints": {"InterfaceEndpoints": "none"}}
        other = compose(given.get(part.name, {"FsxDeploymentType": "none"}))
        difference = [total(costs(each.template, each.parameters)) for each in (without, other)]
        assert f"${abs(difference[0] - difference[1]):.3f}" == told[1]


def test_the_cost_of_the_defaults_is_told() -> None:
    composed = compose({})

    assert f"**${total(costs(composed.template, composed.parameters)):.3f} an hour**" in DOCS
