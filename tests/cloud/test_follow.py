"""Following a job: every line once, whatever befalls the questions, the credentials or the client."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from botocore.config import Config

from cloud.__main__ import main
from cloud.run_folder import RunFolder
from cloud.terminal import Terminal
from tests.cloud.conftest import KEYS, Cloud, HostLog, StandInAccount
from tests.cloud.sagemaker_front import Fault, Front, Job, completes
from training_job.errors import MachineCannot

ROOT = Path(__file__).parents[2]
PATIENCE = 60  # seconds after which a test that waits for nothing fails


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.01)


def lines(count: int, of: str = "line") -> list[str]:
    return [f"{of} {number}" for number in range(count)]


def kept(folder: Path, host: str = "algo-1") -> list[str]:
    return (folder / f"runs/job-1/logs/{host}.log").read_text().splitlines()


def printed(out: str, host: str = "algo-1") -> list[str]:
    return [line.removeprefix(f"{host} │ ") for line in out.splitlines() if line.startswith(f"{host} │ ")]


@pytest.fixture
def says(front: Front, account: StandInAccount) -> Callable[[int], list[str]]:
    """A job whose one host says so many lines and completes."""

    def says(count: int) -> list[str]:
        def run(job: Job) -> None:
            HostLog(account, job.name).says(*lines(count))
            completes(job)

        front.run = run
        return lines(count)

    return says


def test_statuses_are_told_with_their_messages(train: Cloud, front: Front, capsys: pytest.CaptureFixture[str]) -> None:
    def run(job: Job) -> None:
        job.enter("Starting", "Launching requested ML instances")
        job.enter("Downloading", "Downloading input data")
        job.ends("Completed")

    front.run = run

    train()

    out = capsys.readouterr().out
    assert "Starting     Launching requested ML instances\nDownloading  Downloading input data\nCompleted    " in out


def test_the_lines_of_hosts_are_merged_by_their_time(
    train: Cloud, front: Front, account: StandInAccount, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(job: Job) -> None:
        now = time.time() - 100
        first, second = (HostLog(account, job.name, host) for host in ("algo-1", "algo-2"))
        for number in range(4):
            (first if number % 2 else second).says(f"line {number}", at=now + number)
        completes(job)

    front.run = run
    train("instance_count = 2\n", "--no-wait")
    until(lambda: front.jobs["job-1"].described()["TrainingJobStatus"] == "Completed")

    main(["logs", "job-1", "--follow"])

    out = capsys.readouterr().out
    assert "algo-2 │ line 0\nalgo-1 │ line 1\nalgo-2 │ line 2\nalgo-1 │ line 3\n" in out
    assert (kept(folder), kept(folder, "algo-2")) == (["line 1", "line 3"], ["line 0", "line 2"])


@pytest.mark.parametrize("operation", ["GetLogEvents", "DescribeTrainingJob", "DescribeLogStreams"])
@pytest.mark.parametrize("what", ["ThrottlingException", "500", "drop", "drop answer"])
def test_no_line_is_lost_or_doubled_whatever_befalls_a_question(
    train: Cloud,
    *,
    front: Front,
    folder: Path,
    says: Callable[[int], list[str]],
    capsys: pytest.CaptureFixture[str],
    operation: str,
    what: str,
) -> None:
    said = says(12_000)
    # botocore asks again itself before we do.
    front.faults = [Fault(operation, what, times=2, after=1)]

    assert train() == 0

    assert kept(folder) == said
    assert printed(capsys.readouterr().out) == said


def test_what_fails_longer_than_botocore_tries_is_waited_out_and_said(
    train: Cloud,
    *,
    front: Front,
    folder: Path,
    says: Callable[[int], list[str]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cloud.aws._RETRIES", _one_try())
    said = says(10)
    front.faults = [Fault("GetLogEvents", "ThrottlingException", times=3)]

    assert train() == 0

    out = capsys.readouterr().out
    assert kept(folder) == said
    assert out.count("ThrottlingException: injected: ThrottlingException; trying on") == 1


def test_what_never_ends_is_told_with_how_to_go_on(
    train: Cloud,
    front: Front,
    says: Callable[[int], list[str]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cloud.aws._RETRIES", _one_try())
    monkeypatch.setattr("cloud.follow.PATIENCE_SECONDS", 0.2)
    says(10)
    front.faults = [Fault("GetLogEvents", "500", times=1_000_000)]

    assert train() == 3

    assert "The job goes on. Follow it: homeport-cloud logs job-1 --follow" in capsys.readouterr().err


def test_a_right_that_is_denied_is_told_at_once(
    train: Cloud, front: Front, says: Callable[[int], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    says(10)
    front.faults = [Fault("GetLogEvents", "AccessDeniedException", times=9)]

    assert train() == 3

    assert "following job-1: denied" in capsys.readouterr().err


def test_credentials_that_are_renewed_beside_it_are_found(
    train: Cloud, front: Front, account: StandInAccount, folder: Path
) -> None:
    def run(job: Job) -> None:
        log = HostLog(account, job.name)
        log.says(*lines(5))
        until(lambda: (folder / "runs/job-1/logs/algo-1.log").exists() and len(kept(folder)) == 5)
        Path(os.environ["AWS_SHARED_CREDENTIALS_FILE"]).write_text(KEYS.format("AKIARENEWED"))
        front.expired.add("AKIATEST")
        log.says("afterwards")
        completes(job)

    front.run = run

    assert train() == 0

    assert kept(folder) == [*lines(5), "afterwards"]


def test_expired_credentials_end_the_following_and_it_goes_on_with_new_ones(
    train: Cloud, front: Front, account: StandInAccount, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    renewed = threading.Event()

    def run(job: Job) -> None:
        log = HostLog(account, job.name)
        log.says(*lines(5))
        until(lambda: (folder / "runs/job-1/logs/algo-1.log").exists() and len(kept(folder)) == 5)
        front.expired.add("AKIATEST")
        assert renewed.wait(PATIENCE)
        log.says("afterwards")
        completes(job)

    front.run = run

    assert train() == 3
    err = capsys.readouterr().err
    assert "the AWS credentials have expired. Sign in: aws sso login" in err
    assert "homeport-cloud logs job-1 --follow" in err

    Path(os.environ["AWS_SHARED_CREDENTIALS_FILE"]).write_text(KEYS.format("AKIARENEWED"))
    renewed.set()
    assert main(["logs", "job-1", "--follow"]) == 0
    assert kept(folder) == [*lines(5), "afterwards"]
    assert printed(capsys.readouterr().out) == [*lines(5), "afterwards"]


def test_a_stream_that_appears_after_the_end_is_waited_for(
    train: Cloud, front: Front, account: StandInAccount, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(job: Job) -> None:
        completes(job)
        asked = len(front.asked)
        until(lambda: front.asked[asked:].count("DescribeLogStreams") > 2)
        HostLog(account, job.name).says("late")

    front.run = run
    monkeypatch.setattr("cloud.follow.LATE_SECONDS", PATIENCE)

    assert train() == 0

    assert kept(folder) == ["late"]


def test_each_start_of_a_host_has_a_stream_and_all_are_kept(
    train: Cloud, front: Front, account: StandInAccount, folder: Path
) -> None:
    def run(job: Job) -> None:
        job.enter("Training")
        HostLog(account, job.name, start=1_700_000_000).says("before the interruption")
        until(lambda: (folder / "runs/job-1/logs/algo-1.log").exists() and kept(folder))
        job.enter("Interrupted", "The job stopped because the managed spot training instances were interrupted")
        job.enter("Starting")
        HostLog(account, job.name, start=1_700_000_900).says("after it")
        completes(job)

    front.run = run

    train("use_spot_instances = true\n")

    assert kept(folder) == ["before the interruption", "after it"]


def test_a_token_of_yesterday_costs_no_line(train: Cloud, front: Front, account: StandInAccount, folder: Path) -> None:
    log = HostLog(account, "job-1")

    def run(job: Job) -> None:
        log.says(*lines(10_500))
        completes(job)

    front.run = run
    train()
    progress = folder / "runs/job-1/followed.json"
    content = json.loads(progress.read_text())
    content["tokens"] = dict.fromkeys(content["tokens"], "f/old")
    progress.write_text(json.dumps(content))
    log.says("more")

    assert main(["logs", "job-1", "--follow"]) == 0

    assert kept(folder) == [*lines(10_500), "more"]


def test_a_client_that_is_killed_goes_on_where_it_was(
    train: Cloud, front: Front, account: StandInAccount, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    killed = threading.Event()

    def run(job: Job) -> None:
        log = HostLog(account, job.name)
        log.says(*lines(25_000))
        assert killed.wait(PATIENCE)
        log.says("afterwards")
        completes(job)

    front.run = run
    train("", "--no-wait")
    client = subprocess.Popen(
        [sys.executable, "-m", "cloud", "logs", "job-1", "--follow"],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert client.stdout
    while b"algo-1" not in client.stdout.readline():
        pass
    client.kill()
    client.communicate()
    # Lines that were written, and of which nobody noted that they were.
    with (folder / "runs/job-1/logs/algo-1.log").open("a") as log:
        log.write("line 10000\nhalf a li")
    killed.set()
    capsys.readouterr()

    assert main(["logs", "job-1", "--follow"]) == 0

    assert kept(folder) == [*lines(25_000), "afterwards"]
    assert printed(capsys.readouterr().out) == [*lines(25_000), "afterwards"]


def test_a_job_is_followed_into_a_folder_by_one_process(folder: Path) -> None:
    run = RunFolder(folder / "runs/job-1")

    with run.followed(), pytest.raises(MachineCannot, match="followed by another process"), run.followed():
        pass


def test_ctrl_c_without_a_terminal_leaves_the_job(
    train: Cloud, front: Front, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(job: Job) -> None:
        job.enter("Training")
        until(lambda: "DescribeLogStreams" in front.asked)
        os.kill(os.getpid(), signal.SIGINT)

    front.run = run

    assert train() == 130

    assert "left job-1. The job goes on." in capsys.readouterr().err
    assert "StopTrainingJob" not in front.asked


@pytest.mark.parametrize(("answer", "code"), [("s", 4), ("l", 130), ("g", 0), ("", 130)])
def test_ctrl_c_on_a_terminal_asks(
    train: Cloud,
    *,
    front: Front,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    code: int,
) -> None:
    def run(job: Job) -> None:
        job.enter("Training")
        until(lambda: "DescribeLogStreams" in front.asked)
        os.kill(os.getpid(), signal.SIGINT)
        if answer == "s":
            assert job.stopped.wait(PATIENCE)
            job.ends("Stopped")
        elif answer == "g":
            completes(job)

    front.run = run
    monkeypatch.setattr("cloud.training.Terminal", lambda job: Terminal(job, interactive=True))
    monkeypatch.setattr("sys.stdin", _Said(f"{answer}\n" if answer else ""))

    assert train() == code

    assert "Stop the job, leave it running, or go on following? [s/l/g]" in capsys.readouterr().err
    assert ("StopTrainingJob" in front.asked) == (answer == "s")


class _Said:
    """A person who says one thing."""

    def __init__(self, line: str) -> None:
        self._line = line

    def readline(self) -> str:
        return self._line


def _one_try() -> object:
    return Config(retries={"mode": "standard", "total_max_attempts": 1})
