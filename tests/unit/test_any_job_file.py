"""Whatever stands in a job file, the answer is a job or a refusal that names its faults: never a traceback."""

import itertools
from contextlib import suppress
from pathlib import Path

import pytest

from tests.fakes import NOW, REGION
from training_job import estimator, inputs, script_mode
from training_job.errors import JobRefused
from training_job.job_file import Changes, read_job

VALUES = (
    "5", "-1", "1.5", "nan", "-inf", "true", '"x"', '""', r'"\u0000"', r'"a\nb"', "[]", "[1]", "[[{ a = [1] }]]",
    '["a"]', "[{ a = 1 }]", "{}", "{ a = 1 }", "{ a = { a = {} } }", "2026-01-01", "10:00:00", "2026-01-01T00:00:00Z",
    "9" * 30, '"é²[²].#1"', '"s3://b/p"', '"file:///"', '"fsx://a/../b"', '"ml.p3.2xlarge"',
)  # fmt: skip
DISTRIBUTIONS = [
    f"distribution.{name}{below}"
    for name, below in itertools.product(
        script_mode.DISTRIBUTIONS,
        ("", ".enabled", ".processes_per_host", ".custom_mpi_options", ".dataparallel", ".dataparallel.enabled"),
    )
]
REQUEST = [f"request.{name}" for name in ("ResourceConfig", "InputDataConfig", "HyperParameters", "Tags", "SourceDir")]
OTHERS = ["a..b", "a.[0]", "é²[²]", ".", "hyperparameters.a", "environment.a", "tags.a", "inputs.train", "inputs.code"]
CHANNEL = [f"inputs.train.{key}" for key in inputs.CHANNEL_KEYS]
BASE = {"name": '"x"', "image": '"i"', "instance_type": '"ml.p3.2xlarge"', "entry_point": '"a.py"'}


@pytest.mark.parametrize(
    ("key", "missing"),
    [
        *((key, "") for key in (*estimator.KEYS, *DISTRIBUTIONS, *REQUEST, *OTHERS, *CHANNEL)),
        *itertools.product(("request", "hyperparameters", "distribution", "inputs", "source_dir"), BASE),
    ],
)
def test_every_key_may_hold_anything(tmp_path: Path, key: str, missing: str) -> None:
    path = tmp_path / "job.toml"
    path.write_text("\n".join(f"{name} = {value}" for name, value in BASE.items() if name != missing))
    uri = ('inputs.train.uri="s3://b/p"',) if key in CHANNEL else ()
    for value in VALUES:
        changes = Changes(settings=(*uri, f"{key}={value}"))

        with suppress(JobRefused):
            read_job(path, now=NOW, region=REGION, changes=changes)


@pytest.mark.parametrize("key", ['"é²[²]"', '"a.b"', '""', '"a[0]"', '"#"', "hyperparameters.'é²[²]'", "inputs.'['"])
def test_a_key_may_be_any_text(tmp_path: Path, key: str) -> None:
    path = tmp_path / "job.toml"
    path.write_text("\n".join(f"{name} = {value}" for name, value in (BASE | {key: "5"}).items()))

    with suppress(JobRefused):
        read_job(path, now=NOW, region=REGION)
