"""Which names say that their value is secret: …TOKEN, …KEY, …SECRET, …PASSWORD. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "********"
_SECRET = re.compile(r"(TOKEN|KEY|SECRET|PASSWORD)$", re.IGNORECASE)


def is_secret(name: str) -> bool:
    """Whether the value of this name is to be shown nowhere. `Key` alone is the word of SageMaker's tags."""
    return bool(_SECRET.search(name)) and name != "Key"


def masked(value: Any, name: str = "") -> Any:
    """`value` with every text whose name says that it is secret hidden."""
    if isinstance(value, Mapping):
        return {key: masked(inner, str(key)) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [masked(inner, name) for inner in value]
    return HIDDEN if isinstance(value, str) and is_secret(name) else value
