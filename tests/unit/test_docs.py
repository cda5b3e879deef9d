"""What the documents say is so."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from local_mode.ledger import TREATMENTS
from local_mode.place import read_place
from training_job.job_file import read_job

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)


def test_the_list_of_differences_is_the_ledger() -> None:
    rows = [
        f"| {field} | {treatment.kind}{', `--strict` refuses it' if treatment.strict else ''} | {treatment.how} |"
        for field, treatment in TREATMENTS.items()
    ]

    assert "\n".join(rows) in (ROOT / "docs" / "differences.md").read_text()


def test_the_readmes_job_is_one(tmp_path: Path) -> None:
    path = tmp_path / "job.toml"
    path.write_text(next(block for block in BLOCKS if "entry_point" in block))

    job = read_job(path, now=datetime(2026, 11, 21, tzinfo=UTC), region="us-west-2")

    assert [channel.channel_name for channel in job.channels] == ["train", "validation"]
    assert job.enable_network_isolation


def test_the_readmes_place_is_one(tmp_path: Path) -> None:
    (tmp_path / "homeport.toml").write_text(next(block for block in BLOCKS if "mount_name" in block))

    assert read_place(tmp_path, {}).file_systems["training-data"].mount_name == "fsx"


@pytest.mark.parametrize(
    "path",
    sorted(set((ROOT / "entrypoints").glob("*/*.toml")) - set((ROOT / "entrypoints").glob("*/compare.toml"))),
    ids=lambda path: path.name,
)
def test_every_job_file_reads(path: Path) -> None:
    assert read_job(path, now=datetime(2026, 11, 21, tzinfo=UTC), region="us-west-2").training_job_name


@pytest.mark.parametrize("target", sorted(set(re.findall(r"[`\n]make ([a-z-]+)", README))))
def test_every_make_target_of_the_readme_is_there(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
