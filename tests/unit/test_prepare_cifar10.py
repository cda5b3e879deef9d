"""What `entrypoints/cifar10/prepare.py` makes of the network it finds: a real loopback server stands in for the web."""

import hashlib
import importlib
import io
import json
import pickle
import re
import struct
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import google_crc32c
import numpy as np
import pytest

from tests.scripts import imported

CIFAR10_FOLDER = Path(__file__).parents[2] / "entrypoints" / "cifar10"
IMAGES_PER_BATCH = 20


@dataclass
class Web:
    """What the server has, how it behaves, and what it was asked."""

    content: bytes
    url: str = ""
    breaks_after: int | None = None  # bytes of a response
    status: int | None = None
    knows_ranges: bool = True
    announces: bool = True
    ranges: list[str | None] = field(default_factory=list)


@pytest.fixture
def prepare(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The script, imported as a person runs it, for small CIFAR-10 batches."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")  # the web of these tests is here, whatever the machine's proxy
    with imported(CIFAR10_FOLDER, "prepare") as module:
        module.IMAGES_PER_BATCH = IMAGES_PER_BATCH  # type: ignore[attr-defined]
        yield module


@pytest.fixture
def web(prepare: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """A server that has CIFAR-10's archive, which the script takes for the right one."""
    web = Web(small_archive())

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            web.ranges.append(asked)
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and web.knows_ranges else 0
            body = web.content[start:]
            self.send_response(web.status or (206 if start else 200))
            if web.announces:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: web.breaks_after])

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        web.url = f"http://127.0.0.1:{server.server_port}/cifar-10-python.tar.gz"
        expect(prepare, monkeypatch, web)
        yield web
        server.shutdown()


