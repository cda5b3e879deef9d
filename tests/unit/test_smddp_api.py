"""SMDDP's emulation has every name that AWS documents, by its source: that needs neither TensorFlow nor torch."""

import ast
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "docker" / "smdistributed" / "smdistributed" / "dataparallel"


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


DOCUMENTED = _load(ROOT / "tests" / "in_container" / "inside" / "smddp_documented.py")


def _signatures(module: str) -> dict[str, str]:
    """The public functions of a module, and its classes by their constructors, as text."""
    found = {}
    for node in ast.parse((PACKAGE / module).read_text()).body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            found[node.name] = ast.unparse(node.args)
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            made = [each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"]
            found[node.name] = ast.unparse(made[0].args).removeprefix("self, ") if made else ""
    return found


@pytest.mark.parametrize("name", DOCUMENTED.TENSORFLOW)
def test_tensorflow_has_every_documented_signature(name: str) -> None:
    assert _signatures("tensorflow/__init__.py")[name] == DOCUMENTED.TENSORFLOW[name]


@pytest.mark.parametrize("name", DOCUMENTED.TORCH)
def test_torch_has_every_documented_signature(name: str) -> None:
    assert _signatures("torch/distributed.py")[name] == DOCUMENTED.TORCH[name]


def test_torchs_ddp_has_its_documented_signature() -> None:
    found = _signatures("torch/parallel/distributed.py")

    assert found["DistributedDataParallel"] == DOCUMENTED.TORCH_DDP


def test_nothing_is_public_that_aws_does_not_document() -> None:
    assert set(_signatures("tensorflow/__init__.py")) == {*DOCUMENTED.TENSORFLOW, "Compression"}
    assert set(_signatures("torch/distributed.py")) == {*DOCUMENTED.TORCH, "group"}


def test_the_exceptions_are_all_that_their_module_holds() -> None:
    exceptions = _load(PACKAGE / "exceptions.py")

    public = [getattr(exceptions, name) for name in dir(exceptions) if not name.startswith("__")]

    assert public
    assert all(issubclass(each, Exception) for each in public)


def test_smddprun_leaves_alone_what_mpirun_did_not_start() -> None:
    assert _load(PACKAGE / "launch.py").rank_environment({"PATH": "/bin"}) == {}
