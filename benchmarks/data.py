"""How fast data goes in and out, each way beside a peer and the floor, in one run.

Every figure is taken in a process of its own, whose memory at its highest is told too. The S3 server is rclone's, on
loopback, over files that the page cache holds. What is fetched lands in a new folder each time.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from statistics import median
from threading import Thread
from urllib.parse import urlsplit

import numpy as np
from boto3 import Session
from botocore.config import Config

from local_mode.archives import packed
from local_mode.buckets import Endpoint
from local_mode.cache import Cache
from local_mode.contents import connect
from local_mode.fast_file import mounted
from local_mode.inputs.listing import under_prefix
from local_mode.pipes import Feed, Piece, feeding

MEMORY_MB = 300
"""What the harness may use at most."""

_BUCKET = "bench"
_KEYS = {"AWS_ACCESS_KEY_ID": "homeport-bench", "AWS_SECRET_ACCESS_KEY": "homeport-bench", "AWS_REGION": "us-east-1"}
_IMAGE = "homeport/debian:bookworm"
_HOMEPORT = str(Path(sys.executable).with_name("homeport-local"))
_STARTED = re.compile(r"\[(http://[\d.:]+)/\]")
_READY = re.compile(r"READY (\d+\.\d+)")
_PIECE = 1 << 20
_SOCKETS = 4
_SCRIPT = "echo READY $(date +%s.%N)"


@dataclass(frozen=True)
class Bench:
    """What is there to be measured with: `folder`, and the S3 at `url`, whose bucket holds `large/` and `small/`."""

    folder: Path
    url: str

    @property
    def bucket(self) -> Path:
        """The bucket, as a directory."""
        return self.folder / "s3" / _BUCKET

    @property
    def large(self) -> list[Path]:
        """The files of the bucket's large/."""
        return sorted((self.bucket / "large").iterdir())


@dataclass(frozen=True)
class Go:
    """What one go took, in seconds, and made, in bytes."""

    seconds: float
    size: int


@dataclass(frozen=True)
class Sample:
    """A go, and the highest resident memory of its processes in MB."""

    go: Go
    memory: float


Way = Callable[[Bench, Path], Go]
"""A way to do something, in a new folder."""


@dataclass(frozen=True)
class Race:
    """Ways to do the same by their names, ours first; `meets` says of the medians whether ours is fast enough."""

    title: str
    ways: dict[str, Way]
    reach: str
    meets: Callable[[Sequence[float], Sequence[int]], bool]


class _Untold:
    def fetching(self, objects: int, size: int) -> None:
        pass

    def fetched(self, size: int) -> None:
        pass


# S3 into files.


def ours_fetches(prefix: str, bench: Bench, folder: Path) -> Go:
    """As a File channel does: listed, fetched into the cache, linked into a tree."""
    store = connect(Endpoint(_BUCKET, bench.url, _KEYS["AWS_REGION"]))
    began = time.perf_counter()
    entries = under_prefix(prefix, store.listed(prefix))
    with Cache(folder, 1 << 40).tree(store, entries, _Untold(), lambda: False) as tree:
        return Go(time.perf_counter() - began, _size(tree))


def sdk_fetches(prefix: str, bench: Bench, folder: Path) -> Go:
    """As sagemaker.utils.download_folder of SDK 2.257.7 does: boto3's transfer manager, one object after another."""
    bucket = Session().resource("s3", endpoint_url=bench.url).Bucket(_BUCKET)
    began = time.perf_counter()
    for summary in bucket.objects.filter(Prefix=prefix):
        target = folder / summary.key
        target.parent.mkdir(parents=True, exist_ok=True)
        summary.Object().download_file(str(target))
    return Go(time.perf_counter() - began, _size(folder))


def floor_fetches(prefix: str, bench: Bench, folder: Path) -> Go:
    """GET requests over four sockets, signed before: no list, no check, no cache."""
    client = Session().client("s3", endpoint_url=bench.url, config=Config(signature_version="s3v4"))
    keys = [f"{prefix}{path.name}" for path in sorted((bench.bucket / prefix).iterdir())]
    urls = [client.generate_presigned_url("get_object", {"Bucket": _BUCKET, "Key": key}) for key in keys]
    began = time.perf_counter()
    with ThreadPoolExecutor(_SOCKETS) as pool:
        list(pool.map(partial(_get_all, folder), [urls[number::_SOCKETS] for number in range(_SOCKETS)]))
    return Go(time.perf_counter() - began, _size(folder))


