"""The commands about jobs that are there, from their arguments to their exit code."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from local_mode import commands
from local_mode.__main__ import main
from local_mode.job_record import JobRecord
from local_mode.job_store import JobStore
from local_mode.records import run_record
from tests.fakes import NOW, WORKSTATION, FakeEngine, a_plan
from tests.stored import COMPLETED, a_record, of_another_computer
from training_job.errors import MachineCannot
from training_job.lifecycle import Outcome

ROOT = Path(__file__).parents[2]
FAILED = Outcome("Failed", "Failed", 1, "AlgorithmError: boom\nbang, exit code: 1", "algo-1")


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JobStore:
    """The store that the commands use. No engine answers them."""
    monkeypatch.setenv("HOMEPORT_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.chdir(tmp_path)
    return JobStore(tmp_path / "state")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def running(store: JobStore, runs: Path) -> Iterator[JobRecord]:
    """A job that goes on: its lock is held, here."""
    plan = a_plan(runs.parent)
    with run_record(plan) as record:
        job = a_record(runs, statuses=("Starting",))
        record.open(job.hosts)
        record.keep(plan)
        store.begin(job)
        yield job


def left(job: JobRecord) -> JobRecord:
    """The job, with its folder."""
    job.logs.mkdir(parents=True)
    (job.directory / "describe.json").write_text(job.told)
    for host in job.hosts:
        (job.logs / f"{host}.log").write_bytes(f"[1,mpirank:0,{host}]<stdout>:{host} ∞\r\nno end".encode())
    return job


def test_the_newest_job_is_listed_first(store: JobStore, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store.begin(a_record(runs, "first", outcome=COMPLETED, hosts=2))
    store.begin(a_record(runs, "second", outcome=FAILED, created=NOW + timedelta(hours=1)))

    assert main(["list"]) == 0

    assert capsys.readouterr().out.splitlines() == [
        "NAME    STATUS     SECONDARY  CREATED              DURATION  INSTANCES",
        "second  Failed     Failed     2026-11-21 11:15:30  2 s       ml.m5.xlarge × 1",
        "first   Completed  Completed  2026-11-21 10:15:30  2 s       ml.m5.xlarge × 2",
    ]


def test_a_list_can_be_shortened(store: JobStore, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        store.begin(a_record(runs, f"job-{number}", outcome=FAILED if number else COMPLETED))

    assert main(["list", "--status", "Failed", "--limit", "1"]) == 0

    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()] == ["NAME", "job-1"]
    assert err == "1 more: --limit N, or --limit 0 for all\n"


@pytest.mark.parametrize(("arguments", "told"), [([], "no jobs yet"), (["--status", "Failed"], "no Failed jobs yet")])
def test_no_jobs_are_told(capsys: pytest.CaptureFixture[str], arguments: list[str], told: str) -> None:
    assert main(["list", *arguments]) == 0

    out, err = capsys.readouterr()
    assert (out, told in err) == ("", True)


@pytest.mark.parametrize("arguments", [["list", "--limit"], ["prune", "--keep"]])
@pytest.mark.parametrize("number", ["-1", "x", "1.5"])
def test_a_wrong_number_is_exit_2(arguments: list[str], number: str) -> None:
    with pytest.raises(SystemExit) as left:
        main([*arguments, number])

    assert left.value.code == 2


def test_a_list_as_json_is_the_services_and_what_is_known_here(
    store: JobStore, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store.begin(a_record(runs, outcome=COMPLETED, gpus=("0",)))

    assert main(["list", "--json"]) == 0

    assert json.loads(capsys.readouterr().out) == {
        "TrainingJobSummaries": [
            {
                "TrainingJobName": "job-1",
                "TrainingJobArn": "arn:aws:sagemaker:us-west-2:000000000000:training-job/job-1",
                "CreationTime": "2026-11-21T10:15:30+00:00",
                "TrainingEndTime": "2026-11-21T10:15:32+00:00",
                "LastModifiedTime": "2026-11-21T10:15:32+00:00",
                "TrainingJobStatus": "Completed",
                "SecondaryStatus": "Completed",
                "Homeport": {
                    "Instances": [{"InstanceType": "ml.m5.xlarge", "InstanceCount": 1}],
                    "RunDirectory": str(runs / "job-1"),
                    "GPUs": ["0"],
                    "ExitCode": 0,
                },
            }
        ]
    }


def test_a_job_is_described_for_a_person(store: JobStore, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store.begin(a_record(runs, outcome=FAILED, gpus=("0", "1"), HyperParameters={"epochs": "3"}))

    assert main(["describe", "job-1"]) == 0

    assert capsys.readouterr().out.splitlines() == [
        "job-1 · Failed · ml.m5.xlarge × 1 · my/image",
        "  created              2026-11-21 10:15:30, 2 s in all",
        "  2026-11-21 10:15:30  Starting: Preparing the instances for training",
        "  2026-11-21 10:15:31  Training: Training image download completed. Training in progress.",
        "  2026-11-21 10:15:32  Failed: Training job failed",
        "  failed               AlgorithmError: boom",
        "  failed               bang, exit code: 1",
        "  exit code            1",
        "  billable             1 s",
        "  GPUs                 0,1",
        "  parameter            epochs = 3",
        f"  model                {(runs / 'job-1/output/model.tar.gz').as_uri()}",
        f"  folder               {runs}/job-1",
        "  ARN                  arn:aws:sagemaker:us-west-2:000000000000:training-job/job-1",
    ]


def test_a_job_that_goes_on_is_described_as_it_is(running: JobRecord, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", running.name, "--json"]) == 0

    answer = json.loads(capsys.readouterr().out)
    assert (answer["TrainingJobStatus"], answer["SecondaryStatus"]) == ("InProgress", "Starting")
    assert "EndTime" not in answer["SecondaryStatusTransitions"][-1]


@pytest.mark.parametrize("asked", ["cifar-1", "cif"])
def test_a_name_or_its_begin_is_enough(
    store: JobStore, runs: Path, capsys: pytest.CaptureFixture[str], asked: str
) -> None:
    for name in ("cifar-1", "pets-1"):
        store.begin(a_record(runs, name, outcome=COMPLETED))

    assert main(["describe", asked]) == 0

    assert capsys.readouterr().out.startswith("cifar-1 · Completed")


def test_a_whole_name_is_not_taken_for_the_begin_of_another(
    store: JobStore, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("cifar", "cifar-1"):
        store.begin(a_record(runs, name, outcome=COMPLETED))

    assert main(["describe", "cifar"]) == 0

    assert capsys.readouterr().out.startswith("cifar · Completed")


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("cifar", "cifar: 1 fault\n  2 jobs' names begin so: cifar-2, cifar-1"),
        ("cifer-1", "no job of this machine has that name; did you mean 'cifar-1'?"),
        ("", "no job of this machine has that name. homeport-local list"),
        ("c%", "no job of this machine has that name"),
    ],
)
@pytest.mark.parametrize("command", ["describe", "logs", "stop"])
def test_a_name_that_no_one_job_has_is_exit_2(
    store: JobStore, runs: Path, capsys: pytest.CaptureFixture[str], *, command: str, asked: str, told: str
) -> None:
    for number in (1, 2):
        store.begin(a_record(runs, f"cifar-{number}", outcome=COMPLETED, created=NOW + timedelta(hours=number)))

    assert main([command, asked]) == 2

    assert told in capsys.readouterr().err


def test_the_logs_of_all_hosts_are_shown_as_they_were(
    store: JobStore, runs: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    store.begin(left(a_record(runs, outcome=COMPLETED, hosts=2)))

    assert main(["logs", "job-1"]) == 0

    assert capfdbinary.readouterr().out.decode().splitlines() == [
        "algo-1 │ [0] algo-1 ∞",
        "algo-2 │ [0] algo-2 ∞",
        "algo-1 │ no end",
        "algo-2 │ no end",
    ]


def test_the_log_of_one_host_is_handed_on_byte_for_byte(
    store: JobStore, runs: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    job = left(a_record(runs, outcome=COMPLETED, hosts=2))
    store.begin(job)
    (job.logs / "algo-2.log").write_bytes(b"\xff\r\nno end")

    assert main(["logs", "job-1", "--host", "algo-2"]) == 0

    assert capfdbinary.readouterr().out == b"\xff\r\nno end"


def test_a_host_that_the_job_has_not_is_exit_2(store: JobStore, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store.begin(left(a_record(runs, outcome=COMPLETED)))

    assert main(["logs", "job-1", "--host", "algo-2"]) == 2

    assert "algo-2: is no host of job-1; it has algo-1" in capsys.readouterr().err


def test_logs_whose_folder_is_gone_are_told(store: JobStore, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store.begin(a_record(runs, outcome=COMPLETED))

    assert main(["logs", "job-1"]) == 3

    assert "the folder of job-1 is gone, and its logs with it" in capsys.readouterr().err


@pytest.mark.parametrize(("outcome", "status"), [(COMPLETED, "Completed"), (FAILED, "Failed")])
def test_a_job_that_has_ended_cannot_be_stopped(
    store: JobStore, runs: Path, capsys: pytest.CaptureFixture[str], outcome: Outcome, status: str
) -> None:
    store.begin(a_record(runs, outcome=outcome))

    assert main(["stop", "job-1"]) == 2

    assert f"the request was rejected because the training job is in status {status}" in capsys.readouterr().err


def test_a_job_of_another_computer_is_to_be_stopped_there(
    store: JobStore, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store.begin(of_another_computer(a_record(runs)))

    assert main(["stop", "job-1"]) == 3

    assert "job-1 runs on elsewhere: stop it there" in capsys.readouterr().err


def test_a_job_whose_harness_was_killed_is_told_as_failed_by_the_next_command(
    store: JobStore, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store.begin(left(a_record(runs)))

    assert main(["list"]) == 0

    out, err = capsys.readouterr()
    assert out.splitlines()[1].split()[:3] == ["job-1", "Failed", "Failed"]
    assert "what job-1 left may be there still: no container engine answers" in err


def test_a_prune_shows_what_it_would_remove_and_removes_nothing(
    store: JobStore, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = left(a_record(runs, outcome=COMPLETED))
    store.begin(job)
    store.begin(a_record(runs, "gone", outcome=FAILED))

    assert main(["prune"]) == 0

    assert capsys.readouterr().out.splitlines() == [
        "gone  Failed  its folder is gone",
        f"job-1  Completed  {job.directory} (0.0 MB)",
        "2 jobs, 0.0 MB would be removed; remove them with --yes",
    ]
    assert store.count() == 2
    assert job.directory.is_dir()


def test_a_prune_removes_folders_and_frees_names(store: JobStore, runs: Path, running: JobRecord) -> None:
    store.begin(left(a_record(runs, "ended", outcome=COMPLETED)))

    assert main(["prune", "--yes"]) == 0

    assert store.names() == [running.name]
    assert [path.name for path in runs.iterdir()] == [running.name]


def test_a_folder_that_cannot_be_removed_keeps_its_job(
    store: JobStore, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = a_record(runs, outcome=COMPLETED)
    job.directory.mkdir(parents=True)
    (job.directory / "mine").touch()
    store.begin(job)
    store.begin(left(a_record(runs, "other", outcome=COMPLETED)))

    assert main(["prune", "--yes"]) == 3

    assert "is not the folder that job-1 left" in capsys.readouterr().err
    assert store.names() == ["job-1"]


def test_a_wrong_age_is_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prune", "--yes", "--older-than", "old"]) == 2

    assert "is no age" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["list"], ["describe", "job-1"], ["logs", "job-1"], ["stop", "job-1"], ["prune"]]
)
def test_a_command_about_jobs_loads_nothing_that_trains(store: JobStore, runs: Path, arguments: list[str]) -> None:
    store.begin(left(a_record(runs, outcome=COMPLETED)))
    program = (
        f"import sys\nfrom local_mode.__main__ import main\nmain({arguments!r})\n"
        "heavy = {'pydantic', 'docker', 'regex', 'requests', 'tqdm', 'boto3', 'obstore'}\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & heavy))"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.splitlines()[-1] == "[]"


GPU_JOB = 'name = "tiny"\nimage = "mine"\ninstance_type = "ml.p3.8xlarge"\n'


@pytest.fixture
def workstation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeEngine:
    """An engine beside eight GPUs."""
    for name in [name for name in os.environ if name.startswith("HOMEPORT_") and name != "HOMEPORT_STATE"]:
        monkeypatch.delenv(name)
    engine = FakeEngine(machine=WORKSTATION)
    monkeypatch.setattr(commands.DockerEngine, "connect", lambda: engine)
    (tmp_path / "gpu.toml").write_text(GPU_JOB)
    return engine


def begins_with(store: JobStore, runs: Path, name: str, *gpus: str) -> None:
    """A job of a harness that lives, and holds these GPUs."""
    store.begin(of_another_process(a_record(runs, name, gpus=gpus)))


def of_another_process(job: JobRecord) -> JobRecord:
    job.directory.mkdir(parents=True)
    # A folder is a lock that may not be looked at.
    job.lock.mkdir()
    return job


@pytest.mark.usefixtures("workstation")
def test_a_job_gets_the_gpus_that_others_leave(store: JobStore, runs: Path) -> None:
    begins_with(store, runs, "other", "0", "2", "4", "6")

    assert main(["train", "gpu.toml", "--name", "mine"]) == 0

    assert store.find("mine").gpus == ("1", "3", "5", "7")
    assert store.held_gpus() == dict.fromkeys("0246", "other")


@pytest.mark.parametrize("command", ["train", "plan"])
@pytest.mark.parametrize("more", [[], ["--gpus", "0,1,2,3"]])
@pytest.mark.usefixtures("workstation")
def test_too_few_free_gpus_are_a_refusal_that_names_who_holds_them(
    store: JobStore, runs: Path, capsys: pytest.CaptureFixture[str], command: str, more: list[str]
) -> None:
    begins_with(store, runs, "a", "0", "1")
    begins_with(store, runs, "b", "2", "3", "4")

    assert main([command, "gpu.toml", *more]) == 3

    told = capsys.readouterr().err
    assert "wants 4 GPUs (1 x ml.p3.8xlarge) and this machine has 8, of which a holds 0,1; b holds 2,3,4." in told
    assert "homeport-local stop NAME" in told
    assert store.names() == ["a", "b"]


@pytest.mark.usefixtures("workstation")
def test_the_gpus_of_a_killed_job_are_given_out_again(store: JobStore, runs: Path) -> None:
    store.begin(a_record(runs, "killed", gpus=tuple("01234567")))

    assert main(["train", "gpu.toml", "--name", "mine"]) == 0

    assert store.find("mine").gpus == ("0", "1", "2", "3")
    assert store.find("killed").status == "Failed"


@pytest.mark.usefixtures("workstation")
def test_a_job_that_another_was_faster_than_is_planned_anew(
    store: JobStore, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan_run = commands.plan_run
    planned: list[object] = []

    def slowly(*arguments: object) -> object:
        plan = plan_run(*arguments)
        if not planned:
            begins_with(store, runs, "faster", "0", "1")
        planned.append(plan)
        return plan

    monkeypatch.setattr(commands, "plan_run", slowly)

    assert main(["train", "gpu.toml", "--name", "mine"]) == 0

    assert len(planned) == 2
    assert store.find("mine").gpus == ("2", "3", "4", "5")


@pytest.mark.usefixtures("workstation")
def test_the_doctor_says_who_holds_a_gpu(store: JobStore, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begins_with(store, runs, "a", "1")

    assert main(["doctor"]) == 0

    out = capsys.readouterr().out
    assert "GPUs         0, 1 (held by a), 2, 3" in out
    assert f"jobs         {store.path.parent}\n" in out


def test_the_engine_that_breaks_off_a_job_leaves_the_truth(
    store: JobStore, workstation: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object) -> None:
        raise MachineCannot("the engine no longer answers")

    monkeypatch.setattr("local_mode.taking_away.collect", breaks)

    assert main(["train", "gpu.toml", "--name", "mine"]) == 3

    assert store.find("mine").failure_reason == "InternalServerError: the engine no longer answers"
    assert (store.held_gpus(), workstation.left) == ({}, [])
