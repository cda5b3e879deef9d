"""The machine's memory of its jobs: what it keeps, what it refuses, and who gets which GPU."""

import sqlite3
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from local_mode import job_store
from local_mode.job_store import GPUsTaken, JobStore, state_directory
from tests.fakes import NOW
from tests.stored import COMPLETED, a_record, of_another_computer
from training_job.errors import JobRefused, MachineCannot

ROOT = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    return JobStore(tmp_path / "state")


@pytest.mark.parametrize(
    ("environ", "directory"),
    [
        ({}, "/home/me/.local/state/homeport"),
        ({"XDG_STATE_HOME": "/xdg"}, "/xdg/homeport"),
        ({"XDG_STATE_HOME": "/xdg", "HOMEPORT_STATE": "/named"}, "/named"),
        ({"HOMEPORT_STATE": "near"}, "/here/near"),
        ({"HOMEPORT_STATE": "~/named"}, "/home/me/named"),
        ({"HOMEPORT_STATE": ""}, "/home/me/.local/state/homeport"),
    ],
)
def test_the_store_is_the_machines_wherever_one_stands(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], directory: str
) -> None:
    monkeypatch.setenv("HOME", "/home/me")

    assert state_directory(environ, Path("/here")) == Path(directory)


@pytest.mark.parametrize("outcome", [None, COMPLETED])
def test_a_job_is_found_as_it_was_kept(store: JobStore, tmp_path: Path, outcome: object) -> None:
    job = a_record(tmp_path, outcome=outcome, gpus=("0", "GPU-1"))

    store.begin(job)

    assert store.find("job-1") == job
    assert store.find("job") is None


def test_what_is_told_later_takes_the_place_of_what_was(store: JobStore, tmp_path: Path) -> None:
    store.begin(a_record(tmp_path, statuses=("Starting",)))
    later = a_record(tmp_path, outcome=COMPLETED)

    store.tell(later)

    assert store.find("job-1") == later


def test_the_newest_job_comes_first(store: JobStore, tmp_path: Path) -> None:
    for number, name in ((2, "second"), (3, "third"), (1, "first")):
        store.begin(a_record(tmp_path, name, created=NOW + timedelta(microseconds=number)))

    jobs = store.recent()
    assert store.names() == [job.name for job in jobs] == ["third", "second", "first"]
    assert [replace(job, told=store.find(job.name).told) for job in jobs] == [store.find(job.name) for job in jobs]
    assert [job.name for job in store.recent(2)] == ["third", "second"]


def test_jobs_are_chosen_by_status(store: JobStore, tmp_path: Path) -> None:
    store.begin(a_record(tmp_path, "runs"))
    store.begin(a_record(tmp_path, "ran", outcome=COMPLETED))

    assert [job.name for job in store.recent(status="Completed")] == ["ran"]
    assert [job.name for job in store.running()] == ["runs"]
    assert (store.count(), store.count("InProgress"), store.count("Failed")) == (2, 1, 0)


def test_a_name_is_taken_until_it_is_forgotten(store: JobStore, tmp_path: Path) -> None:
    job = a_record(tmp_path, outcome=COMPLETED)
    store.begin(job)

    with pytest.raises(JobRefused, match=r"TrainingJobName: is taken: names must be unique, .* exists \(Completed, /"):
        store.begin(job)

    store.forget("job-1")
    store.begin(job)


def test_a_stop_is_asked_for_once(store: JobStore, tmp_path: Path) -> None:
    store.begin(a_record(tmp_path))
    asked: list[int] = []

    def signal() -> bool:
        asked.append(1)
        return True

    assert store.ask_stop("job-1", signal)
    assert store.ask_stop("job-1", signal)
    assert asked == [1]


def test_a_stop_that_reached_nobody_can_be_asked_for_again(store: JobStore, tmp_path: Path) -> None:
    store.begin(a_record(tmp_path))

    assert not store.ask_stop("job-1", lambda: False)
    assert store.ask_stop("job-1", lambda: True)


@pytest.mark.parametrize("name", ["job-1", "nobody"])
def test_a_job_that_does_not_run_gets_no_signal(store: JobStore, tmp_path: Path, name: str) -> None:
    store.begin(a_record(tmp_path, outcome=COMPLETED))

    assert not store.ask_stop(name, lambda: pytest.fail("signalled"))


def test_a_gpu_is_held_from_the_begin_of_a_job_to_its_end(store: JobStore, tmp_path: Path) -> None:
    store.begin(a_record(tmp_path, "a", gpus=("0", "1")))
    store.begin(a_record(tmp_path, "b", gpus=("2",)))
    assert store.held_gpus() == {"0": "a", "1": "a", "2": "b"}

    store.tell(a_record(tmp_path, "a", outcome=COMPLETED, gpus=("0", "1")))
    store.forget("b")

    assert store.held_gpus() == {}
    assert store.find("a").gpus == ("0", "1")


