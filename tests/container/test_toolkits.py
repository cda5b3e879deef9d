"""Jobs through the real SageMaker toolkits: script mode, MPI, the main CIFAR-10 job."""

from __future__ import annotations

import io
import json
import math
import re
import subprocess
import sys
import tarfile
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from docker import APIClient

from tests.container.conftest import ROOT, TENSORFLOW, Ran, Shell

CIFAR10 = ROOT / "entrypoints" / "cifar10"
EPOCHS = 6  # as horovod.toml has it
SYNCED_WITHIN = 7  # seconds: checkpoints are looked for every five
EPOCH = re.compile(r"epoch (\d+)/.*train_loss: ([0-9.]+)")


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The handwritten digits as the main job's data set, whatever the project's own data folder holds."""
    folder = tmp_path_factory.mktemp("fsx")
    prepare = [sys.executable, CIFAR10 / "prepare.py", folder / "cifar10", "--source", "digits"]
    subprocess.run(prepare, check=True)
    return folder


@pytest.fixture
def toolkits(api: APIClient, tmp_path: Path) -> Shell:
    """A place to run jobs of the TensorFlow image in; the image must be there."""
    return _place(api, tmp_path)


def _place(api: APIClient, folder: Path) -> Shell:
    assert api.images(TENSORFLOW), f"{TENSORFLOW} is not built: make image"
    return Shell(folder, TENSORFLOW)


def _script_job(shell: Shell, text: str, more: str = "") -> Path:
    source = shell.folder / "source"
    source.mkdir()
    (source / "train.py").write_text(text)
    path = shell.folder / "job.toml"
    path.write_text(
        f'name = "script"\nimage = "{TENSORFLOW}"\nentry_point = "train.py"\nsource_dir = "source"\n'
        f'instance_type = "ml.p3.16xlarge"\n{more}\n'
    )
    return path


@pytest.fixture(scope="session")
def main_job(api: APIClient, digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The main job as it stands, with two ranks."""
    return _cifar10(_place(api, tmp_path_factory.mktemp("main")), digits)


def _cifar10(shell: Shell, digits: Path, *arguments: str) -> Ran:
    (shell.folder / "homeport.toml").write_text(
        f'[local]\ncode = "{CIFAR10.parent}"\n'
        f'[local.file_systems.training-data]\nmount_name = "fsx"\npath = "{digits}"\n'
        '[local.buckets.bucket]\npath = "s3"\n'
    )
    return shell.train(CIFAR10 / "horovod.toml", *arguments)


def _epoch_ends(ran: Ran) -> list[datetime]:
    points = map(json.loads, (ran.folder / "metrics.jsonl").read_text().splitlines())
    return [datetime.fromisoformat(point["Timestamp"]) for point in points if point["MetricName"] == "train:loss"]


def _ranks(ran: Ran) -> list[dict[str, Any]]:
    packed = ran.packed("output.tar.gz")
    return sorted((json.loads(packed[name]) for name in packed if name.startswith("ranks/")), key=lambda r: r["rank"])


def test_a_script_finds_the_variables_the_toolkit_derives_from_our_files(toolkits: Shell) -> None:
    text = """
import json, os, sys
print(json.dumps({"env": {k: v for k, v in os.environ.items() if k.startswith("SM_")}, "argv": sys.argv[1:],
                  "here": os.getcwd()}), file=open(os.path.join(os.environ["SM_OUTPUT_DATA_DIR"], "found.json"), "w"))
"""
    more = '[hyperparameters]\nepochs = 3\nname = "a b"\nflag = true\n[inputs]\ntrain = "fsx://training-data"'

    ran = toolkits.train(_script_job(toolkits, text, more))

    assert ran.code == 0, ran.out
    found = json.loads(ran.packed("output.tar.gz")["found.json"])
    env = found["env"]
    assert found["argv"] == ["--epochs", "3", "--flag", "True", "--name", "a b"]
    assert found["here"] == "/opt/ml/code"
    assert env["SM_CURRENT_HOST"] == "algo-1"
    assert json.loads(env["SM_HOSTS"]) == ["algo-1"]
    assert env["SM_CURRENT_INSTANCE_TYPE"] == "ml.p3.16xlarge"
    assert env["SM_CURRENT_INSTANCE_GROUP"] == "homogeneousCluster"
    assert env["SM_NUM_GPUS"] == "2"
    assert env["SM_CHANNEL_TRAIN"] == "/opt/ml/input/data/train"
    assert json.loads(env["SM_CHANNELS"]) == ["code", "train"]
    assert json.loads(env["SM_HPS"]) == {"epochs": 3, "name": "a b", "flag": True}
    assert (env["SM_MODEL_DIR"], env["SM_OUTPUT_DATA_DIR"]) == ("/opt/ml/model", "/opt/ml/output/data")
    assert json.loads(env["SM_RESOURCE_CONFIG"])["topology"] is None


def test_a_crashing_rank_fails_the_job_with_its_own_traceback(toolkits: Shell) -> None:
    text = """
from mpi4py import MPI
rank = MPI.COMM_WORLD.Get_rank()
if rank == 1:
    raise ValueError("the shard of rank 1 is empty")
MPI.COMM_WORLD.Barrier()
"""

    ran = toolkits.train(_script_job(toolkits, text, "[distribution.mpi]\nenabled = true\nprocesses_per_host = 2"))

    reason = ran.description["FailureReason"]
    assert (ran.code, ran.description["TrainingJobStatus"]) == (1, "Failed")
    assert reason.startswith("AlgorithmError: ")
    assert "the shard of rank 1 is empty" in reason
    assert reason.endswith(", exit code: 1")
    assert len(reason) <= 1024
    # mpirun labels every write, and Python writes a traceback's last line in pieces now and then.
    assert "the shard of rank 1 is empty" in ran.out


