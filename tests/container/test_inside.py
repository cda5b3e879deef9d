"""What a container of a job finds: files, names, network, data; and what goes in and out of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from docker import APIClient

from tests.container.conftest import SHELL, Shell, printed, wait_for

# As in the cloud, a name may not resolve at once.
BOTH_RESOLVE = "until [ $(getent hosts algo-1 algo-2 | wc -l) = 2 ]; do sleep 0.05; done"


def test_the_tree_is_sagemakers(shell: Shell) -> None:
    ran = shell.train(shell.job("cd /opt/ml; find . -printf '%M %U %p\\n' | sort -k3; pwd; tty; id -u"))

    assert ran.log().splitlines() == [
        "drwxr-xr-x 0 .",
        "drwxr-xr-x 0 ./input",
        "drw-r--r-- 0 ./input/config",
        "-rw-r--r-- 0 ./input/config/hyperparameters.json",
        "-rw-r--r-- 0 ./input/config/inputdataconfig.json",
        "-rw-r--r-- 0 ./input/config/resourceconfig.json",
        "drwxr-xr-x 0 ./input/data",
        "drwxr-xr-x 0 ./model",
        "drwxr-xr-x 0 ./output",
        "drwxr-xr-x 0 ./output/data",
        "drwxr-xr-x 0 ./output/metrics",
        "drwxr-xr-x 0 ./output/metrics/sagemaker",
        "/opt/ml",
        "not a tty",
        "0",
    ]


@pytest.mark.effect("ResourceConfig.InstanceCount")
def test_hosts_find_each_other_by_name_and_are_called_as_in_ec2(shell: Shell) -> None:
    more = '[inputs]\nseen = { uri = "fsx://training-data", access = "rw" }'
    stay = "cd /opt/ml/input/data/seen; touch $HOST; until [ -e algo-1 -a -e algo-2 ]; do sleep 0.05; done"
    script = f"{BOTH_RESOLVE}; getent hosts algo-1 algo-2 | wc -l; hostname; ls /sys/class/net | xargs; {stay}"
    ran = shell.train(shell.job(script, hosts=2, more=more))

    assert ran.log("algo-1").splitlines() == ["2", "ip-10-0-1-10.us-west-2.compute.internal", "eth0 lo"]
    assert ran.log("algo-2").splitlines()[1] == "ip-10-0-1-11.us-west-2.compute.internal"


def test_each_host_has_its_own_model_directory_and_collisions_are_named(shell: Shell) -> None:
    script = (
        "mkdir /opt/ml/model/s; echo $HOST > /opt/ml/model/same; echo $HOST > /opt/ml/model/s/$HOST; ls /opt/ml/model"
    )

    ran = shell.train(shell.job(script, hosts=2))

    assert ran.packed() == {"same": b"algo-1\n", "s/algo-1": b"algo-1\n", "s/algo-2": b"algo-2\n"}
    assert "model.tar.gz: same was written by algo-1, algo-2; algo-1's was kept" in ran.out
    assert "s was written" not in ran.out


@pytest.mark.effect("AlgorithmSpecification.TrainingImage")
def test_what_the_image_baked_into_the_model_directory_is_not_seen(
    shell: Shell, api: APIClient, tmp_path: Path
) -> None:
    recipe = f"FROM {SHELL}\nRUN mkdir -p /opt/ml/model /opt/ml/code && touch /opt/ml/model/baked /opt/ml/code/baked\n"
    (tmp_path / "context").mkdir()
    (tmp_path / "context" / "Dockerfile").write_text(recipe)
    list(api.build(path=str(tmp_path / "context"), tag="homeport-test/baked:1", rm=True))
    try:
        ran = shell.train(shell.job("ls /opt/ml/model /opt/ml/code"), "--set", "image=homeport-test/baked:1")
    finally:
        api.remove_image("homeport-test/baked:1")

    assert ran.log().split() == ["/opt/ml/code:", "baked", "/opt/ml/model:"]


@pytest.mark.effect("InputDataConfig.DataSource.FileSystemDataSource.FileSystemAccessMode")
def test_a_read_only_file_system_refuses_to_be_written(shell: Shell) -> None:
    (shell.folder / "fsx" / "train").mkdir()
    (shell.folder / "fsx" / "train" / "a").write_text("data")
    more = '[inputs]\ntrain = { uri = "fsx://training-data/train", access = "ro" }'

    ran = shell.train(shell.job("cat /opt/ml/input/data/train/a; touch /opt/ml/input/data/train/b", more=more))

    assert ran.code == 1
    assert "Read-only file system" in ran.log()
    assert "data" in ran.log()
    assert [path.name for path in (shell.folder / "fsx" / "train").iterdir()] == ["a"]


@pytest.mark.effect(
    "InputDataConfig.DataSource.FileSystemDataSource.DirectoryPath",
    "InputDataConfig.DataSource.FileSystemDataSource.FileSystemType",
)
@pytest.mark.parametrize("uri", ["fsx://training-data/shared", "efs://home/shared"])
def test_a_file_system_is_live_between_hosts(shell: Shell, uri: str) -> None:
    folder = shell.folder / ("fsx" if uri.startswith("fsx") else "efs") / "shared"
    folder.mkdir()
    script = """cd /opt/ml/input/data/shared
    if [ $HOST = algo-1 ]; then echo hello > note; while [ ! -e answer ]; do sleep 0.05; done
    else while [ ! -e note ]; do sleep 0.05; done; cat note; touch answer; fi"""
    more = f'[inputs]\nshared = {{ uri = "{uri}", access = "rw" }}'

    ran = shell.train(shell.job(script, hosts=2, more=more), timeout=60)

    assert ran.code == 0, ran.out
    assert ran.log("algo-2") == "hello\n"
    assert sorted(path.name for path in folder.iterdir()) == ["answer", "note"]


@pytest.mark.effect("EnableNetworkIsolation")
def test_an_isolated_job_has_an_internal_network_and_its_peers(shell: Shell, api: APIClient) -> None:
    script = f"{BOTH_RESOLVE}; echo peer; while [ ! -e /opt/ml/input/data/sync/go ]; do sleep 0.1; done"
    more = 'enable_network_isolation = true\n[inputs]\nsync = "fsx://training-data"'
    name, process = shell.begin(shell.job(script, hosts=2, more=more))
    wait_for(printed(shell.folder / "runs" / name, "peer"))

    internal = api.inspect_network(f"homeport-{name}")["Internal"]
    (shell.folder / "fsx" / "go").touch()

    assert internal
    assert shell.end(name, process).code == 0


@pytest.mark.effect("AlgorithmSpecification.ContainerEntrypoint", "AlgorithmSpecification.ContainerArguments")
def test_entrypoint_and_arguments_replace_train_as_sagemaker_has_it(shell: Shell) -> None:
    for more, said in (
        ('container_entry_point = ["echo", "entry"]', "entry"),
        ('container_entry_point = ["echo"]\ncontainer_arguments = ["a", "b c"]', "a b c"),
        ('container_arguments = ["echo", "only"]', "only"),
    ):
        path = shell.job("true")
        path.write_text(f"{more}\n{path.read_text()}")

        assert shell.train(path).log().strip() == said


@pytest.mark.effect("ResourceConfig.InstanceType")
def test_virtual_gpus_are_listed_where_the_toolkits_count(shell: Shell) -> None:
    ran = shell.train(
        shell.job("nvidia-smi --list-gpus | grep -c '^GPU '"),
        "--instance-type",
        "ml.p3.16xlarge",
        "--virtual-gpus",
        "8",
    )

    assert ran.log() == "8\n"
    assert "8 virtual" in ran.out


@pytest.mark.effect("AlgorithmSpecification.MetricDefinitions")
def test_metrics_are_read_from_the_log(shell: Shell) -> None:
    more = "metric_definitions = [{ name = 'loss', regex = 'loss: ([0-9.]+)' }, { name = 'none', regex = 'x(y)z' }]"
    path = shell.job("echo 'loss: 0.5'; echo 'loss: 0.25 '")
    path.write_text(f"{more}\n{path.read_text()}")

    ran = shell.train(path)

    assert [(entry["MetricName"], entry["Value"]) for entry in ran.description["FinalMetricDataList"]] == [
        ("loss", 0.25)
    ]
    series = [json.loads(line) for line in (ran.folder / "metrics.jsonl").read_text().splitlines()]
    assert [entry["Value"] for entry in series] == [0.5, 0.25]
    assert "none: no line matched its regex" in ran.out


@pytest.mark.effect("Environment")
def test_secrets_are_written_nowhere(shell: Shell) -> None:
    path = shell.job("test ${#MY_API_TOKEN} = 14")
    text = path.read_text().replace("environment = {", 'environment = { MY_API_TOKEN = "planted-secret",')
    path.write_text(text)

    ran = shell.train(path)

    assert ran.code == 0
    assert not [file for file in ran.folder.rglob("*") if file.is_file() and b"planted-secret" in file.read_bytes()]
    assert "planted-secret" not in ran.out + ran.err


def test_the_same_work_gives_the_same_archive(shell: Shell) -> None:
    script = """cd /opt/ml/model; echo w > w; ln -s w l; mkfifo p; touch -hd 2026-01-01 w l"""

    first, second = (shell.train(shell.job(script)) for _ in range(2))

    assert (first.folder / "output/model.tar.gz").read_bytes() == (second.folder / "output/model.tar.gz").read_bytes()
    with tarfile.open(first.folder / "output/model.tar.gz") as archive:
        assert {member.name: member.linkname for member in archive} == {"w": "", "l": "w"}


def test_a_person_who_is_not_root_owns_what_a_root_container_wrote(shell: Shell) -> None:
    """Only where this runs as root can it become somebody else; a person's own run shows it by itself."""
    if os.getuid() != 0:
        ran = shell.train(shell.job("echo w > /opt/ml/model/w"))
        assert {path.stat().st_uid for path in ran.folder.rglob("*")} == {os.getuid()}
        return
    nobody = 65534
    runs = shell.folder / "theirs"
    runs.mkdir()
    os.chown(runs, nobody, nobody)
    job = shell.job("echo w > /opt/ml/model/w; chmod 600 /opt/ml/model/w")
    program = (
        "import encodings.utf_8_sig, os, sys; from local_mode.__main__ import main; import local_mode.commands; "
        f"os.setgroups([os.stat('/var/run/docker.sock').st_gid]); os.setuid({nobody}); "
        f"sys.exit(main(['train', {str(job)!r}, '--runs', {str(runs)!r}, '--name', 'theirs']))"
    )
    for folder in (shell.folder, *shell.folder.parents):
        if folder.stat().st_uid == 0 and folder != Path("/") and "pytest" in str(folder):
            folder.chmod(0o755)

    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=shell.folder,
        env=os.environ | {"HOME": str(runs), "HOMEPORT_STATE": str(runs / "state")},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    assert {path.stat().st_uid for path in (runs / "theirs").rglob("*")} == {nobody}