def test_a_gpu_that_another_job_holds_is_not_given_out_and_nothing_is_kept(store: JobStore, tmp_path: Path) -> None:
    store.begin(a_record(tmp_path, "a", gpus=("1",)))

    with pytest.raises(GPUsTaken):
        store.begin(a_record(tmp_path, "b", gpus=("0", "1")))

    assert store.held_gpus() == {"1": "a"}
    assert store.names() == ["a"]


def test_computers_that_share_a_store_have_gpus_of_their_own(store: JobStore, tmp_path: Path) -> None:
    store.begin(of_another_computer(a_record(tmp_path, "there", gpus=("0",))))

    store.begin(a_record(tmp_path, "here", gpus=("0",)))

    assert store.held_gpus() == {"0": "here"}


_GREEDY = """
import sys
from pathlib import Path
from local_mode.job_store import GPUsTaken, JobStore
from tests.stored import COMPLETED, a_record
state, me = Path(sys.argv[1]), sys.argv[2]
store = JobStore(state)
sys.stdin.read()
for number in range(6):
    while True:
        free = [gpu for gpu in "01234567" if gpu not in store.held_gpus()][:3]
        job = a_record(state, f"{me}-{number}", gpus=tuple(free))
        try:
            if len(free) == 3:
                store.begin(job)
                break
        except GPUsTaken:
            pass
    taken = [state / "taken" / gpu for gpu in free]
    for path in taken:
        path.mkdir()  # fails where another has it
    for path in taken:
        path.rmdir()
    store.tell(a_record(state, f"{me}-{number}", gpus=tuple(free), outcome=COMPLETED))
"""


def test_processes_that_want_gpus_at_once_never_share_one(store: JobStore) -> None:
    (store.path.parent / "taken").mkdir(parents=True)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _GREEDY, store.path.parent, f"process-{number}"], cwd=ROOT, stdin=subprocess.PIPE
        )
        for number in range(3)
    ]

    for process in processes:
        process.stdin.close()
    codes = [process.wait(60) for process in processes]

    assert codes == [0] * 3
    assert (store.count("Completed"), store.held_gpus()) == (18, {})


def test_a_process_that_is_killed_in_the_middle_leaves_a_whole_store(store: JobStore) -> None:
    program = (
        "import itertools, sys\nfrom pathlib import Path\nfrom local_mode.job_store import JobStore\n"
        "from tests.stored import a_record\nstate = Path(sys.argv[1])\n"
        "for number in itertools.count():\n"
        "    JobStore(state).begin(a_record(state, f'job-{number}', gpus=(str(number),)))\n    print(flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, store.path.parent], cwd=ROOT, stdout=subprocess.PIPE
    ) as process:
        for _ in range(20):
            process.stdout.readline()
        process.kill()

    with sqlite3.connect(store.path) as opened:
        assert opened.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert set(store.held_gpus().values()) == set(store.names())


def test_a_store_is_brought_to_the_newest_version_and_keeps_its_jobs(
    store: JobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.begin(a_record(tmp_path))
    monkeypatch.setattr(
        job_store, "_MIGRATIONS", (*job_store._MIGRATIONS, ("ALTER TABLE jobs ADD COLUMN note TEXT DEFAULT 'old'",))
    )

    assert store.names() == ["job-1"]

    with sqlite3.connect(store.path) as opened:
        assert opened.execute("SELECT note FROM jobs").fetchall() == [("old",)]
        assert opened.execute("PRAGMA user_version").fetchone() == (2,)


def test_a_step_that_fails_changes_nothing(store: JobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.begin(a_record(tmp_path))
    before = job_store._MIGRATIONS
    monkeypatch.setattr(job_store, "_MIGRATIONS", (*before, ("ALTER TABLE jobs ADD COLUMN note TEXT", "nonsense")))
    with pytest.raises(MachineCannot):
        store.names()

    monkeypatch.setattr(job_store, "_MIGRATIONS", before)

    assert store.find("job-1") == a_record(tmp_path)


def test_the_store_of_a_newer_homeport_is_left_as_it_is(store: JobStore) -> None:
    store.names()
    with sqlite3.connect(store.path) as opened:
        opened.execute("PRAGMA user_version = 99")

    with pytest.raises(MachineCannot, match=r"written by a newer Homeport \(its version 99, this one knows 1\)"):
        store.names()


def test_a_file_that_is_no_store_is_told(store: JobStore) -> None:
    store.path.parent.mkdir()
    store.path.write_text("no store" * 1000)

    with pytest.raises(MachineCannot, match=r"jobs.sqlite: the store of jobs cannot be used: .*HOMEPORT_STATE"):
        store.names()


def test_a_store_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(MachineCannot, match=r"cannot be used: .*HOMEPORT_STATE"):
        JobStore(tmp_path / "file").names()


def test_the_store_is_read_while_it_is_written(store: JobStore, tmp_path: Path) -> None:
    store.begin(a_record(tmp_path))

    with store._writing() as writing:
        writing.execute("DELETE FROM jobs")

        assert store.names() == ["job-1"]
