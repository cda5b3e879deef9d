"""The training programs' own modules, outside their images."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest


@contextmanager
def imported(folder: Path, name: str) -> Iterator[ModuleType]:
    """A module of a folder, imported as its scripts import it; it and its siblings are forgotten again.

    Folders have modules of the same names. What they import from elsewhere stays: a module of Python's that is loaded
    twice is two.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        try:
            yield importlib.import_module(name)
        finally:
            for each, module in list(sys.modules.items()):
                if str(getattr(module, "__file__", "")).startswith(f"{folder}/"):
                    del sys.modules[each]
