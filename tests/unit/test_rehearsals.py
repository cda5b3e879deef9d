"""Which run here has completed with an image."""

import json
from pathlib import Path

from cloud.images import RegistryImage
from cloud.rehearsals import keep_pushed, rehearsed

ID = f"sha256:{'a' * 64}"


def a_run(runs: Path, name: str, image_id: str = ID, status: str = "Completed", ended: str = "2026-11-21") -> Path:
    folder = runs / name
    folder.mkdir(parents=True)
    (folder / "plan.json").write_text(json.dumps({"image_id": image_id}))
    (folder / "describe.json").write_text(json.dumps({"TrainingJobStatus": status, "TrainingEndTime": ended}))
    return folder


def test_the_last_run_that_completed_with_the_image_is_the_rehearsal(tmp_path: Path) -> None:
    a_run(tmp_path, "z", ended="2026-11-20T10:00:00+00:00")
    a_run(tmp_path, "a", ended="2026-11-21T10:00:00+00:00")
    a_run(tmp_path, "another-image", image_id=f"sha256:{'b' * 64}", ended="2026-11-22T10:00:00+00:00")
    a_run(tmp_path, "failed", status="Failed", ended="2026-11-22T10:00:00+00:00")

    found = rehearsed(ID, tmp_path)

    assert found is not None
    assert found.name == "a"


def test_half_written_and_foreign_folders_are_no_rehearsal(tmp_path: Path) -> None:
    (a_run(tmp_path, "cut") / "describe.json").write_text('{"TrainingJobSta')
    (a_run(tmp_path, "goes-on") / "describe.json").unlink()
    (a_run(tmp_path, "list") / "plan.json").write_text("[]")
    (tmp_path / "a-file").write_text("")

    assert rehearsed(ID, tmp_path) is None
    assert rehearsed(ID, tmp_path / "nothing") is None


def test_what_was_pushed_stands_in_the_runs_record(tmp_path: Path) -> None:
    folder = a_run(tmp_path, "a")
    rehearsal = rehearsed(ID, tmp_path)
    assert rehearsal is not None
    image = RegistryImage("host", "team/image", "0.1.0-aaaa", f"sha256:{'0' * 64}", ID)

    keep_pushed(image, rehearsal, "2026-11-21T12:00:00+00:00")

    assert json.loads((folder / "pushed.json").read_text()) == {
        "Image": f"host/team/image@sha256:{'0' * 64}",
        "Tag": "0.1.0-aaaa",
        "Digest": f"sha256:{'0' * 64}",
        "ImageId": ID,
        "PushedAt": "2026-11-21T12:00:00+00:00",
    }
    assert sorted(path.name for path in folder.iterdir()) == ["describe.json", "plan.json", "pushed.json"]
