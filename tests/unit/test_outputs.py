"""model.tar.gz and output.tar.gz of what the hosts left."""

import gzip
import os
import subprocess
import tarfile
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from local_mode.host_files import Escapes
from local_mode.outputs import Artifacts, Collision, OutputFile, collect
from tests.left import Entry, Left, directory, file, hard_link, of_type, soft_link, tar
from training_job.errors import HomeportError, MachineCannot

DEVICES = [tarfile.CHRTYPE, tarfile.BLKTYPE]


def packed(path: Path) -> dict[str, bytes | str | None]:
    """Files with their content, links with what they point to, directories with nothing."""
    with tarfile.open(path) as archive:
        return {
            entry.name: content.read()
            if entry.isreg() and (content := archive.extractfile(entry))
            else entry.linkname or None
            for entry in archive
        }


def unpacked(folder: Path) -> dict[str, bytes | str | None]:
    """The same of a folder."""
    return {
        str(path.relative_to(folder)): str(path.readlink())
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else None
        for path in folder.rglob("*")
    }


@pytest.fixture
def collected(tmp_path: Path) -> Callable[..., Artifacts]:
    return lambda *hosts: collect(
        {f"algo-{number}": host for number, host in enumerate(hosts, start=1)}, tmp_path / "output"
    )


@pytest.fixture
def left_as_it_is(tmp_path: Path) -> Callable[..., Artifacts]:
    """collect with CompressionType NONE."""
    return lambda *hosts: collect(
        {f"algo-{number}": host for number, host in enumerate(hosts, start=1)}, tmp_path / "output", compressed=False
    )


def test_a_model_is_at_the_root_of_its_archive(collected: Callable[..., Artifacts]) -> None:
    model = [directory("1"), file("1/saved_model.pb", b"model"), file("weights", b"w" * 5000)]

    found = collected(Left(model))

    assert packed(found.model) == {"1": None, "1/saved_model.pb": b"model", "weights": b"w" * 5000}
    assert found.model_files == 2
    assert found.model_size == found.model.stat().st_size
    assert found.collisions == []


def test_the_outputs_archive_holds_data_and_nothing_beside_it(collected: Callable[..., Artifacts]) -> None:
    output = [
        directory("data"),
        file("data/evaluation.json", b"{}"),
        directory("data/data"),
        file("data/data/more", b"1"),
        file("success"),
        directory("metrics"),
        file("metrics/m", b"1"),
    ]

    found = collected(Left(output=output))

    assert packed(found.output) == {"evaluation.json": b"{}", "data": None, "data/more": b"1"}
    assert found.output_files == 2


def test_names_like_the_folders_own_are_kept(collected: Callable[..., Artifacts]) -> None:
    found = collected(Left([directory("model"), file("model/model.h5", b"1"), file("modeling.txt", b"2")]))

    assert packed(found.model) == {"model": None, "model/model.h5": b"1", "modeling.txt": b"2"}


def test_hosts_are_merged_and_what_two_wrote_is_told_and_the_firsts_kept(collected: Callable[..., Artifacts]) -> None:
    first = Left([directory("shared"), file("shared/a", b"1"), file("weights", b"first")])
    second = Left([directory("shared"), file("shared/b", b"2"), file("weights", b"second")])
    third = Left([file("weights", b"third")], [directory("data"), file("data/x", b"3")])

    found = collected(first, second, third)

    assert packed(found.model) == {"shared": None, "shared/a": b"1", "weights": b"first", "shared/b": b"2"}
    assert packed(found.output) == {"x": b"3"}
    assert found.collisions == [Collision("model.tar.gz", "weights", ("algo-1", "algo-2", "algo-3"))]


def test_a_file_of_one_host_that_is_a_directory_of_another_makes_no_archive_that_cannot_be_unpacked(
    collected: Callable[..., Artifacts], tmp_path: Path
) -> None:
    found = collected(Left([file("a", b"1")]), Left([directory("a"), file("a/b", b"2")]))

    with tarfile.open(found.model) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    assert Collision("model.tar.gz", "a", ("algo-1", "algo-2")) in found.collisions


def test_a_directory_of_one_host_that_is_a_file_of_another_is_told(collected: Callable[..., Artifacts]) -> None:
    found = collected(Left([directory("a"), file("a/b", b"2")]), Left([file("a", b"1")]))

    assert found.collisions == [Collision("model.tar.gz", "a", ("algo-1", "algo-2"))]


