"""The SageMaker SDKs, unmodified, send what docs/sdk.md says: the job that the job file is."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import sagemaker_sdk
from cloud.__main__ import main
from tests.cloud.sagemaker_front import Front, served

ROOT = Path(__file__).parents[2]
V3 = {"sagemaker-train": "1.27.0", "sagemaker-core": "2.27.0"}
SAME = ("AlgorithmSpecification", "InputDataConfig", "OutputDataConfig", "ResourceConfig", "RoleArn", "VpcConfig")
IMAGE = f"123456789012.dkr.ecr.us-west-2.amazonaws.com/homeport/tensorflow@sha256:{'a' * 64}"
ACCOUNT = """
[cloud]
region = "us-west-2"
role = "arn:aws:iam::123456789012:role/Trainer"
bucket = "my-bucket"
subnets = ["subnet-0123456789abcdef0"]
security_groups = ["sg-0123456789abcdef0"]

[cloud.file_systems.training-data]
id = "fs-0123456789abcdef0"
mount_name = "fsx"
"""
# The SDKs ask STS, whose address they make themselves, for a bucket unless they are told one.
SETTINGS = """
SchemaVersion: '1.0'
SageMaker:
  PythonSDK:
    Modules:
      TelemetryOptOut: true
      Session:
        DefaultS3Bucket: my-bucket
"""


def v2() -> Path:
    """The Python that has SDK v2; made where it is not there yet."""
    assert not (why := sagemaker_sdk.install()), why
    return sagemaker_sdk.PYTHON


def v3() -> Path:
    """The Python that has SDK v3."""
    place = ROOT / f".cache/sagemaker-train-{V3['sagemaker-train']}"
    python = place / "bin/python"
    if not (place / ".whole").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True)
        wanted = [f"{name}=={version}" for name, version in V3.items()]
        subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted], check=True)
        (place / ".whole").touch()
    return python


@pytest.mark.nightly
@pytest.mark.parametrize(("number", "python"), [(0, v2), (1, v3)], ids=["v2", "v3"])
def test_the_sdk_sends_the_job_files_request(
    number: int, python: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = re.findall(r"```python\n(.*?)```", (ROOT / "docs/sdk.md").read_text(), re.DOTALL)[number]
    interpreter = python()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "settings.yaml").write_text(SETTINGS)
    (tmp_path / "homeport.toml").write_text(ACCOUNT)
    (tmp_path / "job.toml").write_text(f'extends = "{ROOT}/entrypoints/cifar10/horovod.toml"\nimage = "{IMAGE}"\n')
    main(["plan", "job.toml", "--json"])
    ours = json.loads(capsys.readouterr().out)
    front = Front()

    with served(front) as url:
        environment = os.environ | {
            "AWS_ENDPOINT_URL": url,
            "AWS_DEFAULT_REGION": "us-west-2",
            "SAGEMAKER_USER_CONFIG_OVERRIDE": str(tmp_path / "settings.yaml"),
            # moto has no SimulatePrincipalPolicy.
            "SAGEMAKER_VALIDATE_ROLE": "false",
        }
        words = [interpreter, "-c", script.replace("sha256:…", f"sha256:{'a' * 64}")]
        ran = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300, check=False)

    assert ran.returncode == 0, ran.stderr
    (job,) = front.jobs.values()
    theirs = job.request
    ours["AlgorithmSpecification"]["MetricDefinitions"] = [
        definition
        for definition in ours["AlgorithmSpecification"]["MetricDefinitions"]
        if definition["Name"] == "validation:accuracy"
    ]
    assert {name: theirs[name] for name in SAME} == {name: ours[name] for name in SAME}
    assert theirs["StoppingCondition"] == ours["StoppingCondition"]
    assert re.fullmatch("[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", theirs["TrainingJobName"])
    said = _decoded(theirs["HyperParameters"])
    assert said.items() <= _decoded(ours["HyperParameters"]).items()
    assert {"sagemaker_program", "sagemaker_mpi_enabled", "epochs"} < said.keys()


def _decoded(hyperparameters: dict[str, str]) -> dict[str, Any]:
    """As sagemaker-training reads them: JSON where they are, else text (mapping.py, decode)."""

    def value(text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError:
            return text

    return {name: value(text) for name, text in hyperparameters.items()}