@pytest.fixture
def no_network(prepare: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens where CIFAR-10 should be."""
    expect(prepare, monkeypatch, Web(small_archive(), url="http://127.0.0.1:1/cifar-10-python.tar.gz"))


def test_cifar10_becomes_records_of_every_batch(prepare: ModuleType, web: Web, tmp_path: Path) -> None:
    assert prepare.main([str(tmp_path / "cifar10")]) == 0

    manifest = json.loads((tmp_path / "cifar10" / "dataset.json").read_text())
    assert (manifest["name"], manifest["source"]) == ("cifar10", web.url)
    assert manifest["classes"][:2] == ["airplane", "automobile"]
    counts = {name: split["images"] for name, split in manifest["splits"].items()}
    assert counts == {"train": 4 * IMAGES_PER_BATCH, "validation": IMAGES_PER_BATCH, "test": IMAGES_PER_BATCH}
    ids = [image_id for split in counts for _, _, image_id in read_split(tmp_path / "cifar10" / split)]
    assert sorted(ids) == list(range(6 * IMAGES_PER_BATCH))


@pytest.mark.usefixtures("web")
def test_an_image_keeps_its_pixels_and_its_label(prepare: ModuleType, tmp_path: Path) -> None:
    prepare.main([str(tmp_path / "cifar10")])

    images = {image_id: (image, label) for image, label, image_id in read_split(tmp_path / "cifar10" / "validation")}
    batch = small_batch("data_batch_5")
    image, label = images[4 * IMAGES_PER_BATCH + 7]
    assert label == batch[b"labels"][7]
    red = batch[b"data"][7][: 32 * 32]
    assert image[..., 0].ravel().tolist() == red.tolist()


@pytest.mark.usefixtures("no_network")
def test_the_manifest_knows_every_file_by_images_bytes_and_sha256(prepare: ModuleType, tmp_path: Path) -> None:
    prepare.main([str(tmp_path / "cifar10")])

    manifest = json.loads((tmp_path / "cifar10" / "dataset.json").read_text())
    for name, split in manifest["splits"].items():
        folder = tmp_path / "cifar10" / name
        assert {path.name for path in folder.iterdir()} == {*split["files"], "split.json"}
        assert json.loads((folder / "split.json").read_text())["images"] == split["images"]
        for file, expected in split["files"].items():
            content = (folder / file).read_bytes()
            assert expected["images"] == len(list(read_records(content)))
            assert expected["bytes"] == len(content)
            assert expected["sha256"] == hashlib.sha256(content).hexdigest()


@pytest.mark.usefixtures("web")
def test_train_has_sixteen_shards_of_equal_size(prepare: ModuleType, tmp_path: Path) -> None:
    prepare.main([str(tmp_path / "cifar10")])

    manifest = json.loads((tmp_path / "cifar10" / "dataset.json").read_text())
    files = manifest["splits"]["train"]["files"]
    assert list(files) == [f"train-{shard:05d}-of-00016.tfrecord" for shard in range(16)]
    assert {file["images"] for file in files.values()} == {4 * IMAGES_PER_BATCH // 16}


@pytest.mark.usefixtures("no_network")
def test_without_a_network_it_says_so_and_takes_the_digits(
    prepare: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare.main([str(tmp_path / "cifar10")]) == 0

    assert "CIFAR-10 can't be fetched (http://127.0.0.1:1/cifar-10-python.tar.gz: [Errno " in capsys.readouterr().out
    manifest = json.loads((tmp_path / "cifar10" / "dataset.json").read_text())
    assert manifest["name"] == "digits"
    assert [split["images"] for split in manifest["splits"].values()] == [1197, 300, 300]
    examples = [it for split in manifest["splits"] for it in read_split(tmp_path / "cifar10" / split)]
    images, labels, ids = zip(*examples, strict=True)
    assert sorted(ids) == list(range(1797))
    assert set(labels) == set(range(10))
    assert max(image.max() for image in images) == 255


def test_a_server_error_counts_as_no_network(prepare: ModuleType, web: Web, tmp_path: Path) -> None:
    web.status = 503

    assert prepare.main([str(tmp_path / "cifar10")]) == 0

    assert json.loads((tmp_path / "cifar10" / "dataset.json").read_text())["name"] == "digits"


@pytest.mark.usefixtures("no_network")
def test_cifar10_asked_for_by_name_is_not_replaced_by_digits(
    prepare: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare.main([str(tmp_path / "cifar10"), "--source", "cifar10"]) == 3

    assert "http://127.0.0.1:1/cifar-10-python.tar.gz" in one_line(capsys)
    assert list(tmp_path.iterdir()) == []


def test_a_broken_download_goes_on_where_it_stopped(prepare: ModuleType, web: Web, tmp_path: Path) -> None:
    web.breaks_after = len(web.content) // 3 + 1

    assert prepare.main([str(tmp_path / "cifar10"), "--source", "cifar10"]) == 0

    assert web.ranges == [None, f"bytes={web.breaks_after}-", f"bytes={2 * web.breaks_after}-"]


def test_an_interrupted_download_goes_on_in_the_next_run(prepare: ModuleType, web: Web, tmp_path: Path) -> None:
    (tmp_path / "cifar-10-python.tar.gz.part").write_bytes(web.content[:1000])

    assert prepare.main([str(tmp_path / "cifar10"), "--source", "cifar10"]) == 0

    assert web.ranges == ["bytes=1000-"]
    assert json.loads((tmp_path / "cifar10" / "dataset.json").read_text())["name"] == "cifar10"


def test_a_download_that_ended_just_before_it_was_named_is_used(prepare: ModuleType, web: Web, tmp_path: Path) -> None:
    (tmp_path / "cifar-10-python.tar.gz.part").write_bytes(web.content)

    assert prepare.main([str(tmp_path / "cifar10"), "--source", "cifar10"]) == 0

    assert web.ranges == []


def test_a_server_that_knows_no_ranges_starts_anew(prepare: ModuleType, web: Web, tmp_path: Path) -> None:
    web.knows_ranges = False
    (tmp_path / "cifar-10-python.tar.gz.part").write_bytes(b"x" * 1000)

    assert prepare.main([str(tmp_path / "cifar10"), "--source", "cifar10"]) == 0


def test_a_server_that_announces_no_length_will_do(prepare: ModuleType, web: Web, tmp_path: Path) -> None:
    web.announces = False

    assert prepare.main([str(tmp_path / "cifar10"), "--source", "cifar10"]) == 0


def test_a_connection_that_brings_nothing_is_given_up_and_its_part_kept(
    prepare: ModuleType, web: Web, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cifar-10-python.tar.gz.part").write_bytes(web.content[:1000])
    web.breaks_after = 0

    assert prepare.main([str(tmp_path / "cifar10"), "--source", "cifar10"]) == 3

    assert "broke off after 1,000 of" in one_line(capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["cifar-10-python.tar.gz.part"]


def test_a_wrong_checksum_is_an_error_and_the_file_is_removed(
    prepare: ModuleType, web: Web, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    web.content = bytes(reversed(web.content))

    assert prepare.main([str(tmp_path / "cifar10")]) == 3

    assert "checksum" in one_line(capsys)
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_another_size_is_an_error_not_a_lack_of_network(
    prepare: ModuleType, web: Web, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    web.content = b"<html>Please sign in to the hotel's network</html>"

    assert prepare.main([str(tmp_path / "cifar10")]) == 3

    assert "offers 50 bytes" in one_line(capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_network")
def test_a_complete_data_set_is_left_alone(
    prepare: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare.main([str(tmp_path / "cifar10")])
    before = (tmp_path / "cifar10").stat().st_ino
    capsys.readouterr()

    assert prepare.main([str(tmp_path / "cifar10")]) == 0

    assert "is complete: digits, 1,197 train + 300 validation + 300 test images" in capsys.readouterr().out
    assert (tmp_path / "cifar10").stat().st_ino == before


@pytest.mark.usefixtures("web")
def test_digits_give_way_to_cifar10_only_when_asked(prepare: ModuleType, tmp_path: Path) -> None:
    prepare.main([str(tmp_path / "cifar10"), "--source", "digits"])

    prepare.main([str(tmp_path / "cifar10")])
    assert json.loads((tmp_path / "cifar10" / "dataset.json").read_text())["name"] == "digits"

    prepare.main([str(tmp_path / "cifar10"), "--source", "cifar10"])
    assert json.loads((tmp_path / "cifar10" / "dataset.json").read_text())["name"] == "cifar10"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cifar-10-python.tar.gz", "cifar10"]


@pytest.mark.usefixtures("no_network")
def test_digits_stay_when_cifar10_can_not_be_fetched(prepare: ModuleType, tmp_path: Path) -> None:
    prepare.main([str(tmp_path / "cifar10")])

    assert prepare.main([str(tmp_path / "cifar10"), "--source", "cifar10"]) == 3

    assert json.loads((tmp_path / "cifar10" / "dataset.json").read_text())["name"] == "digits"


@pytest.mark.parametrize("damage", ["a missing shard", "a short shard", "a broken manifest"])
@pytest.mark.usefixtures("no_network")
def test_a_damaged_data_set_is_made_anew(prepare: ModuleType, tmp_path: Path, damage: str) -> None:
    prepare.main([str(tmp_path / "cifar10")])
    shard = tmp_path / "cifar10" / "test" / "test-00003-of-00016.tfrecord"
    whole = shard.read_bytes()
    if damage == "a missing shard":
        shard.unlink()
    elif damage == "a short shard":
        shard.write_bytes(whole[:-1])
    else:
        (tmp_path / "cifar10" / "dataset.json").write_text('{"splits": [')

    assert prepare.main([str(tmp_path / "cifar10")]) == 0

    assert shard.read_bytes() == whole
    assert [path.name for path in tmp_path.iterdir()] == ["cifar10"]


@pytest.mark.usefixtures("no_network")
def test_the_same_images_give_the_same_bytes(prepare: ModuleType, tmp_path: Path) -> None:
    prepare.main([str(tmp_path / "one")])
    prepare.main([str(tmp_path / "two")])

    assert (tmp_path / "one" / "dataset.json").read_text() == (tmp_path / "two" / "dataset.json").read_text()


@pytest.mark.usefixtures("no_network")
def test_an_interrupted_run_leaves_nothing_half_made(
    prepare: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_split = prepare.write_split

    def interrupted_at_test(split: object, name: str, directory: Path) -> dict:
        if name == "test":
            raise KeyboardInterrupt
        return write_split(split, name, directory)

    monkeypatch.setattr(prepare, "write_split", interrupted_at_test)

    assert prepare.main([str(tmp_path / "cifar10")]) == 130

    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_network")
def test_what_a_killed_run_left_is_swept_away(prepare: ModuleType, tmp_path: Path) -> None:
    (tmp_path / ".cifar10.partial" / "train").mkdir(parents=True)

    assert prepare.main([str(tmp_path / "cifar10")]) == 0

    assert [path.name for path in tmp_path.iterdir()] == ["cifar10"]


@pytest.mark.usefixtures("no_network")
def test_a_data_set_on_its_way_out_comes_back_when_its_successor_never_came(
    prepare: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare.main([str(tmp_path / "cifar10")])
    (tmp_path / "cifar10").rename(tmp_path / ".cifar10.replaced")
    capsys.readouterr()

    assert prepare.main([str(tmp_path / "cifar10")]) == 0

    assert "is complete" in capsys.readouterr().out


@pytest.mark.usefixtures("no_network")
def test_a_directory_of_something_else_is_refused(
    prepare: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")

    assert prepare.main([str(tmp_path)]) == 2

    assert "holds what this program did not make" in one_line(capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("directory", ["file", "file/cifar10", "file/deeper/cifar10"])
@pytest.mark.usefixtures("no_network")
def test_a_file_in_the_way_is_named(
    prepare: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], directory: str
) -> None:
    (tmp_path / "file").write_text("")

    assert prepare.main([str(tmp_path / directory)]) == 2

    assert f"can't write {tmp_path / directory}" in one_line(capsys)


@pytest.mark.usefixtures("no_network")
def test_a_full_disk_is_this_machines_fault(
    prepare: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(prepare, "write_split", full)

    assert prepare.main([str(tmp_path / "cifar10")]) == 3

    assert "No space left on device" in one_line(capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [[], ["somewhere", "--source", "imagenet"], ["somewhere", "--sauce", "digits"]])
def test_a_wrong_argument_ends_with_2(
    prepare: ModuleType, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        prepare.main(arguments)

    assert "error: " in capsys.readouterr().err


@pytest.mark.usefixtures("no_network")
def test_a_second_run_beside_the_first_waits_and_finds_all_done(
    prepare: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def second_run() -> None:
        codes.append(prepare.main([str(tmp_path / "cifar10")]))

    codes: list[int] = []
    with importlib.import_module("whole").alone_in(tmp_path):  # beside `prepare`, which has imported it
        threads = [threading.Thread(target=second_run) for _ in range(2)]
        for thread in threads:
            thread.start()
    for thread in threads:
        thread.join()

    assert codes == [0, 0]
    assert capsys.readouterr().out.count("is complete") == 1


def expect(prepare: ModuleType, monkeypatch: pytest.MonkeyPatch, web: Web) -> None:
    archive = prepare.Archive(web.url, len(web.content), hashlib.sha256(web.content).hexdigest())
    monkeypatch.setattr(prepare, "CIFAR10", archive)


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The complaint, which is one line and no traceback."""
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


@cache
def small_archive() -> bytes:
    """An archive like CIFAR-10's, of a few images, with members that nobody asked for and in no order."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name in (
            "data_batch_4",
            "readme.html",
            "test_batch",
            "data_batch_3",
            "data_batch_2",
            "data_batch_5",
            "data_batch_1",
        ):
            body = b"<html/>" if name.endswith("html") else as_python_2_wrote_it(small_batch(name))
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
    return content.getvalue()


def small_batch(name: str) -> dict[bytes, object]:
    random = np.random.default_rng(list(name.encode()))
    return {
        b"batch_label": name.encode(),
        b"labels": random.integers(0, 10, IMAGES_PER_BATCH).tolist(),
        b"data": random.integers(0, 256, (IMAGES_PER_BATCH, 3072), dtype=np.uint8),
    }


def as_python_2_wrote_it(batch: dict[bytes, object]) -> bytes:
    """CIFAR-10's own pickles name numpy's module of their time."""
    return pickle.dumps(batch, protocol=2).replace(b"numpy._core.", b"numpy.core.")


def read_split(folder: Path) -> list[tuple[np.ndarray, int, int]]:
    records = (record for path in sorted(folder.glob("*.tfrecord")) for record in read_records(path.read_bytes()))
    return [read_example(record) for record in records]


def read_records(content: bytes) -> Iterator[bytes]:
    """The payloads of a TFRecord file, every checksum verified."""
    while content:
        length = struct.unpack("<Q", content[:8])[0]
        payload = content[12 : 12 + length]
        for covered, stored in ((content[:8], content[8:12]), (payload, content[12 + length : 16 + length])):
            crc = google_crc32c.value(covered)
            assert struct.unpack("<I", stored)[0] == (((crc >> 15) | (crc << 17)) + 0xA282EAD8) % 2**32
        yield payload
        content = content[16 + length :]


def read_example(record: bytes) -> tuple[np.ndarray, int, int]:
    """Image, label and id of a tf.train.Example, read as any protobuf reader would, field by field."""
    features = {}
    for _, entry in fields(dict(fields(record))[1]):
        name, feature = dict(fields(entry)).values()
        ((kind, values),) = fields(feature)
        ((_, value),) = fields(values)
        features[name.decode()] = value if kind == 1 else varint(value)[0]
    image = np.frombuffer(features["image"], np.uint8).reshape(32, 32, 3)
    return image, features["label"], features["id"]


def fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    while message:
        tag, message = varint(message)
        assert tag & 7 == 2, "every field of an Example is length-delimited"
        length, message = varint(message)
        yield tag >> 3, message[:length]
        message = message[length:]


def varint(content: bytes) -> tuple[int, bytes]:
    value = 0
    for i, byte in enumerate(content):
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value, content[i + 1 :]
    raise AssertionError("a varint without an end")
