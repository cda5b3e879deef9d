"""What is put into a container before it starts."""

import io
import tarfile
from dataclasses import replace
from pathlib import Path

from local_mode.mounts import Mount
from local_mode.staging import host_archive
from tests.fakes import a_job, a_plan
from training_job.source_archive import packed_source


def entries(archive: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return {entry.name: entry for entry in opened}


def content(archive: bytes, name: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return opened.extractfile(name).read()


def test_a_host_finds_its_files_as_the_platform_leaves_them(tmp_path: Path) -> None:
    (host,) = a_plan(tmp_path, a_job(HyperParameters={"epochs": "3"})).hosts

    archive = host_archive(host)

    found = entries(archive)
    assert {name: (entry.isdir(), entry.mode) for name, entry in found.items()} == {
        "opt/ml/input/config": (True, 0o644),
        "opt/ml/input/data": (True, 0o755),
        "opt/ml/output/data": (True, 0o755),
        "opt/ml/output/metrics/sagemaker": (True, 0o755),
        "opt/ml/input/config/hyperparameters.json": (False, 0o644),
        "opt/ml/input/config/inputdataconfig.json": (False, 0o644),
        "opt/ml/input/config/resourceconfig.json": (False, 0o644),
    }
    assert {(entry.uid, entry.gid) for entry in found.values()} == {(0, 0)}
    assert content(archive, "opt/ml/input/config/hyperparameters.json") == b'{"epochs":"3"}'


def test_a_directory_comes_before_what_is_in_it(tmp_path: Path) -> None:
    (host,) = a_plan(tmp_path).hosts
    host = replace(host, files=host.files | {"/opt/ml/input/data/code/sourcedir.tar.gz": b"packed"})

    names = list(entries(host_archive(host)))

    assert names.index("opt/ml/input/config") < names.index("opt/ml/input/config/resourceconfig.json")
    assert names.index("opt/ml/input/data/code") < names.index("opt/ml/input/data/code/sourcedir.tar.gz")


def test_what_is_mounted_is_left_as_it_is(tmp_path: Path) -> None:
    (host,) = a_plan(tmp_path).hosts
    mount = Mount("/pipes", "/opt/ml/input/data", read_only=True, stands_for="pipes")

    assert "opt/ml/input/data" not in entries(host_archive(replace(host, mounts=(mount,))))


def test_a_program_can_be_run(tmp_path: Path) -> None:
    (host,) = a_plan(tmp_path, a_job(instance_type="ml.p3.2xlarge")).hosts

    assert entries(host_archive(host))["usr/bin/nvidia-smi"].mode == 0o755


def test_a_source_directory_is_packed_with_its_children_at_the_root(tmp_path: Path) -> None:
    source = tmp_path / "src"
    (source / "package").mkdir(parents=True)
    (source / "train.py").write_text("print(1)")
    (source / "package/__init__.py").touch()

    packed = packed_source(source)

    found = entries(packed)
    assert list(found) == ["package", "package/__init__.py", "train.py"]
    assert {(entry.uid, entry.gname, entry.mtime) for entry in found.values()} == {(0, "", 0)}
    assert content(packed, "train.py") == b"print(1)"


def test_the_same_source_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for source, names in ((first, ("b.py", "a.py")), (second, ("a.py", "b.py"))):
        source.mkdir()
        for name in names:
            (source / name).write_text(name)

    assert packed_source(first) == packed_source(second)