def test_nothing_left_is_two_empty_archives(collected: Callable[..., Artifacts]) -> None:
    found = collected(Left(), Left())

    assert (packed(found.model), packed(found.output)) == ({}, {})
    assert (found.model_files, found.output_files, found.failures) == (0, 0, {})


def test_the_failure_file_of_each_host_is_read(collected: Callable[..., Artifacts]) -> None:
    found = collected(Left(), Left(output=[file("failure", b"boom \xff\xc3\xa9")]), Left(output=[file("failure")]))

    assert found.failures == {"algo-2": "boom \ufffdé", "algo-3": ""}
    assert packed(found.output) == {}


def test_a_huge_failure_file_is_read_in_part(collected: Callable[..., Artifacts]) -> None:
    found = collected(Left(output=[file("failure", b"x" * 200_000), directory("data"), file("data/a", b"1")]))

    assert 1024 <= len(found.failures["algo-1"]) < 200_000
    assert packed(found.output) == {"a": b"1"}


def test_links_are_kept_as_links(collected: Callable[..., Artifacts]) -> None:
    output = [
        directory("data"),
        file("data/a", b"1"),
        hard_link("data/hard", "data/a"),
        soft_link("data/soft", "/opt/ml/output/data/a"),
    ]
    model = [file("a", b"1"), hard_link("hard", "a"), soft_link("soft", "../a")]

    found = collected(Left(model, output))

    assert packed(found.model) == {"a": b"1", "hard": "a", "soft": "../a"}
    assert packed(found.output) == {"a": b"1", "hard": "a", "soft": "/opt/ml/output/data/a"}


@pytest.mark.parametrize("kind", [*DEVICES, tarfile.FIFOTYPE])
def test_devices_and_pipes_are_left_out(collected: Callable[..., Artifacts], kind: bytes) -> None:
    found = collected(Left([of_type(kind, "device"), file("a", b"1")]))

    assert packed(found.model) == {"a": b"1"}
    assert found.model_files == 1


def test_everything_belongs_to_root_and_keeps_its_mode_and_time(collected: Callable[..., Artifacts]) -> None:
    found = collected(Left([file("run.sh", b"1", mode=0o755)]))

    with tarfile.open(found.model) as archive:
        (entry,) = archive
    assert (entry.uid, entry.gid, entry.uname, entry.gname) == (0, 0, "root", "root")
    assert (entry.mode, entry.mtime) == (0o755, 1_700_000_000)


def test_names_may_be_long_and_of_any_script(collected: Callable[..., Artifacts]) -> None:
    names = ["a" * 240, f"{'d' * 200}/{'f' * 200}", "modèle/é", "模型"]

    found = collected(Left([file(name, name.encode()) for name in names]))

    assert packed(found.model) == {name: name.encode() for name in names}


def test_the_same_files_give_the_same_bytes_however_they_come(tmp_path: Path) -> None:
    content = bytes(range(256)) * 20_000

    def archive(folder: str, chunk: int) -> bytes:
        hosts = {"algo-1": Left([file("a", b"1"), file("b", content)], chunk=chunk)}
        return collect(hosts, tmp_path / folder).model.read_bytes()

    first = archive("first", 999)

    assert archive("second", 1 << 20) == first
    assert gzip.decompress(first)
    # Bytes 4 to 8 of gzip's header are the time, and its fourth would say that a name follows.
    assert first[3:8] == bytes(5)


def test_every_stream_is_closed(collected: Callable[..., Artifacts]) -> None:
    hosts = [Left([file("a", b"1" * 5000)]), Left()]

    collected(*hosts)

    assert [host.closed for host in hosts] == [["/opt/ml/model", "/opt/ml/output"]] * 2


def test_a_hard_link_to_what_was_lost_to_another_host_is_the_content_that_it_had(
    collected: Callable[..., Artifacts],
) -> None:
    first = Left([file("a", b"first")])
    second = Left([file("a", b"second"), hard_link("b", "a"), hard_link("c", "a"), file("d", b"4")])

    found = collected(first, second)

    assert packed(found.model) == {"a": b"first", "b": b"second", "c": "b", "d": b"4"}
    assert found.model_files == 4
    assert found.collisions == [Collision("model.tar.gz", "a", ("algo-1", "algo-2"))]
    assert second.closed == ["/opt/ml/model", "/opt/ml/model", "/opt/ml/output"]


