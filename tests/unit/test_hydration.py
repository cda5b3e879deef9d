"""homeport-local hydrate, from its arguments to what a person reads."""

import io
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from local_mode.__main__ import main
from local_mode.progress import Progress

PLACE = """
[local.file_systems.training-data]
mount_name = "fsx"
path = "fsx"
link = "s3://my-bucket/datasets"

[local.file_systems.home]
type = "EFS"
path = "efs"

[local.file_systems.other]
path = "other"
link = "s3://my-bucked/datasets"

[local.file_systems.by-id]
path = "by-id"
id = "fs-0123456789abcdef0"
link = "s3://my-bucket/datasets/train"

[local.buckets.my-bucket]
path = "bucket"
"""


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three objects of 500 kB below train/, and one beside."""
    for name in [name for name in os.environ if name.startswith(("HOMEPORT_", "AWS_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOMEPORT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "homeport.toml").write_text(PLACE)
    for key in ("train/0", "train/1", "train/2", "beside"):
        path = tmp_path / "bucket/datasets" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 500_000)
    return tmp_path


def test_the_first_time_fetches_and_the_second_finds_it_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hydrate", "training-data"]) == 0
    first = capsys.readouterr()
    assert first.out == "training-data: 4 objects, 2.0 MB; 4 fetched now, 0 were here\n"
    assert first.err.startswith("training-data: fetching 4 objects, 2.0 MB\ntraining-data: 20 %, 0.5 MB\n")

    assert main(["hydrate", "training-data"]) == 0
    second = capsys.readouterr()
    assert (second.out, second.err) == ("training-data: 4 objects, 2.0 MB; 0 fetched now, 4 were here\n", "")


@pytest.mark.parametrize(
    ("name", "path", "made"),
    [
        ("training-data", "train", "fsx/train/2"),
        ("training-data", "/train/", "fsx/train/2"),
        ("by-id", "2", "by-id/2"),
        ("fs-0123456789abcdef0", "2", "by-id/2"),
    ],
)
def test_a_path_of_a_file_system_by_name_or_id(folder: Path, name: str, path: str, made: str) -> None:
    assert main(["hydrate", name, path]) == 0

    assert (folder / made).stat().st_size == 500_000
    assert not (folder / "fsx/beside").exists()


def test_what_was_changed_here_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["hydrate", "training-data"])
    (folder / "fsx/train/1").write_text("mine")
    capsys.readouterr()

    main(["hydrate", "training-data"])

    assert capsys.readouterr().out == (
        "training-data: 4 objects, 2.0 MB; 0 fetched now, 3 were here\n"
        "  1 changed here, and left as they are: train/1\n"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["trainingdata"], 2, "'trainingdata': is not mapped here; did you mean 'training-data'?"),
        (["home"], 2, 'local.file_systems.home: has no link; what its files are fetched from is link = "s3://'),
        (["other"], 2, "bucket 'my-bucked' is not mapped"),
        (["training-data", "../x"], 2, "PATH: '../x' must hold no .."),
        (["training-data", "tarin"], 2, "s3://my-bucket/datasets/tarin: there is no object below"),
    ],
)
def test_what_cannot_be_hydrated_is_told(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, told: str
) -> None:
    assert main(["hydrate", *arguments]) == code

    assert told in capsys.readouterr().err


def test_a_terminal_has_a_bar() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()

    with Progress("training-data", terminal) as told:
        told.fetching(2, 1000)
        told.fetched(1000)

    assert "training-data:   0%|" in terminal.getvalue()
