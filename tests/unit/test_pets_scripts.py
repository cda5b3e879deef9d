"""What can be said of the Pets scripts and jobs without torch."""

import ast
import difflib
import importlib.util
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from tests.scripts import imported
from training_job.job_file import read_job

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "entrypoints" / "pets"
JOBS = sorted(path for path in FOLDER.glob("*.toml") if path.stem != "compare")
NOW = datetime(2026, 11, 21, tzinfo=UTC)


def _compare() -> ModuleType:
    spec = importlib.util.spec_from_file_location("compare_pets", FOLDER / "compare.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _arguments() -> set[str]:
    """The names of the options that arguments.py adds, read without importing it: it imports torch."""
    calls = (node for node in ast.walk(ast.parse((FOLDER / "arguments.py").read_text())) if isinstance(node, ast.Call))
    return {
        str(call.args[0].value).removeprefix("--")
        for call in calls
        if isinstance(call.func, ast.Attribute)
        and call.func.attr == "add_argument"
        and isinstance(call.args[0], ast.Constant)
    }


class _Torch(ModuleType):
    """As much of torch as asks for GPUs, on a host that has so many; keeps which one was taken."""

    def __init__(self, gpus: int) -> None:
        super().__init__("torch")
        self.taken: list[int] = []
        self.threads: list[int] = []
        self.cuda = SimpleNamespace(device_count=lambda: gpus, set_device=self.taken.append)
        self.device = lambda *words: words
        self.set_num_threads = self.threads.append


@pytest.mark.parametrize(("gpus", "device", "taken"), [(8, ("cuda", 3), [3]), (0, ("cpu",), [])])
def test_a_rank_takes_the_gpu_of_its_own_number_or_a_part_of_the_cores(
    monkeypatch: pytest.MonkeyPatch, gpus: int, device: tuple[object, ...], taken: list[int]
) -> None:
    monkeypatch.setitem(sys.modules, "torch", torch := _Torch(gpus))

    with imported(FOLDER, "machine") as machine:
        assert machine.own_share(3, 8) == device

    assert torch.taken == taken
    assert len(torch.threads) == (0 if gpus else 1)


def test_a_rank_without_a_gpu_of_its_own_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", _Torch(2))

    with (
        imported(FOLDER, "machine") as machine,
        pytest.raises(ValueError, match=r"this host has 2 GPU\(s\) for its 4 ranks: each needs its own"),
    ):
        machine.own_share(2, 4)


def test_the_scripts_for_ddp_and_smddp_differ_in_words_an_import_and_the_backend() -> None:
    ddp, smddp = ((FOLDER / f"train_{name}.py").read_text().splitlines() for name in ("ddp", "smddp"))

    changed = [line for line in difflib.ndiff(ddp, smddp) if line[0] in "+-"]

    code = [line.partition("#")[0].strip() for line in changed if "import" in line or "(" in line]
    assert len(changed) <= 7
    assert code == [
        "+ import smdistributed.dataparallel.torch.torch_smddp",
        '-     dist.init_process_group("nccl" if device.type == "cuda" else "gloo")',
        '+     dist.init_process_group("smddp")',
    ]


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_every_job_starts_a_script_that_is_there_with_arguments_that_it_knows(path: Path) -> None:
    job = read_job(path, now=NOW, region="us-west-2")
    given = job.hyper_parameters or {}
    own = {name for name in given if not name.startswith("sagemaker_")}

    assert (FOLDER / Path(given["sagemaker_program"].strip('"')).name).is_file()
    assert own <= _arguments()
    assert str(job.algorithm_specification.training_image) == "homeport/pytorch"


@pytest.mark.parametrize("way", ["ddp", "smddp", "horovod"])
def test_a_way_comes_in_three_sizes_with_the_workshops_batch_and_rate(way: str) -> None:
    smoke, large, larger = (
        read_job(FOLDER / f"{way}{size}.toml", now=NOW, region="us-west-2") for size in ("", "_p3", "_2xp3")
    )

    resources = [job.resource_config for job in (smoke, large, larger)]
    assert {each.instance_type for each in resources} == {"ml.p3.16xlarge"}
    assert [each.instance_count for each in resources] == [1, 1, 2]
    for job in (large, larger):
        given = job.hyper_parameters or {}
        assert [given[name] for name in ("model", "batch-size", "size", "epochs", "learning-rate")] == [
            '"resnext101_32x8d"',
            "80",
            "128",
            "5",
            "1e-05",
        ]


def test_a_comparison_prints_the_last_metrics_of_each_job_and_dashes_for_what_it_lacks() -> None:
    compare = _compare()
    ran = {
        "TrainingJobStatus": "Completed",
        "TrainingTimeInSeconds": 41,
        "ResourceConfig": {"InstanceCount": 2},
        "FinalMetricDataList": [{"MetricName": "Test_Prec@1", "Value": 97.29729}],
    }

    rows = [compare.row("ddp.toml", ran, ["Test_Prec@1", "Train_Speed"]), compare.row("smddp.toml", {}, ["a", "b"])]

    assert compare.table(["way", "status", "hosts", "seconds", "accuracy %", "images/s"], rows) == (
        "way    status       hosts  seconds  accuracy %  images/s\n"
        "ddp    Completed        2       41        97.3         -\n"
        "smddp  not started      -        -           -         -"
    )


@pytest.mark.parametrize("text", ["", "jobs = 5", "jobs = [", None])
def test_a_comparison_that_says_nothing_is_refused_in_words(
    tmp_path: Path, text: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "compare.toml"
    if text is not None:
        path.write_text(text)

    with pytest.raises(SystemExit) as ended:
        _compare().main([str(path)])

    assert ended.value.code == 2
    assert "names no jobs and columns" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("image", "framework"),
    [("homeport/pytorch", "pytorch"), ("homeport/tensorflow:cpu", "tensorflow"), ("mine/pytorch", "")],
)
def test_make_builds_the_image_that_a_job_runs_in(tmp_path: Path, image: str, framework: str) -> None:
    base = tmp_path / "base.toml"
    base.write_text(f'name = "x"\nimage = "{image}"\ninstance_type = "ml.p3.2xlarge"\nentry_point = "a.py"\n')
    job = tmp_path / "job.toml"
    job.write_text('extends = "base.toml"\n')

    command = [sys.executable, ROOT / "docker" / "framework_of.py", job]
    done = subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == framework


def test_make_says_what_is_wrong_with_a_job_file_and_builds_nothing(tmp_path: Path) -> None:
    job = tmp_path / "job.toml"
    job.write_text(json.dumps({"TrainingJobName": 5}))

    command = [sys.executable, ROOT / "docker" / "framework_of.py", job]
    done = subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
