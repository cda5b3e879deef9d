"""A linked directory under a real mount, with S3 behind it and containers before it. Needs FUSE, and root or
user_allow_other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import md5, sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from docker import APIClient

from local_mode.buckets import Endpoint
from local_mode.contents import connect
from local_mode.first_read import can_mount, clear_stale, mounted
from local_mode.inputs.linked import Link
from local_mode.links import DataRepository
from tests.container.conftest import ROOT, wait_for
from training_job.errors import MachineCannot
from training_job.s3_uri import S3Uri

BIG = bytes(range(256)) * (48 << 10)  # 12 MB: more than one piece, more than one read
OBJECTS = {"train/a/0": b"zero", "train/a/1": b"one", "train/2": b"two", "big": BIG}
MODIFIED = "Sat, 21 Nov 2026 10:15:30 GMT"


class S3(ThreadingHTTPServer):
    """One bucket, my-bucket, as far as listing and reading it goes; `reads` are the keys that were read."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.objects = {f"datasets/{key}": content for key, content in OBJECTS.items()}
        self.reads: list[str] = []
        self.hold: threading.Event | None = None

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint("my-bucket", f"http://127.0.0.1:{self.server_port}", "us-west-2")


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: S3

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        key = unquote(url.path).removeprefix("/my-bucket").lstrip("/")
        if "AWS4-HMAC-SHA256" not in self.headers.get("Authorization", ""):
            self._send(403, b"<Error><Code>AccessDenied</Code></Error>")
        elif not key:
            self._send(200, self._listing(parse_qs(url.query)["prefix"][0]))
        elif key in self.server.objects:
            self.server.reads.append(key.removeprefix("datasets/"))
            if self.server.hold:
                self.server.hold.wait()
            self._send(200, self.server.objects[key])
        else:
            self._send(404, b"<Error><Code>NoSuchKey</Code></Error>")

    def _listing(self, prefix: str) -> bytes:
        entries = "".join(
            f"<Contents><Key>{key}</Key><Size>{len(content)}</Size><ETag>{_etag(content)}</ETag>"
            "<LastModified>2026-11-21T10:15:30.000Z</LastModified></Contents>"
            for key, content in self.server.objects.items()
            if key.startswith(prefix)
        )
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>".encode()

    def _send(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", _etag(content))
        self.send_header("Last-Modified", MODIFIED)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Tests are quiet."""


def _etag(content: bytes) -> str:
    return f'"{md5(content, usedforsecurity=False).hexdigest()}"'


@pytest.fixture(autouse=True)
def _fuse() -> None:
    """A laptop without FUSE skips; CI that has it must be able to mount."""
    if why := can_mount():
        if os.environ.get("CI") and Path("/dev/fuse").exists():
            pytest.fail(why)
        pytest.skip(why)


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """A bucket behind HTTP, and credentials for it in the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "homeport-test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "homeport-secret")
    with S3() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        if server.hold:
            server.hold.set()
        server.shutdown()


@pytest.fixture
def link(s3: S3, tmp_path: Path) -> Link:
    return Link(S3Uri.parse("s3://my-bucket/datasets"), s3.endpoint, tmp_path / "fsx", tmp_path / "link.db")


@contextmanager
def at(link: Link, mount_point: Path, subpath: str = "") -> Iterator[Path]:
    with DataRepository(link, connect(link.bucket)) as repository:
        found = repository.look(subpath)
    with mounted(link, found, mount_point) as mount:
        yield mount


@pytest.fixture
def mount(link: Link, tmp_path: Path) -> Iterator[Path]:
    with at(link, tmp_path / "mount") as mount:
        yield mount


def shell(command: str, folder: Path) -> str:
    done = subprocess.run(["sh", "-euc", command], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def here(link: Link) -> list[str]:
    return sorted(str(path.relative_to(link.directory)) for path in link.directory.rglob("*") if path.is_file())


def is_mounted(mount_point: Path) -> bool:
    return f" {mount_point} " in Path("/proc/self/mountinfo").read_text()


def test_everything_is_listed_and_nothing_fetched(mount: Path, link: Link, s3: S3) -> None:
    listed = shell("find . -type f | sort; stat -c '%s %Y %a' big", mount)

    assert listed == "./big\n./train/2\n./train/a/0\n./train/a/1\n12582912 1795256130 644\n"
    assert (s3.reads, here(link)) == ([], [])


def test_a_first_read_fetches_a_file_and_a_second_nothing(mount: Path, link: Link, s3: S3) -> None:
    assert shell("cat train/2; cat train/2", mount) == "twotwo"

    assert (s3.reads, here(link)) == (["train/2"], ["train/2"])


def test_a_long_file_reads_the_same_in_order_in_pieces_and_mapped(mount: Path) -> None:
    script = (
        "import mmap, sys; f = open('big', 'rb'); a = f.read(); f.seek(5 << 20); b = f.read(7); m = mmap.mmap("
        "f.fileno(), 0, prot=mmap.PROT_READ); import hashlib; print(hashlib.sha256(a).hexdigest(), "
        "b == a[5 << 20:][:7], m[:] == a)"
    )

    assert shell(f'{sys.executable} -c "{script}"; cp big copy; cmp big copy', mount).split() == [
        sha256(BIG).hexdigest(),
        "True",
        "True",
    ]


def test_what_is_written_goes_to_the_directory_and_the_other_way_round(mount: Path, link: Link) -> None:
    shell("echo mine > new; echo more >> train/2; mkdir made; mv new made/; chmod 640 made/new; rm train/a/0", mount)

    assert (link.directory / "made/new").read_text() == "mine\n"
    assert (link.directory / "made/new").stat().st_mode & 0o777 == 0o640
    assert (link.directory / "train/2").read_text() == "twomore\n"
    assert sorted(path.name for path in (mount / "train/a").iterdir()) == ["1"]
    (link.directory / "beside").write_text("from outside")
    assert (mount / "beside").read_text() == "from outside"


def test_a_file_that_is_deleted_while_it_is_open_can_still_be_read(mount: Path) -> None:
    assert shell("exec 3<train/2; rm train/2; cat <&3; test ! -e train/2", mount) == "two"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root acts as another")
def test_files_belong_to_whoever_makes_them_and_modes_hold(mount: Path) -> None:
    shell("mkdir -m 777 open", mount)

    def as_another(command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-c", command],
            cwd=mount,
            user=12345,
            group=54321,
            extra_groups=[],
            capture_output=True,
            text=True,
            check=False,
        )

    assert as_another("umask 027; echo x > open/mine; cat train/2").stdout == "two"
    assert shell("stat -c '%u %g %a' open/mine", mount) == "12345 54321 640\n"
    assert "Permission denied" in as_another("echo x > train/2").stderr
    assert "Permission denied" in as_another("touch new").stderr


def test_what_cannot_be_fetched_is_an_error_to_the_reader(
    link: Link, tmp_path: Path, s3: S3, capfd: pytest.CaptureFixture[str]
) -> None:
    with at(link, tmp_path / "mount") as mount:
        del s3.objects["datasets/train/2"]

        with pytest.raises(OSError, match="Input/output error"):
            (mount / "train/2").read_text()

    assert "homeport-local: s3://my-bucket/datasets/train/2: was there when" in capfd.readouterr().err


def test_many_first_reads_at_once_wait_for_one_fetch_and_hold_up_nobody_else(mount: Path, s3: S3) -> None:
    s3.hold = threading.Event()
    with ThreadPoolExecutor(20) as pool:
        readers = [pool.submit((mount / "train/2").read_text) for _ in range(20)]
        wait_for(lambda: s3.reads == ["train/2"])

        assert sorted(path.name for path in mount.iterdir()) == ["big", "train"]

        s3.hold.set()
        assert {reader.result(30) for reader in readers} == {"two"}
    assert s3.reads == ["train/2"]


def test_a_mount_ends_with_its_context_even_while_somebody_uses_it(link: Link, tmp_path: Path) -> None:
    with at(link, tmp_path / "mount", "train") as mount:
        used = (mount / "2").open()

    assert not is_mounted(mount)
    assert not mount.exists()
    used.close()


def test_a_mount_that_cannot_be_made_says_why(link: Link, tmp_path: Path) -> None:
    with DataRepository(link, connect(link.bucket)) as repository:
        found = repository.look()
    link.directory.mkdir()
    (link.directory / "train").write_text("a file, since it was looked at")

    with (
        pytest.raises(MachineCannot, match="fsx/train cannot be made: File exists"),
        mounted(link, found, tmp_path / "m"),
    ):
        pass

    assert not (tmp_path / "m").exists()


HARNESS = """
import sys, time
from pathlib import Path
from local_mode.contents import connect
from local_mode.first_read import mounted
from local_mode.inputs.linked import Link
from local_mode.links import DataRepository
from local_mode.buckets import Endpoint
from training_job.s3_uri import S3Uri
url, root = sys.argv[1], Path(sys.argv[2])
bucket = Endpoint("my-bucket", url, "us-west-2")
link = Link(S3Uri.parse("s3://my-bucket/datasets"), bucket, root / "fsx", root / "link.db")
found = DataRepository(link, connect(link.bucket)).look()
with mounted(link, found, root / "mount"):
    print("mounted", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def harness(s3: S3, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A harness with a mount, to be killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HARNESS, str(s3.endpoint.url), str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "mounted\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()
    clear_stale(tmp_path / "mount")


def children(process: subprocess.Popen[str]) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def gone(pid: int) -> Callable[[], bool]:
    def is_gone() -> bool:
        try:
            return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return True

    return is_gone


def test_a_killed_harness_takes_its_mount_with_it(harness: subprocess.Popen[str], tmp_path: Path) -> None:
    (server,) = children(harness)

    harness.kill()
    harness.wait()

    wait_for(gone(server))
    clear_stale(tmp_path / "mount")
    assert not is_mounted(tmp_path / "mount")
    assert not (tmp_path / "mount").exists()


def test_a_mount_whose_process_was_killed_too_is_cleared(harness: subprocess.Popen[str], tmp_path: Path) -> None:
    (server,) = children(harness)
    os.kill(server, signal.SIGKILL)
    wait_for(gone(server))
    with pytest.raises(OSError, match=r"not connected|connection abort"):
        list((tmp_path / "mount").iterdir())

    clear_stale(tmp_path / "mount")

    assert not is_mounted(tmp_path / "mount")
    assert not (tmp_path / "mount").exists()


def test_two_containers_see_each_others_writes(
    mount: Path, link: Link, s3: S3, api: APIClient, shell_image: str
) -> None:
    commands = (
        "cat /data/train/2; echo hello > /data/note; until [ -e /data/answer ]; do :; done; cat /data/answer",
        "until [ -s /data/note ]; do :; done; cat /data/note; cat /data/train/2; mv /data/note /data/answer",
    )
    binds = api.create_host_config(binds={str(mount): {"bind": "/data", "mode": "rw"}})
    hosts = [
        api.create_container(shell_image, entrypoint=["sh", "-c", command], host_config=binds)["Id"]
        for command in commands
    ]
    try:
        for host in hosts:
            api.start(host)
        codes = [api.wait(host, timeout=60)["StatusCode"] for host in hosts]
        logs = [api.logs(host).decode() for host in hosts]
    finally:
        for host in hosts:
            api.remove_container(host, force=True)

    assert (codes, logs) == ([0, 0], ["twohello\n", "hello\ntwo"])
    assert (s3.reads, (link.directory / "answer").read_text()) == (["train/2"], "hello\n")
