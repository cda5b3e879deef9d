"""What `entrypoints/pets/prepare.py` makes of an archive, and what it draws without one."""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

from tests.scripts import imported

FOLDER = Path(__file__).parents[2] / "entrypoints" / "pets"
BREEDS = [f"Breed_{chr(ord('a') + number % 26)}{number:02d}" for number in range(37)]


@pytest.fixture
def prepare() -> Iterator[ModuleType]:
    """The script, imported with its siblings as a person runs it."""
    with imported(FOLDER, "prepare") as module:
        yield module


def _jpeg() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (8, 6), (200, 100, 50)).save(content, "JPEG")
    return content.getvalue()


def _archive(folder: Path, files: dict[str, bytes]) -> Path:
    path = folder / "images.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"images/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


@pytest.fixture
def oxford(prepare: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The script with an archive of 37 breeds of ten images in the place of Oxford's, two of them no JPEG."""
    files = {f"{breed}_{number}.jpg": _jpeg() for breed in BREEDS for number in range(1, 11)}
    files |= {f"{BREEDS[0]}_11.jpg": b"GIF89a", f"{BREEDS[1]}_12.jpg": _jpeg()[:200], f"{BREEDS[0]}_1.mat": b"matlab"}
    archive = _archive(tmp_path, files)
    known = prepare.Archive(archive.name, archive.stat().st_size, hashlib.sha256(archive.read_bytes()).hexdigest())
    monkeypatch.setattr(prepare, "OXFORD", known)
    monkeypatch.setattr(prepare, "fetch", lambda *_: archive)
    return prepare


def _listing(folder: Path, split: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads((folder / split / "split.json").read_text())["images"]
    return found


def test_every_breed_is_split_eight_to_one_to_one_and_every_image_is_in_one_split(
    oxford: ModuleType, tmp_path: Path
) -> None:
    assert oxford.main([str(tmp_path / "pets"), "--oxford"]) == 0

    counts = {split: len(_listing(tmp_path / "pets", split)) for split in oxford.SPLITS}
    ids = [entry["id"] for split in oxford.SPLITS for entry in _listing(tmp_path / "pets", split)]
    assert counts == {"train": 37 * 8, "validation": 37, "test": 37}
    assert sorted(ids) == list(range(370))
    assert {entry["label"] for entry in _listing(tmp_path / "pets", "validation")} == set(range(37))


def test_every_file_listed_is_there_and_no_other_is(oxford: ModuleType, tmp_path: Path) -> None:
    oxford.main([str(tmp_path / "pets"), "--oxford"])

    for split in oxford.SPLITS:
        there = {str(path.relative_to(tmp_path / "pets" / split)) for path in (tmp_path / "pets" / split).glob("*/*")}
        assert there == {entry["file"] for entry in _listing(tmp_path / "pets", split)}
    assert sorted(path.name for path in (tmp_path / "pets").iterdir()) == [
        "dataset.json",
        "test",
        "train",
        "validation",
    ]


def test_what_cannot_be_decoded_is_named_counted_and_left_out(
    oxford: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    oxford.main([str(tmp_path / "pets"), "--oxford"])

    left_out = json.loads((tmp_path / "pets" / "dataset.json").read_text())["left_out"]
    assert [entry["file"] for entry in left_out] == [f"{BREEDS[0]}_11.jpg", f"{BREEDS[1]}_12.jpg"]
    assert "2 can't be decoded and were left out" in capsys.readouterr().out


def test_the_same_files_are_split_the_same_way_in_whatever_order_they_come(prepare: ModuleType) -> None:
    files = [f"{breed}_{number}.jpg" for breed in BREEDS for number in range(20)]

    assert prepare.shared_out(files) == prepare.shared_out(files[::-1])


def test_an_archive_that_lacks_a_breed_is_refused_and_leaves_nothing(
    oxford: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = _archive(tmp_path, {f"{BREEDS[0]}_1.jpg": _jpeg()})
    monkeypatch.setattr(oxford, "fetch", lambda *_: archive)

    assert oxford.main([str(tmp_path / "out" / "pets"), "--oxford"]) == 3

    assert "has 1 breeds, and should have 37" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


def test_without_a_network_the_breeds_are_drawn_unless_the_real_ones_are_asked_for(
    prepare: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unreachable(*_: object) -> Path:
        raise prepare.NetworkError("no route")

    monkeypatch.setattr(prepare, "fetch", unreachable)

    assert prepare.main([str(tmp_path / "real"), "--oxford"]) == 3
    assert prepare.main([str(tmp_path / "pets")]) == 0

    assert "Drawing a small set of 37 breeds instead" in capsys.readouterr().out
    assert len(_listing(tmp_path / "pets", "train")) == 37 * 32
    assert not (tmp_path / "real").exists()


def test_the_drawn_breeds_are_the_same_every_time_and_made_once(
    prepare: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("one", "two", "one"):
        assert prepare.main([str(tmp_path / name), "--sample"]) == 0

    one, two = (
        {path.relative_to(tmp_path / name): path.read_bytes() for path in sorted((tmp_path / name).rglob("*.jpg"))}
        for name in ("one", "two")
    )
    assert one == two
    assert "one is complete: sample, 1,184 train + 148 validation + 148 test images" in capsys.readouterr().out
