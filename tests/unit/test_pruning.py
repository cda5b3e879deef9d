"""Which jobs are let go, and what of their folders is touched."""

import json
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from local_mode.job_record import JobRecord
from local_mode.pruning import age, prunable, remove_folder, size_of
from tests.fakes import NOW
from tests.stored import COMPLETED, a_record, of_another_computer
from training_job.errors import JobRefused, MachineCannot


def left(job: JobRecord) -> JobRecord:
    """The job, with its folder."""
    (job.directory / "output").mkdir(parents=True)
    (job.directory / "output/model.tar.gz").write_bytes(b"x" * 1000)
    (job.directory / "request.json").write_text(json.dumps({"TrainingJobName": job.name}))
    (job.directory / "describe.json").write_text(job.told)
    return job


def names(jobs: list[JobRecord]) -> list[str]:
    return [job.name for job in jobs]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("30d", timedelta(days=30)),
        ("12h", timedelta(hours=12)),
        ("90m", timedelta(minutes=90)),
        ("4w", timedelta(weeks=4)),
        ("0d", timedelta()),
    ],
)
def test_an_age_is_a_number_with_a_unit(text: str, what: timedelta) -> None:
    assert age(text) == what


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "1.5d", "1y", "30 d", "9" * 30 + "d"])
def test_what_is_no_age_is_told(text: str) -> None:
    with pytest.raises(JobRefused, match=r"--older-than: 1 fault\n  .* is no age: .* such as 30d"):
        age(text)


@pytest.mark.parametrize(
    ("older_than", "keep", "chosen"),
    [
        (None, None, ["day-1", "day-5", "day-9"]),
        (None, 1, ["day-5", "day-9"]),
        (None, 9, []),
        (timedelta(days=3), None, ["day-5", "day-9"]),
        (timedelta(days=3), 2, ["day-9"]),
        (timedelta(days=30), None, []),
    ],
)
def test_the_old_go_and_the_newest_stay(
    tmp_path: Path, older_than: timedelta | None, keep: int | None, chosen: list[str]
) -> None:
    jobs = [
        left(a_record(tmp_path, f"day-{days}", outcome=COMPLETED, created=NOW - timedelta(days=days)))
        for days in (1, 5, 9)
    ]

    assert names(prunable(jobs, now=NOW, older_than=older_than, keep=keep)) == chosen


def test_a_running_job_and_one_of_another_computer_stay(tmp_path: Path) -> None:
    jobs = [left(a_record(tmp_path, "runs")), of_another_computer(a_record(tmp_path, "elsewhere", outcome=COMPLETED))]

    assert prunable(jobs, now=NOW + timedelta(days=99), older_than=None, keep=None) == []


def test_a_job_whose_folder_is_gone_goes_however_new(tmp_path: Path) -> None:
    jobs = [a_record(tmp_path, outcome=COMPLETED), a_record(tmp_path, "runs")]

    assert names(prunable(jobs, now=NOW, older_than=timedelta(days=3), keep=5)) == ["job-1"]


def test_a_folder_is_removed_and_its_neighbours_are_not(tmp_path: Path) -> None:
    job, neighbour = (left(a_record(tmp_path, name, outcome=COMPLETED)) for name in ("job-1", "job-2"))
    (tmp_path / "precious").write_text("precious")
    (job.directory / "output/link").symlink_to(tmp_path)
    assert size_of(job.directory) > 1000

    remove_folder(job)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["job-2", "precious"]
    assert size_of(neighbour.directory) > 1000
    assert size_of(job.directory) == 0


def test_a_folder_that_is_gone_needs_no_removal(tmp_path: Path) -> None:
    remove_folder(a_record(tmp_path))


def test_a_folder_that_is_no_more_the_jobs_stays(tmp_path: Path) -> None:
    job = a_record(tmp_path, outcome=COMPLETED)
    job.directory.mkdir()
    (job.directory / "thesis.txt").write_text("mine")

    with pytest.raises(MachineCannot, match=r"job-1: is not the folder that job-1 left, so it stays as it is"):
        remove_folder(job)

    assert (job.directory / "thesis.txt").exists()


def test_the_folder_of_another_job_stays(tmp_path: Path) -> None:
    other = left(a_record(tmp_path, "other", outcome=COMPLETED))
    other.directory.rename(tmp_path / "job-1")

    with pytest.raises(MachineCannot, match="is not the folder that job-1 left"):
        remove_folder(a_record(tmp_path, outcome=COMPLETED))


def test_what_a_link_leads_to_stays(tmp_path: Path) -> None:
    job = left(a_record(tmp_path, outcome=COMPLETED))
    job.directory.rename(tmp_path / "elsewhere")
    job.directory.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(MachineCannot, match="is not the folder"):
        remove_folder(job)

    assert (tmp_path / "elsewhere/output/model.tar.gz").exists()


def test_a_removal_that_was_cut_short_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = left(a_record(tmp_path, outcome=COMPLETED))
    monkeypatch.setattr("local_mode.pruning.shutil.rmtree", _fails)
    with pytest.raises(MachineCannot, match="cannot be removed: Input/output error"):
        remove_folder(job)
    monkeypatch.undo()

    remove_folder(job)

    assert not job.directory.exists()


def _fails(path: Path) -> None:
    raise OSError(5, "Input/output error", str(path))


def test_an_empty_folder_is_what_a_removal_left(tmp_path: Path) -> None:
    job = a_record(tmp_path, outcome=COMPLETED)
    job.directory.mkdir()

    remove_folder(job)

    assert not job.directory.exists()
    shutil.rmtree(job.directory, ignore_errors=True)
