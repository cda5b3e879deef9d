"""data push: every file in the bucket once, checked as it arrives, and seen by FSx for Lustre."""

import base64
import hashlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from cloud import upload
from cloud.__main__ import main
from cloud.aws import Aws
from cloud.object_store import putting_to
from cloud.upload_plan import PART
from tests.cloud.empty_account import EmptyAccount
from tests.cloud.fsx_stand_in import FILE_SYSTEM, Fsx, fsx_stand_in
from tests.s3_server import KEYS, rclone_s3
from training_job.errors import AccountCannot

BUCKET = "a-bucket-of-ours"
PLACE = f"""
[local.file_systems.training-data]
mount_name = "fsx"
path = "data/fsx"

[cloud]
region = "us-east-1"
role = "arn:aws:iam::123456789012:role/Trainer"
bucket = "{BUCKET}"
"""
LUSTRE = f"""
[cloud.file_systems.training-data]
id = "{FILE_SYSTEM}"
mount_name = "abcd"
"""
Said = pytest.CaptureFixture[str]


@dataclass(frozen=True)
class Bench:
    """A folder with a data set in it, and the S3 it goes to."""

    folder: Path
    s3: Any

    @property
    def dataset(self) -> Path:
        return self.folder / "data/fsx/cifar10"

    def fill(self, sizes: dict[str, int]) -> None:
        """Files of the data set, by name, of so many random bytes; the same ones each time."""
        for name, size in sizes.items():
            path = self.dataset / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                for offset in range(0, size, 1 << 20):
                    file.write(random.Random(f"{name} {offset}").randbytes(min(1 << 20, size - offset)))

    def in_the_bucket(self) -> dict[str, bytes]:
        """Every object's content, by key."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        keys = [item["Key"] for page in pages for item in page.get("Contents", ())]
        return {key: self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}

    def files(self, prefix: str) -> dict[str, bytes]:
        """What should be there."""
        paths = [path for path in self.dataset.rglob("*") if path.is_file()]
        return {f"{prefix}{path.relative_to(self.dataset).as_posix()}": path.read_bytes() for path in paths}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cloud.stack_commands.time.sleep", lambda _: None)
    (tmp_path / "homeport.toml").write_text(PLACE)
    return tmp_path


@pytest.fixture(params=["moto", "rclone"])
def bench(
    request: pytest.FixtureRequest, folder: Path, empty_account: EmptyAccount, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    """Both S3s: one makes ETags as S3 does, the other keeps the objects as files."""
    if request.param == "moto":
        yield _moto(folder, empty_account)
        return
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    with rclone_s3(folder / "s3") as served:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", served.url)
        yield Bench(folder, _bucket(served.url, *KEYS.values()))


@pytest.fixture
def moto_bench(folder: Path, empty_account: EmptyAccount) -> Bench:
    return _moto(folder, empty_account)


def _moto(folder: Path, account: EmptyAccount) -> Bench:
    return Bench(folder, _bucket(account.url, "AKIALOOK", "homeport-secret"))


def _bucket(url: str, key: str, secret: str) -> Any:
    s3 = boto3.Session(key, secret, region_name="us-east-1").client("s3", endpoint_url=url)
    s3.create_bucket(Bucket=BUCKET)
    return s3


def test_every_file_is_in_the_bucket_as_it_is_here(bench: Bench, capsys: Said) -> None:
    bench.fill({"train/0.tfrecord": 5000, "train/1.tfrecord": 0, "labels with ü & =.txt": 12, "large": 2 * PART + 7})

    assert main(["data", "push", "data/fsx/cifar10"]) == 0

    assert bench.in_the_bucket() == bench.files("data/cifar10/")
    assert "  4 files sent, 0 were there: 33.6 MB sent, 0.0 MB not sent again\n" in capsys.readouterr().out


def test_nothing_is_sent_twice(bench: Bench, capsys: Said) -> None:
    bench.fill({"train/0.tfrecord": 5000, "empty": 0, "large": PART + 1})
    main(["data", "push", "data/fsx/cifar10"])
    before = {item["Key"]: item["LastModified"] for item in bench.s3.list_objects_v2(Bucket=BUCKET)["Contents"]}
    capsys.readouterr()

    assert main(["data", "push", "data/fsx/cifar10"]) == 0

    assert "  0 files sent, 3 were there: 0.0 MB sent, 16.8 MB not sent again\n" in capsys.readouterr().out
    assert {item["Key"]: item["LastModified"] for item in bench.s3.list_objects_v2(Bucket=BUCKET)["Contents"]} == before


def test_a_file_whose_content_changed_is_sent_though_its_size_did_not(bench: Bench, capsys: Said) -> None:
    bench.fill({"one": 5000, "two": 5000})
    main(["data", "push", "data/fsx/cifar10"])
    (bench.dataset / "two").write_bytes(b"x" * 5000)
    capsys.readouterr()

    main(["data", "push", "data/fsx/cifar10"])

    assert "  1 files sent, 1 were there" in capsys.readouterr().out
    assert bench.in_the_bucket() == bench.files("data/cifar10/")


def test_s3_is_told_what_it_should_receive(moto_bench: Bench) -> None:
    moto_bench.fill({"small": 5000, "large": PART + 1})

    main(["data", "push", "data/fsx/cifar10"])

    def checksum(name: str) -> str:
        answer = moto_bench.s3.head_object(Bucket=BUCKET, Key=f"data/cifar10/{name}", ChecksumMode="ENABLED")
        return str(answer["ChecksumSHA256"])

    def sha256(content: bytes) -> bytes:
        return hashlib.sha256(content).digest()

    small, large = (moto_bench.dataset / "small").read_bytes(), (moto_bench.dataset / "large").read_bytes()
    assert checksum("small") == base64.b64encode(sha256(small)).decode()
    joined = sha256(sha256(large[:PART]) + sha256(large[PART:]))
    assert checksum("large").partition("-")[0] == base64.b64encode(joined).decode()


def test_where_etags_say_nothing_the_checksums_tell_what_is_there(
    moto_bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    moto_bench.fill({"one": 5000, "two": 5000})
    main(["data", "push", "data/fsx/cifar10"])
    (moto_bench.dataset / "two").write_bytes(b"x" * 5000)
    # As in a bucket that a customer's key encrypts.
    monkeypatch.setattr(upload, "etags_of", lambda *_: frozenset())
    capsys.readouterr()

    main(["data", "push", "data/fsx/cifar10"])

    assert "  1 files sent, 1 were there" in capsys.readouterr().out


def killed_once(is_so: Callable[[], bool]) -> None:
    """Push in a process of its own, which is killed as soon as something is so."""
    push = subprocess.Popen(
        [sys.executable, "-m", "cloud", "data", "push", "data/fsx/cifar10"],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not is_so():
        assert push.poll() is None, "it ended before it was killed"
        assert time.monotonic() < deadline
    push.kill()
    push.wait()


def test_a_push_that_was_killed_goes_on_with_the_files_that_are_not_there(moto_bench: Bench, capsys: Said) -> None:
    moto_bench.fill({f"{number:04}": 1000 for number in range(800)})

    def there() -> int:
        return int(moto_bench.s3.list_objects_v2(Bucket=BUCKET)["KeyCount"])

    killed_once(lambda: there() > 20)
    had = there()
    assert had < 800

    assert main(["data", "push", "data/fsx/cifar10"]) == 0

    sent = int(capsys.readouterr().out.rpartition(" files sent")[0].split()[-1])
    # Those that were on their way when it was killed may have arrived after.
    assert 800 - had - 16 <= sent <= 800 - had
    assert moto_bench.in_the_bucket() == moto_bench.files("data/cifar10/")


def test_a_push_that_was_killed_goes_on_with_the_parts_that_are_not_there(moto_bench: Bench, capsys: Said) -> None:
    moto_bench.fill({"large": 24 * PART})

    def parts() -> int:
        uploads = moto_bench.s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", ())
        where = {"Bucket": BUCKET, "Key": "data/cifar10/large"}
        return sum(
            len(moto_bench.s3.list_parts(**where, UploadId=item["UploadId"]).get("Parts", ())) for item in uploads
        )

    killed_once(lambda: parts() > 2)
    had = parts()
    assert had < 24

    assert main(["data", "push", "data/fsx/cifar10"]) == 0

    kept = float(capsys.readouterr().out.rpartition(" MB not sent again")[0].split()[-1])
    assert kept >= had * PART / 1e6 - 0.1
    assert moto_bench.in_the_bucket() == moto_bench.files("data/cifar10/")
    assert moto_bench.s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []) == []


@pytest.fixture
def fsx(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fsx]:
    (folder / "homeport.toml").write_text(PLACE + LUSTRE)
    with fsx_stand_in(Fsx(f"s3://{BUCKET}/fsx")) as stand_in:
        monkeypatch.setenv("AWS_ENDPOINT_URL_FSX", stand_in.url)
        yield stand_in


def test_data_goes_where_fsx_for_lustre_shows_it_at_the_same_path(moto_bench: Bench, fsx: Fsx, capsys: Said) -> None:
    moto_bench.fill({"train/0.tfrecord": 5})

    assert main(["data", "push", "data/fsx/cifar10"]) == 0

    assert moto_bench.in_the_bucket().keys() == {"fsx/cifar10/train/0.tfrecord"}
    assert (
        f"{FILE_SYSTEM} shows it at /cifar10: it imports new and changed objects by itself" in capsys.readouterr().out
    )
    assert fsx.tasks == {}


def test_a_file_system_that_imports_nothing_by_itself_is_asked_to_once(
    moto_bench: Bench, fsx: Fsx, capsys: Said
) -> None:
    moto_bench.fill({"train/0.tfrecord": 5})
    fsx.imports = ()

    assert main(["data", "push", "fsx://training-data/cifar10"]) == 0
    assert main(["data", "push", "fsx://training-data/cifar10"]) == 0

    (task,) = fsx.tasks.values()
    assert task["Type"] == "IMPORT_METADATA_FROM_REPOSITORY"
    assert (task["FileSystemId"], task["Paths"]) == (FILE_SYSTEM, ["cifar10"])
    assert "  3 files imported\n" in capsys.readouterr().out


def test_more_data_is_imported_anew(moto_bench: Bench, fsx: Fsx) -> None:
    fsx.imports = ("NEW",)
    moto_bench.fill({"train/0.tfrecord": 5})
    main(["data", "push", "data/fsx/cifar10"])
    moto_bench.fill({"train/1.tfrecord": 5})

    main(["data", "push", "data/fsx/cifar10"])

    assert len(fsx.tasks) == 2


def test_an_import_that_fails_is_told(moto_bench: Bench, fsx: Fsx, capsys: Said) -> None:
    moto_bench.fill({"train/0.tfrecord": 5})
    fsx.imports, fsx.failing = (), "the bucket denies access"

    assert main(["data", "push", "data/fsx/cifar10"]) == 3

    assert "is FAILED: the bucket denies access. The objects are in the bucket" in capsys.readouterr().err


def test_data_can_go_elsewhere(moto_bench: Bench, fsx: Fsx, capsys: Said) -> None:
    moto_bench.fill({"train/0.tfrecord": 5})
    fsx.imports = ()

    assert main(["data", "push", "data/fsx/cifar10", "--to", f"s3://{BUCKET}/other/place"]) == 0

    assert moto_bench.in_the_bucket().keys() == {"other/place/train/0.tfrecord"}
    assert f"does not show s3://{BUCKET}/other/place" in capsys.readouterr().out
    assert fsx.tasks == {}


@pytest.mark.parametrize(
    ("asked", "code", "told"),
    [
        (["data/fsx/nothing"], 2, "nothing is no directory"),
        (["fsx://unknown/cifar10"], 2, "homeport.toml says of no such file system where it is here"),
        (["fsx://training-data/../.."], 2, "is no directory of that file system"),
        (["data/fsx/cifar10", "--to", "elsewhere"], 2, "'elsewhere' must be s3://bucket/key"),
        (["data/fsx/cifar10", "--to", "s3://another-bucket/x"], 3, "NoSuchBucket"),
        (["data/fsx/odd"], 2, "its name holds a control character"),
        (["data/fsx/empty"], 2, "holds no file"),
        (["data/fsx/broken"], 2, "is no file, or a link to nothing"),
        (["data/fsx/long"], 2, "bytes, and S3 takes 1,024"),
    ],
)
def test_what_cannot_be_pushed_is_told_before_anything_is_sent(
    moto_bench: Bench, capsys: Said, asked: list[str], code: int, told: str
) -> None:
    moto_bench.fill(
        {"train/0.tfrecord": 5, "../odd/a\nb": 1, "../odd/fine": 1, "../long/" + "d" * 250 + "/" + "e/" * 500 + "f": 1}
    )
    (moto_bench.folder / "data/fsx/empty").mkdir()
    (moto_bench.folder / "data/fsx/broken").mkdir()
    (moto_bench.folder / "data/fsx/broken/link").symlink_to("nowhere")

    assert main(["data", "push", *asked]) == code

    assert told in capsys.readouterr().err
    assert moto_bench.in_the_bucket() == {}


def test_a_file_that_changes_meanwhile_is_told(
    moto_bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    moto_bench.fill({"growing": 100})
    listed = upload.Uploader._listed

    def grows(self: upload.Uploader, prefix: str) -> Any:
        (moto_bench.dataset / "growing").write_bytes(b"more")
        return listed(self, prefix)

    monkeypatch.setattr(upload.Uploader, "_listed", grows)

    assert main(["data", "push", "data/fsx/cifar10"]) == 3

    assert "growing: changed while it was sent. Push again once nobody writes there" in capsys.readouterr().err
    assert moto_bench.in_the_bucket() == {}


def test_no_data_leave_this_machine_while_stand_ins_are_in_use(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    (folder / "data/fsx/cifar10").mkdir(parents=True)
    (folder / "data/fsx/cifar10/file").write_text("data")
    monkeypatch.delenv("AWS_ENDPOINT_URL")

    assert main(["data", "push", "data/fsx/cifar10"]) == 3

    assert "refused, since HOMEPORT_ONLY_LOOPBACK is set" in capsys.readouterr().err
    # Not every request is boto3's.
    with pytest.raises(AccountCannot, match=r"PUT s3\.amazonaws\.com: refused"):
        putting_to(Aws("us-east-1"), BUCKET)
