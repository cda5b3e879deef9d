"""Stand-ins for tests: a small job, a machine, a place, and an engine without containers that keeps its promises."""

import io
import tarfile
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from queue import SimpleQueue
from typing import Any

from local_mode.engine import Ended, Image, NoSuchDirectory, Program, Usage
from local_mode.machine import Machine
from local_mode.place import Bucket, FileSystem, Place
from local_mode.plan import VOLUMES, HostPlan, Options, RunPlan, plan_run
from local_mode.supervision import Signal
from local_mode.warm_pool import CacheVolume
from training_job.errors import ImageCannotTrain, ImageNotFound, MachineCannot
from training_job.model import TrainingJob

NOW = datetime(2026, 11, 21, 10, 15, 30, tzinfo=UTC)
REGION = "us-west-2"
LAPTOP = Machine(cores=4, memory=8 << 30)
WORKSTATION = Machine(cores=32, memory=256 << 30, gpus=tuple("01234567"))
ROLE = "arn:aws:iam::123456789012:role/SageMakerRole"
SIGNALS = {"SIGTERM": 15, "SIGKILL": 9}
_PATIENCE = 10  # seconds after which a test that waits for nothing fails


def a_request(**changes: Any) -> dict[str, Any]:
    """The smallest request that can run, with whole members of it changed."""
    return {
        "TrainingJobName": "job-1",
        "AlgorithmSpecification": {"TrainingImage": "my/image", "TrainingInputMode": "File"},
        "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1},
    } | changes


def a_job(*, hosts: int = 1, instance_type: str = "ml.m5.xlarge", **changes: Any) -> TrainingJob:
    resources = {"InstanceType": instance_type, "InstanceCount": hosts}
    return TrainingJob.model_validate(a_request(**{"ResourceConfig": resources} | changes), strict=False)