def test_a_hard_link_to_what_is_in_no_archive_is_its_content(collected: Callable[..., Artifacts]) -> None:
    elsewhere = [file("metrics", b"m"), file("database", b"1")]
    data = [directory("data"), file("data/metrics", b"2"), hard_link("data/a", "metrics")]

    found = collected(Left(output=[*elsewhere, *data, hard_link("data/b", "database"), hard_link("data/c", "metrics")]))

    assert packed(found.output) == {"metrics": b"2", "a": b"m", "c": "a", "b": b"1"}


def test_a_hard_link_to_a_link_is_that_link(collected: Callable[..., Artifacts]) -> None:
    found = collected(Left([soft_link("a", "nothing"), hard_link("b", "a")]))

    assert packed(found.model) == {"a": "nothing", "b": "nothing"}


def test_a_hard_link_to_a_pipe_is_left_out_as_the_pipe_is(collected: Callable[..., Artifacts]) -> None:
    found = collected(Left([of_type(tarfile.FIFOTYPE, "a"), hard_link("b", "a")]))

    assert packed(found.model) == {}
    assert found.model_files == 0


def test_a_file_with_holes_is_a_file_as_any_other(collected: Callable[..., Artifacts], tmp_path: Path) -> None:
    class Sparse(Left):
        def tar(self, path: str) -> bytes:
            return sparse if path == "/opt/ml/model" else super().tar(path)

    content = b"1" + bytes(1 << 20) + b"2"
    (tmp_path / "model").mkdir()
    with (tmp_path / "model/a").open("wb") as holes:
        holes.write(b"1")
        holes.seek(1 << 20, os.SEEK_CUR)
        holes.write(b"2")
    sparse = subprocess.run(["tar", "-C", tmp_path, "-Scf", "-", "model"], check=True, capture_output=True).stdout

    found = collected(Sparse())

    assert packed(found.model) == {"a": content}


def test_what_is_to_be_delivered_is_the_model_and_the_output_only_where_there_is_one(
    collected: Callable[..., Artifacts],
) -> None:
    without = collected(Left())
    with_one = collected(Left(output=[directory("data"), file("data/a")]))

    assert without.files == (OutputFile("model.tar.gz", without.model),)
    assert with_one.files == (
        OutputFile("model.tar.gz", with_one.model),
        OutputFile("output.tar.gz", with_one.output),
    )


def test_uncompressed_a_model_is_a_folder_as_it_was(left_as_it_is: Callable[..., Artifacts], tmp_path: Path) -> None:
    model = [directory("1"), file("1/saved_model.pb", b"model"), file("run.sh", b"w" * 5000, mode=0o755)]

    found = left_as_it_is(Left(model, [directory("data"), file("data/x", b"3"), file("failure", b"boom")]))

    assert unpacked(tmp_path / "output") == {
        "model": None,
        "model/1": None,
        "model/1/saved_model.pb": b"model",
        "model/run.sh": b"w" * 5000,
        "data": None,
        "data/x": b"3",
    }
    assert (found.model, found.output) == (tmp_path / "output/model", tmp_path / "output/data")
    assert (found.model_files, found.output_files, found.failures) == (2, 1, {"algo-1": "boom"})
    assert found.model_size == 5005
    assert (found.model / "run.sh").stat().st_mode & 0o777 == 0o755
    assert (found.model / "run.sh").stat().st_uid == os.getuid()


def test_uncompressed_hosts_are_merged_as_in_an_archive(left_as_it_is: Callable[..., Artifacts]) -> None:
    first = Left([directory("shared"), file("shared/a", b"1"), file("weights", b"first")])
    second = Left([directory("shared"), file("shared/b", b"2"), file("weights", b"second"), hard_link("w", "weights")])

    found = left_as_it_is(first, second)

    assert unpacked(found.model) == {
        "shared": None,
        "shared/a": b"1",
        "weights": b"first",
        "shared/b": b"2",
        "w": b"second",
    }
    assert found.collisions == [Collision("model", "weights", ("algo-1", "algo-2"))]