def test_eight_virtual_gpus_are_eight_ranks_by_the_toolkits_own_count(toolkits: Shell) -> None:
    text = """
import os
from mpi4py import MPI
local = os.environ["OMPI_COMM_WORLD_LOCAL_RANK"]
found = MPI.COMM_WORLD.gather((MPI.COMM_WORLD.Get_rank(), int(local), int(os.environ["SM_NUM_GPUS"])))
if found:
    open(os.path.join(os.environ["SM_OUTPUT_DATA_DIR"], "ranks"), "w").write(repr(found))
"""

    ran = toolkits.train(_script_job(toolkits, text, "[distribution.mpi]\nenabled = true"), "--virtual-gpus", "8")

    assert ran.code == 0, ran.out
    assert ran.packed("output.tar.gz")["ranks"].decode() == repr([(rank, rank, 8) for rank in range(8)])


def test_the_main_job_learns_with_two_ranks(main_job: Ran) -> None:
    ran = main_job
    metrics = {entry["MetricName"]: entry["Value"] for entry in ran.description["FinalMetricDataList"]}
    ranks = _ranks(ran)
    assert ran.code == 0, ran.out
    assert metrics["validation:accuracy"] >= 0.90
    assert metrics.keys() == {
        "train:loss",
        "train:accuracy",
        "validation:loss",
        "validation:accuracy",
        "images_per_second",
    }
    assert [(rank["rank"], rank["size"], rank["local_rank"], rank["host"]) for rank in ranks] == [
        (0, 2, 0, "algo-1"),
        (1, 2, 1, "algo-1"),
    ]
    assert len({rank["weights_sha256"] for rank in ranks}) == 1
    with tarfile.open(fileobj=io.BytesIO((ran.folder / "output" / "model.tar.gz").read_bytes())) as archive:
        assert "1/saved_model.pb" in archive.getnames()


# Its moments are the main job's own, which only a machine with nothing else to do keeps to.
@pytest.mark.nightly
def test_the_main_job_interrupted_twice_goes_on_from_its_checkpoints(
    toolkits: Shell, digits: Path, main_job: Ran
) -> None:
    """Interruptions come when the main job, that was not interrupted, had done two epochs and a sync had followed."""
    began = datetime.fromisoformat(main_job.description["TrainingStartTime"])
    first, *_, last = [(told - began).total_seconds() for told in _epoch_ends(main_job)]
    seconds = (last - first) / (EPOCHS - 1)
    # The machine may be half as fast by now, or twice.
    after = 1.5 * (first + seconds) + SYNCED_WITHIN
    epochs = math.ceil(2 * 3 * (2 + SYNCED_WITHIN / seconds))  # what three attempts do, so that two cannot
    (toolkits.folder / "s3").mkdir()

    ran = _cifar10(
        toolkits,
        digits,
        "--live-code",
        f"--interrupt-after={after:.1f},{after:.1f}",
        f"--set=hyperparameters.epochs={epochs}",
        "--set=checkpoint_s3_uri=s3://bucket/cifar10",
    )

    attempts = [EPOCH.findall(log) for log in ran.log().split("--- homeport: the job starts anew ---")]
    done = [int(epoch) for attempt in attempts for epoch, _ in attempt]
    (_, first_loss), (resumed_at, resumed_loss) = attempts[0][0], attempts[2][0]
    assert (ran.code, len(attempts)) == (0, 3), ran.out
    assert (sorted(set(done)), done[-1]) == (list(range(1, epochs + 1)), epochs)
    assert int(resumed_at) > 1
    assert float(resumed_loss) < float(first_loss) / 2
    assert "  interrupted 2 of 2 times: " in ran.out
    assert (toolkits.folder / "s3" / "cifar10" / f"epoch-{epochs}.index").exists()


@pytest.mark.effect("ResourceConfig.InstanceGroups")
def test_only_the_group_that_the_distribution_names_runs_mpi(toolkits: Shell) -> None:
    text = """
import os
size = int(os.environ.get("OMPI_COMM_WORLD_SIZE", "1"))
found = (os.environ["SM_CURRENT_INSTANCE_GROUP"], os.environ["SM_CURRENT_HOST"], int(os.environ["SM_NUM_GPUS"]), size)
rank = os.environ.get("OMPI_COMM_WORLD_RANK", "none")
open(os.path.join(os.environ["SM_OUTPUT_DATA_DIR"], f"{found[0]}-{rank}"), "w").write(repr(found))
"""
    job = _script_job(toolkits, text, "[distribution]\nmpi.enabled = true\ninstance_groups = ['dnn']")
    groups = (("data", "ml.c5.xlarge"), ("dnn", "ml.p3.16xlarge"))
    listed = ", ".join(
        f'{{ instance_group_name = "{name}", instance_type = "{kind}", instance_count = 1 }}' for name, kind in groups
    )
    job.write_text(job.read_text().replace('instance_type = "ml.p3.16xlarge"', f"instance_groups = [{listed}]", 1))

    ran = toolkits.train(job, "--virtual-gpus", "2")

    assert ran.code == 0, ran.out
    assert {name: content.decode() for name, content in ran.packed("output.tar.gz").items() if "-" in name} == {
        "data-none": repr(("data", "algo-1", 0, 1)),
        "dnn-0": repr(("dnn", "algo-2", 2, 2)),
        "dnn-1": repr(("dnn", "algo-2", 2, 2)),
    }