def an_s3_channel(name: str = "training", uri: str = "s3://my-bucket/train", **changes: Any) -> dict[str, Any]:
    source = {"S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}} | changes


def an_fsx_channel(name: str = "train", path: str = "/fsx/train", **changes: Any) -> dict[str, Any]:
    source = {
        "FileSystemId": "fs-0123456789abcdef0",
        "FileSystemType": "FSxLustre",
        "FileSystemAccessMode": "ro",
        "DirectoryPath": path,
    } | changes
    return {"ChannelName": name, "DataSource": {"FileSystemDataSource": source}}


def a_place(root: Path) -> Place:
    """A homeport.toml with an FSx for Lustre by name, one by id, an EFS and a bucket."""
    return Place(
        root=root,
        runs=root / "runs",
        code=root / "entrypoints",
        # Beside what a test looks into.
        state=root.with_name(f"{root.name}-state"),
        file=root / "homeport.toml",
        file_systems={
            "training-data": FileSystem(path="data/fsx", mount_name="fsx"),
            "by-id": FileSystem(path="data/by-id", mount_name="fsx", id="fs-0123456789abcdef0", type="FSxLustre"),
            "home": FileSystem(path="data/efs", type="EFS"),
        },
        buckets={"my-bucket": Bucket(path="data/s3/my-bucket")},
    )


def a_plan(root: Path, job: TrainingJob | None = None, machine: Machine = LAPTOP, **options: Any) -> RunPlan:
    return plan_run(job or a_job(), machine, a_place(root), Options(**options))


@dataclass
class Script:
    """What a container does: says its lines, leaves its files, and ends, at once or when something happens."""

    lines: Sequence[bytes] = ()
    code: int = 0
    out_of_memory: bool = False
    files: Mapping[str, bytes] = field(default_factory=dict)
    refuses_to_be_made: Exception | None = None
    refuses_to_start: Exception | None = None
    loses_its_log: Exception | None = None
    ends_on: tuple[str, ...] = ()
    """The signals that end it; without any it ends by itself."""
    waits_for: threading.Event | None = None
    tells: threading.Event | None = None
    asks: int = 0
    """How often what stands beside it asks."""
    refuses_a_companion: Exception | None = None

    @classmethod
    def by_environment(cls, host: HostPlan) -> "Script":
        """What the image of tests/contract does under the same environment."""
        asked = host.environment
        refusal = None if host.command == ("train",) else ImageCannotTrain(host.image, f"no {host.command[0]}")
        outputs = {"/opt/ml/model/weights": "MODEL", "/opt/ml/output/failure": "FAILURE"}
        return cls(
            lines=_lines(asked.get("SAY", "") * int(asked.get("TIMES", "1"))),
            code=int(asked.get("EXIT", "0")),
            files={path: asked[name].encode() for path, name in outputs.items() if name in asked},
            refuses_to_start=refusal,
            ends_on={"": (), "until SIGTERM": ("SIGTERM", "SIGKILL"), "until SIGKILL": ("SIGKILL",)}[
                asked.get("HANG", "")
            ],
        )


def _lines(text: str) -> list[bytes]:
    """Lines as an engine has them: ended by a line feed and nothing else."""
    *whole, rest = text.encode().split(b"\n")
    return [line + b"\n" for line in whole] + [rest] * bool(rest)


class FakeCompanion:
    """A program that asks, hears, and waits for its end."""

    def __init__(self, program: Program, asks: int) -> None:
        self.program = program
        self.heard: SimpleQueue[bytes] = SimpleQueue()
        self._asks = asks
        self._ended = threading.Event()

    def lines(self) -> Iterator[bytes]:
        yield b"ready"
        for _ in range(self._asks):
            yield b"ask"
        assert self._ended.wait(_PATIENCE)

    def tell(self, line: bytes) -> None:
        self.heard.put(line)

    def end(self) -> None:
        self._ended.set()


class FakeHost:
    """A container that is a few values and a thread's patience."""

    def __init__(self, engine: "FakeEngine", host: HostPlan, script: Script) -> None:
        self._engine = engine
        self._plan = host
        self._script = script
        self._ended = threading.Event()
        self._result: Ended | None = None
        self.cache_volume = host.cache_volume
        self.running = False
        self.files: dict[str, bytes] = {}
        self.modes: dict[str, int] = {}
        self.mtimes: dict[str, int] = {}
        self.oddities: list[tarfile.TarInfo] = []
        """What else its directories' streams hold: links, devices, and names that no directory has."""
        self.breaks_after: list[int] = []
        """The bytes after which the next streams end, one each."""
        self.fetched: Callable[[str], None] = lambda _: None
        """Called when a directory is streamed, before its files are looked at."""
        self.companions: SimpleQueue[FakeCompanion] = SimpleQueue()

    @property
    def name(self) -> str:
        return self._plan.host

    def put(self, archive: bytes | Iterable[bytes]) -> None:
        self._engine.note(f"put {self.name}")
        whole = archive if isinstance(archive, bytes) else b"".join(archive)
        with tarfile.open(fileobj=io.BytesIO(whole)) as source:
            for member in source:
                self.modes[f"/{member.name}"] = member.mode
                self.mtimes[f"/{member.name}"] = int(member.mtime)
                if content := source.extractfile(member):
                    self.files[f"/{member.name}"] = content.read()

    def start(self) -> None:
        if self._script.refuses_to_start:
            raise self._script.refuses_to_start
        self._engine.note(f"start {self.name}")
        self.running = True
        self.files |= self._script.files
        if not self._script.ends_on and not self._script.waits_for:
            self._end(self._script.code)

    def log(self) -> Iterator[bytes]:
        if self._script.waits_for:
            assert self._script.waits_for.wait(_PATIENCE)
            self._end(self._script.code)
        yield from self._script.lines
        if self._script.loses_its_log:
            raise self._script.loses_its_log
        assert self._ended.wait(_PATIENCE)

    def wait(self) -> Ended:
        assert self._ended.wait(_PATIENCE)
        if self._script.tells:
            self._script.tells.set()
        assert self._result
        return self._result

    def signal(self, name: str) -> None:
        self._engine.note(f"{name} {self.name}")
        if self.running and name in self._script.ends_on:
            self._end(128 + SIGNALS[name])

    def write(self, path: str, content: bytes, at: int = 0) -> None:
        """A program of the host writes a file, in the second `at`."""
        self.files[path] = content
        self.mtimes[path] = at

    def remove(self, path: str) -> None:
        """A program of the host removes a file."""
        del self.files[path]

    def usage(self) -> Usage | None:
        return None

    def fetch(self, path: str) -> Generator[bytes, None, None]:
        self.fetched(path)
        folder = PurePosixPath(path)
        found = {file: content for file, content in list(self.files.items()) if folder in PurePosixPath(file).parents}
        if not (found or self.oddities) and path not in ("/usr", *VOLUMES, *self.modes):
            raise NoSuchDirectory(path)
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as archive:
            root = tarfile.TarInfo(folder.name)
            root.type = tarfile.DIRTYPE
            archive.addfile(root)
            for file, content in sorted(found.items()):
                entry = tarfile.TarInfo(str(PurePosixPath(file).relative_to(folder.parent)))
                entry.size = len(content)
                entry.mtime = self.mtimes.get(file, 0)
                archive.addfile(entry, io.BytesIO(content))
            for oddity in self.oddities:
                archive.addfile(oddity)
        whole = stream.getvalue()
        yield whole[: self.breaks_after.pop(0)] if self.breaks_after else whole

    @contextmanager
    def companion(self, program: Program) -> Iterator[FakeCompanion]:
        if self._script.refuses_a_companion:
            raise self._script.refuses_a_companion
        self._engine.note(f"+beside {self.name}")
        made = FakeCompanion(program, self._script.asks)
        self.companions.put(made)
        try:
            yield made
        finally:
            self._engine.note(f"-beside {self.name}")

    def _end(self, code: int) -> None:
        self._result = Ended(code, self._script.out_of_memory)
        self.running = False
        self._ended.set()


class FakeEngine:
    """Local_mode.engine's Engine. `events` is what it was asked to do, in order; `left` what is still there."""

    def __init__(
        self,
        scripts: Mapping[str, Script] | Callable[[HostPlan], Script] | None = None,
        machine: Machine = LAPTOP,
        owned: Mapping[str, str] | None = None,
    ) -> None:
        self._scripts = scripts or {}
        self._machine = machine
        self._owned = dict(owned or {})
        self._lock = threading.Lock()
        self._networks: dict[str, str] = {}
        self.hosts: dict[str, FakeHost] = {}
        self.missing_images: set[str] = set()
        self.events: list[str] = []
        self.volumes: dict[str, CacheVolume] = {}

    @property
    def left(self) -> list[str]:
        return sorted([*self._networks, *self.hosts, *self._owned])

    def note(self, event: str) -> None:
        with self._lock:
            self.events.append(event)

    def machine(self) -> Machine:
        return self._machine

    def image(self, reference: str) -> Image:
        if reference in self.missing_images:
            raise ImageNotFound(reference, "no registry has it")
        return Image(reference, f"sha256:{'0' * 64}")

    @contextmanager
    def network(self, plan: RunPlan, owner: str) -> Iterator[None]:
        self.note("+network")
        self._networks[plan.network] = plan.name
        self._owned[plan.name] = owner
        try:
            yield
        finally:
            if self.hosts:
                raise MachineCannot(f"the engine refuses: network {plan.network} has active endpoints")
            self.note("-network")
            self._networks.pop(plan.network, None)
            self._owned.pop(plan.name, None)

    @contextmanager
    def host(self, plan: RunPlan, host: HostPlan, owner: str) -> Iterator[FakeHost]:  # noqa: ARG002 - the port's
        script = self._script_of(host)
        if script.refuses_to_be_made:
            raise script.refuses_to_be_made
        if plan.network not in self._networks:
            raise MachineCannot(f"the engine refuses: network {plan.network} not found")
        self.note(f"+{host.host}")
        if host.cache_volume:
            self.volumes[host.cache_volume.name] = host.cache_volume
        self.hosts[host.host] = made = FakeHost(self, host, script)
        try:
            yield made
        finally:
            self.note(f"-{host.host}")
            self.hosts.pop(host.host, None)

    def owners(self) -> dict[str, str]:
        return dict(self._owned)

    def remove(self, jobs: Sequence[str]) -> None:
        for job in jobs:
            self.note(f"remove {job}")
            self._owned.pop(job, None)

    def pools(self) -> dict[str, str]:
        return {volume.pool: volume.owner for volume in self.volumes.values()}

    def remove_pools(self, names: Sequence[str]) -> None:
        held = {host.cache_volume for host in self.hosts.values()}
        self.volumes = {
            name: volume for name, volume in self.volumes.items() if volume.pool not in names or volume in held
        }

    def _script_of(self, host: HostPlan) -> Script:
        if callable(self._scripts):
            return self._scripts(host)
        return self._scripts.get(host.host, Script())


class Notes:
    """A watcher that keeps what it is told; `on_line`, `on_status` and `on_signal` may act on it."""

    def __init__(self, on_line: Callable[[str, bytes], None] | None = None) -> None:
        self._on_line = on_line
        self.on_status: Callable[[str], None] = lambda _: None
        self.on_signal: Callable[[Signal], None] = lambda _: None
        self.said: list[str] = []
        self.statuses: list[str] = []
        self.lines: list[tuple[str, bytes]] = []
        self.signals: list[Signal] = []
        self.swept_jobs: list[str] = []
        self.begun = False
        self.kept_at: Path | None = None

    def begins(self, plan: RunPlan, image: Image) -> None:  # noqa: ARG002 - the port's
        self.begun = True

    def kept(self, directory: Path) -> None:
        self.kept_at = directory

    def swept(self, jobs: list[str]) -> None:
        self.swept_jobs += jobs

    def status(self, status: str) -> None:
        self.statuses.append(status)
        self.on_status(status)

    def says(self, text: str) -> None:
        self.said.append(text)

    def staged(self, channel: str, what: str) -> None:
        self.said.append(f"{channel}: {what}")

    def wrote(self, host: str, lines: bytes) -> None:
        for line in io.BytesIO(lines):
            self.lines.append((host, line))
            if self._on_line:
                self._on_line(host, line)

    def signalled(self, signal: Signal) -> None:
        self.signals.append(signal)
        self.on_signal(signal)
