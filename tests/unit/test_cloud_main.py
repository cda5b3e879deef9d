"""homeport-cloud: plan asks nobody, and the commands load what they need and no more."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cloud.__main__ import main

ROOT = Path(__file__).parents[2]
JOB = """
name = "x"
image = "homeport/tensorflow"
instance_type = "ml.p3.16xlarge"
instance_count = 2
max_run = 7200
environment = { API_TOKEN = "hush" }
[inputs]
train = "fsx://training-data/train"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HOMEPORT_FILE", "HOMEPORT_RUNS", "HOMEPORT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job.toml").write_text(JOB)
    return tmp_path


def test_a_plan_is_the_request_its_price_and_what_is_not_known_yet(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "job.toml", "--name", "mine"]) == 0

    out = capsys.readouterr().out
    assert out.startswith(
        "mine · ml.p3.16xlarge × 2 · <homeport/tensorflow:gpu by digest, once pushed> · us-west-2, stack homeport\n"
    )
    assert '"RoleArn": "<RoleArn of stack homeport>"' in out
    assert '"DirectoryPath": "/<FsxMountName of stack homeport>/train"' in out
    assert "price        $56.30 an hour, at most $112.61 for max_run (2 h 0 min)" in out
    assert "hush" not in out
    assert [path.name for path in folder.iterdir()] == ["job.toml"]


@pytest.mark.usefixtures("folder")
def test_what_homeport_toml_names_is_in_the_plan(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "homeport.toml").write_text(
        '[cloud]\nregion = "eu-west-1"\nrole = "arn:aws:iam::123456789012:role/Mine"\nbucket = "my-bucket"\n'
        '[cloud.file_systems.training-data]\nid = "fs-0123456789abcdef0"\nmount_name = "abc"\n'
    )

    main(["plan", "job.toml", "--json"])

    request = json.loads(capsys.readouterr().out)
    assert request["RoleArn"] == "arn:aws:iam::123456789012:role/Mine"
    assert request["OutputDataConfig"]["S3OutputPath"] == "s3://my-bucket/jobs"
    source = request["InputDataConfig"][0]["DataSource"]["FileSystemDataSource"]
    assert (source["FileSystemId"], source["DirectoryPath"]) == ("fs-0123456789abcdef0", "/abc/train")


@pytest.mark.usefixtures("folder")
def test_a_type_without_a_price_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    main(["plan", "job.toml", "--instance-type", "ml.p5.48xlarge"])

    assert "price        of ml.p5.48xlarge is not in the table" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [[], ["trian"], ["plan"], ["stack"], ["data"], ["data", "push"], ["compare", "a"], ["list", "--limit", "many"]],
)
def test_a_wrong_command_is_exit_2(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)

    assert left.value.code == 2
    assert "usage: homeport-cloud" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", ["['--help']", "['plan', 'job.toml']"])
@pytest.mark.usefixtures("folder")
def test_neither_help_nor_plan_loads_boto3_or_docker(arguments: str) -> None:
    program = f"""
import sys
from cloud.__main__ import main
try:
    main({arguments})
except SystemExit:
    pass
assert not {{"boto3", "botocore", "docker", "yaml"}} & set(sys.modules), sorted(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True, env={"PYTHONPATH": str(ROOT)}, capture_output=True)


def test_nothing_of_the_cloud_is_loaded_on_the_local_path() -> None:
    program = """
import sys
from local_mode.__main__ import main
from local_mode import commands, job_commands
assert not [name for name in sys.modules if name.partition(".")[0] in ("cloud", "boto3")]
"""
    subprocess.run([sys.executable, "-c", program], check=True, env={"PYTHONPATH": str(ROOT)}, capture_output=True)