def test_uncompressed_every_file_is_to_be_delivered_and_a_link_as_what_it_points_to(
    left_as_it_is: Callable[..., Artifacts],
) -> None:
    model = [
        directory("1"),
        file("1/a"),
        hard_link("hard", "1/a"),
        soft_link("soft", "1/a"),
        soft_link("folder", "1"),
        soft_link("1/around", "."),
        soft_link("itself", "itself"),
        soft_link("nothing", "gone"),
    ]

    found = left_as_it_is(Left(model, [directory("data"), file("data/x")]))

    assert [(file.key, file.path) for file in found.files] == [
        (f"model/{name}", found.model / name) for name in ("1/a", "folder/a", "hard", "soft")
    ] + [("data/x", found.output / "x")]


def test_uncompressed_nothing_left_is_two_empty_folders(left_as_it_is: Callable[..., Artifacts]) -> None:
    found = left_as_it_is(Left())

    assert (unpacked(found.model), unpacked(found.output), found.files) == ({}, {}, ())


def test_uncompressed_pipes_are_left_out(left_as_it_is: Callable[..., Artifacts]) -> None:
    found = left_as_it_is(Left([of_type(tarfile.FIFOTYPE, "pipe"), file("a", b"1")]))

    assert unpacked(found.model) == {"a": b"1"}
    assert [file.key for file in found.files] == ["model/a"]


@pytest.mark.parametrize(
    "entries",
    [
        [soft_link("escape", "/etc/passwd")],
        [soft_link("escape", "../../../outside")],
        [soft_link("out", "../.."), file("out/escape", b"1")],
        [soft_link("around", "."), soft_link("escape", "around/../../outside")],
        *([of_type(kind, "escape")] for kind in DEVICES),
    ],
)
def test_uncompressed_what_leads_out_of_the_folder_is_refused(
    left_as_it_is: Callable[..., Artifacts], tmp_path: Path, entries: list[Entry]
) -> None:
    with pytest.raises(Escapes, match=r"algo-2: left 'out|algo-2: left 'escape'") as refused:
        left_as_it_is(Left([file("a", b"1")]), Left(entries))

    assert refused.value.exit_code == 3
    assert [path for path in tmp_path.rglob("*") if path.name != "output"] == []


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("name", ["/etc/escape", "model/../../escape", "../escape", "models/escape"])
def test_a_name_outside_of_the_folder_is_refused(tmp_path: Path, name: str, compressed: bool) -> None:
    class Lying(Left):
        def tar(self, path: str) -> bytes:  # noqa: ARG002 - as Left's
            return tar("model", []).rstrip(b"\0").ljust(512, b"\0") + file(name).tobuf() + bytes(1024)

    with pytest.raises(Escapes, match=r"algo-1: left '.*escape': it is not below model/"):
        collect({"algo-1": Lying()}, tmp_path / "output", compressed)

    assert [path for path in tmp_path.rglob("*") if path.name != "output"] == []


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("kept", [0, 512, 700, 1024, 2000, 512 * 12], ids=lambda kept: f"{kept} bytes")
def test_a_tar_that_is_cut_short_is_no_model(tmp_path: Path, kept: int, compressed: bool) -> None:
    class Cut(Left):
        def tar(self, path: str) -> bytes:
            return super().tar(path)[:kept]

    with pytest.raises(MachineCannot, match="algo-1: what is in its /opt/ml/model came incomplete"):
        collect({"algo-1": Cut([file("a", b"1" * 5000)])}, tmp_path / "output", compressed)

    assert list((tmp_path / "output").iterdir()) == []


@pytest.mark.parametrize("compressed", [True, False])
def test_an_engine_that_goes_away_leaves_no_half_model(tmp_path: Path, compressed: bool) -> None:
    class Gone(Left):
        def fetch(self, path: str) -> Generator[bytes, None, None]:
            yield self.tar(path)[:3000]
            raise MachineCannot("the engine no longer answers")

    with pytest.raises(HomeportError, match="no longer answers"):
        collect({"algo-1": Gone([file("a", b"1" * 5000)])}, tmp_path / "output", compressed)

    assert list((tmp_path / "output").iterdir()) == []


def test_a_name_that_no_file_here_can_have_is_told_with_its_host(left_as_it_is: Callable[..., Artifacts]) -> None:
    with pytest.raises(MachineCannot, match=r"algo-1: left 'n{300}', which cannot be written here: File name too long"):
        left_as_it_is(Left([file("n" * 300)]))