def _get_all(folder: Path, urls: Sequence[str]) -> None:
    address = urlsplit(urls[0])
    buffer = memoryview(bytearray(_PIECE))
    with socket.create_connection((address.hostname, address.port)) as connection:
        for url in urls:
            path, query = urlsplit(url).path, urlsplit(url).query
            connection.sendall(f"GET {path}?{query} HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())
            got = connection.recv_into(buffer)
            while (end := bytes(buffer[:got]).find(b"\r\n\r\n")) < 0:
                got += connection.recv_into(buffer[got:])
            length = re.search(rb"(?i)^HTTP/1.1 200.*content-length: (\d+)", bytes(buffer[:end]), re.DOTALL)
            assert length, bytes(buffer[:end])
            with (folder / path.rpartition("/")[2]).open("wb", buffering=0) as file:
                left = int(length[1]) - file.write(buffer[end + 4 : got])
                while left:
                    left -= file.write(buffer[: connection.recv_into(buffer[: min(left, _PIECE)])])


# What a job left into model.tar.gz.


def ours_packs(bench: Bench, folder: Path) -> Go:
    """As collect() does, from the tar that an engine sends."""
    target = folder / "model.tar.gz"
    began = time.perf_counter()
    with (
        subprocess.Popen(["tar", "-C", bench.bucket / "large", "-c", "."], stdout=subprocess.PIPE) as engine,
        tarfile.open(fileobj=engine.stdout, mode="r|") as source,
        packed(target) as making,
    ):
        for member in source:
            making.add("algo-1", member, source)
    return Go(time.perf_counter() - began, target.stat().st_size)


def tarfile_packs(bench: Bench, folder: Path) -> Go:
    """As the SDK's local mode does."""
    target = folder / "model.tar.gz"
    began = time.perf_counter()
    with tarfile.open(target, "w:gz") as archive:
        archive.add(bench.bucket / "large", arcname=".")
    return Go(time.perf_counter() - began, target.stat().st_size)


def pigz_packs(bench: Bench, folder: Path) -> Go:
    """By all cores, in C."""
    target = folder / "model.tar.gz"
    began = time.perf_counter()
    subprocess.run(["tar", "-C", bench.bucket / "large", "-I", "pigz", "-cf", target, "."], check=True)
    return Go(time.perf_counter() - began, target.stat().st_size)


# Files through a FIFO.


def ours_pipes(bench: Bench, folder: Path) -> Go:
    """An epoch of a Pipe channel that lies on this machine."""

    def pieces(_epoch: int) -> Iterator[Piece]:
        for path in bench.large:
            with path.open("rb") as file:
                yield file

    def failed(error: BaseException) -> None:
        print(error, file=sys.stderr)

    with feeding(folder, [Feed("algo-1", "train", pieces)], failed):  # type: ignore[arg-type]
        return _read([folder / "algo-1" / "train_0"])


def cat_pipes(bench: Bench, folder: Path) -> Go:
    """`cat FILES > FIFO`."""
    fifo = folder / "fifo"
    os.mkfifo(fifo)
    with subprocess.Popen(["sh", "-c", f"exec cat {bench.bucket}/large/* > {fifo}"]):
        return _read([fifo])


# Files of a bucket, read one after another.


def ours_mounts(bench: Bench, folder: Path) -> Go:
    """A FastFile channel that nobody has read yet."""
    bucket = Endpoint(_BUCKET, bench.url, _KEYS["AWS_REGION"])
    with mounted(bucket, "large", folder / "channel", 1 << 40) as channel:
        return _read(sorted(channel.iterdir()))


def directory_mounts(bench: Bench, folder: Path) -> Go:  # noqa: ARG001 - every way is called alike
    """The directory that is the bucket."""
    return _read(bench.large)


# From the command to user code.


def ours_starts(prefix: str, bench: Bench, folder: Path) -> Go:
    """A job on what an earlier one has fetched; one without a channel where there is no prefix."""
    (folder / "homeport.toml").write_text(
        f'[local.buckets.{_BUCKET}]\nendpoint = "{bench.url}"\n[local.cache]\npath = "{bench.folder}/cache"\n'
    )
    job = folder / "job.toml"
    job.write_text(
        f'name = "second"\nimage = "{_IMAGE}"\ninstance_type = "ml.m5.large"\n'
        f'container_entry_point = ["sh", "-c", {json.dumps(_SCRIPT)}]\n'
        + (f'[inputs]\ntrain = "s3://{_BUCKET}/{prefix}"\n' if prefix else "")
    )
    return _started([_HOMEPORT, "train", str(job), "--runs", str(folder / "runs")], folder)


def docker_starts(bench: Bench, folder: Path) -> Go:  # noqa: ARG001 - every way is called alike
    """A bare container."""
    return _started(["docker", "run", "--rm", _IMAGE, "sh", "-c", _SCRIPT], folder)


def _started(command: Sequence[str], folder: Path) -> Go:
    # Compiled once, in the warm-up, as on any machine; where PYTHONDONTWRITEBYTECODE is set, every start compiles.
    environment = os.environ | {"PYTHONPYCACHEPREFIX": str(folder.parent / "pycache"), "PYTHONDONTWRITEBYTECODE": ""}
    began = time.time()
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    ready = _READY.search(ran.stdout)
    if not ready:
        raise RuntimeError(f"{' '.join(command)}: {ran.stdout}{ran.stderr}")
    return Go(float(ready[1]) - began, 0)


def _read(paths: Sequence[Path]) -> Go:
    buffer = bytearray(_PIECE)
    size, began = 0, time.perf_counter()
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while got := file.readinto(buffer):
                size += got
    return Go(time.perf_counter() - began, size)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


RACES = (
    Race(
        "1 GB in 4 objects from S3",
        {
            "File channel": partial(ours_fetches, "large/"),
            "boto3, as the SDK": partial(sdk_fetches, "large/"),
            "sockets": partial(floor_fetches, "large/"),
        },
        "at least 0.8 of the sockets' pace",
        lambda seconds, _: seconds[2] / seconds[0] >= 0.8,
    ),
    Race(
        "5,000 objects of 4 KB from S3",
        {
            "File channel": partial(ours_fetches, "small/"),
            "boto3, as the SDK": partial(sdk_fetches, "small/"),
            "sockets": partial(floor_fetches, "small/"),
        },
        "at least 5 × boto3",
        lambda seconds, _: seconds[1] / seconds[0] >= 5,
    ),
    Race(
        "1 GB of float32 into model.tar.gz",
        {"collect": ours_packs, "tarfile, as the SDK": tarfile_packs, "tar and pigz": pigz_packs},
        "at least 4 × tarfile, size within 8 %",
        lambda seconds, sizes: seconds[1] / seconds[0] >= 4 and abs(sizes[0] / sizes[1] - 1) <= 0.08,
    ),
    Race(
        "1 GB through a FIFO",
        {"Pipe channel": ours_pipes, "cat FILES > FIFO": cat_pipes},
        "at least 0.5 of cat's pace",
        lambda seconds, _: seconds[1] / seconds[0] >= 0.5,
    ),
    Race(
        "1 GB read in order",
        {"FastFile channel, from S3": ours_mounts, "directory": directory_mounts},
        "",
        lambda *_: True,
    ),
    Race(
        "a second job on the same data, to its first line",
        {
            "1 GB in 4 objects": partial(ours_starts, "large/"),
            "5,000 objects of 4 KB": partial(ours_starts, "small/"),
            "no data": partial(ours_starts, ""),
            "docker run": docker_starts,
        },
        "under 0.5 s whatever the size",
        lambda seconds, _: max(seconds[:2]) < 0.5,
    ),
)


def main() -> int:
    """Measure, print, clean up. A reach that is missed is said, and fails nothing."""
    parser = argparse.ArgumentParser(description="How fast data goes in and out.")
    parser.add_argument("-n", "--runs", type=int, default=3, help="how often each is measured (default: %(default)s)")
    parser.add_argument("-k", "--only", default="", metavar="TEXT", help="races whose title holds TEXT")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to FILE")
    asked = parser.parse_args()
    os.environ |= _KEYS | {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    print(f"cores {os.cpu_count()}, load average {_load()}", flush=True)
    found: dict[str, dict[str, list[Sample]]] = {}
    with tempfile.TemporaryDirectory(prefix="homeport-bench-") as folder, _bench(Path(folder)) as bench:
        for race in RACES:
            if asked.only in race.title:
                found[race.title] = _run(race, bench, asked.runs)
    print(f"Median of {asked.runs} (least to most). Load average at the end {_load()}")
    if asked.json:
        figures = {
            title: {name: [asdict(sample) for sample in samples] for name, samples in ways.items()}
            for title, ways in found.items()
        }
        asked.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


def _run(race: Race, bench: Bench, runs: int) -> dict[str, list[Sample]]:
    """Every way in turn, so that a busy moment of the machine is nobody's own; a first round is not counted."""
    ways = {name: way for name, way in race.ways.items() if name != "tar and pigz" or shutil.which("pigz")}
    rounds = [{name: _measured(way, bench) for name, way in ways.items()} for _ in range(runs + 1)][1:]
    samples = {name: [one[name] for one in rounds] for name in ways}
    print(f"\n{race.title}")
    for name, taken in samples.items():
        seconds = [sample.go.seconds for sample in taken]
        size, memory = taken[0].go.size, max(sample.memory for sample in taken)
        made = f"{size / 1e6:,.1f} MB" if size else ""
        print(f"  {name:<28}{_spread(seconds):<26}{made:<14}{memory:,.0f} MB of memory", flush=True)
    if race.reach:
        medians = [median(sample.go.seconds for sample in taken) for taken in samples.values()]
        met = race.meets(medians, [taken[0].go.size for taken in samples.values()])
        print(f"  reach: {race.reach}: {'met' if met else 'not met'}", flush=True)
    return samples


def _measured(way: Way, bench: Bench) -> Sample:
    """One go in a process and a folder of its own."""
    with (
        tempfile.TemporaryDirectory(dir=bench.folder) as folder,
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
    ):
        return pool.submit(_sampled, way, bench, Path(folder)).result()


def _sampled(way: Way, bench: Bench, folder: Path) -> Sample:
    go = way(bench, folder)
    return Sample(go, max(_highest(), getrusage(RUSAGE_CHILDREN).ru_maxrss) / 1e3)


def _highest() -> int:
    """Of this process, in kB. Its ru_maxrss begins with its parent's, which a child program's does too."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


@contextmanager
def _bench(folder: Path) -> Iterator[Bench]:
    """The files, and a server over them."""
    bench = Bench(folder, "")
    # Not here: what a process has ever used, its children are said to use.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(_make_weights, bench.bucket).result()
    where = ["--addr", "127.0.0.1:0", "--auth-key", f"{_KEYS['AWS_ACCESS_KEY_ID']},{_KEYS['AWS_SECRET_ACCESS_KEY']}"]
    rclone = Path(sys.executable).with_name("rclone")
    server = subprocess.Popen(
        [rclone, "serve", "s3", bench.bucket.parent, *where, "--config", ""], stderr=subprocess.PIPE, text=True
    )
    try:
        assert server.stderr
        url = next(started[1] for line in server.stderr if (started := _STARTED.search(line)))
        Thread(target=server.stderr.read, daemon=True).start()
        yield Bench(folder, url)
    finally:
        server.terminate()
        server.wait()


def _make_weights(bucket: Path) -> None:
    chance = np.random.default_rng(1)
    for prefix, count, floats in (("large", 4, 62_500_000), ("small", 5000, 1000)):
        (bucket / prefix).mkdir(parents=True)
        for number in range(count):
            weights = chance.standard_normal(floats, dtype=np.float32) * np.float32(0.02)
            weights.tofile(bucket / prefix / f"{number:04}.bin")


def _spread(values: Sequence[float]) -> str:
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f}) s"


def _load() -> str:
    return " ".join(f"{load:.1f}" for load in os.getloadavg())


if __name__ == "__main__":
    sys.exit(main())
