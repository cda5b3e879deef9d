"""The port's promises, kept by the real engine and by the fake one that the unit tests trust."""

import io
import json
import tarfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from itertools import chain
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import uuid4

import pytest
from docker import APIClient
from requests import Response

from local_mode import docker_companion, docker_container
from local_mode.docker_engine import DockerEngine
from local_mode.engine import Ended, Engine, Host, NoSuchDirectory, Program
from local_mode.engine_log import Entry, entries
from local_mode.plan import RunPlan
from local_mode.staging import host_archive
from local_mode.warm_pool import CacheVolume
from tests.fakes import FakeEngine, Script, a_job, a_plan
from training_job.errors import ImageCannotTrain, ImageNotFound, MachineCannot

OWNER = "nobody:/no/lock"
Plan = Callable[..., RunPlan]
Made = Callable[[RunPlan], dict[str, Host]]


@pytest.fixture(params=["fake", "docker"])
def engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "fake":
        return FakeEngine(Script.by_environment)
    request.getfixturevalue("image")
    engine: DockerEngine = request.getfixturevalue("docker_engine")
    return engine


@pytest.fixture
def plan(tmp_path: Path, engine: Engine) -> Iterator[Plan]:
    """A plan of its own name; whatever a failing test leaves of it is removed."""
    names: list[str] = []

    def plan(*, hosts: int = 1, command: str = "", **environment: str) -> RunPlan:
        names.append(f"contract-{uuid4().hex[:8]}")
        specification: dict[str, Any] = {"TrainingImage": "homeport-test/contract:1", "TrainingInputMode": "File"}
        if command:
            specification["ContainerArguments"] = [command]
        job = a_job(
            hosts=hosts, TrainingJobName=names[-1], AlgorithmSpecification=specification, Environment=environment
        )
        return a_plan(tmp_path, job)

    yield plan
    engine.remove(names)


@pytest.fixture
def made(engine: Engine) -> Iterator[Made]:
    """The plan's network and its hosts, made and filled, gone after the test."""
    with ExitStack() as stack:

        def made(plan: RunPlan) -> dict[str, Host]:
            stack.enter_context(engine.network(plan, OWNER))
            hosts = {host.host: stack.enter_context(engine.host(plan, host, OWNER)) for host in plan.hosts}
            for host in plan.hosts:
                hosts[host.host].put(host_archive(host))
            return hosts

        yield made


def files(host: Host, path: str) -> dict[str, bytes | None]:
    """What is at a path of a host, directories without content."""
    with (
        closing(host.fetch(path)) as chunks,
        tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive,
    ):
        return {entry.name: content.read() if (content := archive.extractfile(entry)) else None for entry in archive}


def test_a_machine_has_cores_and_memory(engine: Engine) -> None:
    machine = engine.machine()

    assert machine.cores >= 1
    assert machine.memory > 1 << 20


def test_an_image_that_is_here_has_a_digest(engine: Engine) -> None:
    found = engine.image("homeport-test/contract:1")

    assert found.reference == "homeport-test/contract:1"
    assert found.digest.startswith("sha256:")
    assert len(found.digest) == len("sha256:") + 64


def test_an_image_of_ours_that_is_not_here_is_not_found(engine: Engine) -> None:
    if isinstance(engine, FakeEngine):
        engine.missing_images.add("homeport/nothing:cpu")

    with pytest.raises(ImageNotFound, match="Build it: make image"):
        engine.image("homeport/nothing:cpu")


@pytest.mark.parametrize("code", [0, 3])
def test_a_host_runs_to_its_end(plan: Plan, made: Made, code: int) -> None:
    (host,) = made(plan(EXIT=str(code))).values()

    host.start()

    assert host.wait() == Ended(code, out_of_memory=False)


@pytest.mark.parametrize(
    ("said", "times", "found"),
    [
        ("", 1, []),
        ("one\n", 1, [b"one\n"]),
        ("one\ntwo\nno end", 1, [b"one\n", b"two\n", b"no end"]),
        ("\n", 3, [b"\n"] * 3),
        ("10%\r20%\r\n", 1, [b"10%\r20%\r\n"]),
        ("é", 1, ["é".encode()]),
        ("a" * 500, 400, [b"a" * 200_000]),
        ("a line of a burst\n", 20_000, [b"a line of a burst\n"] * 20_000),
    ],
    ids=["nothing", "a line", "no end", "empty lines", "progress bar", "é", "a long line", "a burst"],
)
def test_a_log_is_every_line_in_order(plan: Plan, made: Made, said: str, times: int, found: list[bytes]) -> None:
    (host,) = made(plan(SAY=said, TIMES=str(times))).values()
    host.start()

    assert list(io.BytesIO(b"".join(host.log()))) == found


@pytest.mark.parametrize("engine", ["docker"], indirect=True)
@pytest.mark.parametrize("seen", [0, 1, 4_990])
def test_a_log_whose_engine_ends_it_early_is_whole(
    plan: Plan, made: Made, monkeypatch: pytest.MonkeyPatch, seen: int
) -> None:
    asked: list[Any] = []

    def ends_early(pieces: Iterator[bytes]) -> Iterator[Sequence[Entry]]:
        asked.append(pieces)
        if len(asked) > 1:
            yield from entries(pieces)
        elif seen:
            yield list(chain.from_iterable(entries(pieces)))[:seen]

    (host,) = made(plan(SAY="a line\n", TIMES="5000")).values()
    host.start()
    monkeypatch.setattr(docker_container, "entries", ends_early)

    assert b"".join(host.log()) == b"a line\n" * 5000


def test_a_log_can_be_read_while_the_host_runs_and_ends_with_it(plan: Plan, made: Made) -> None:
    (host,) = made(plan(SAY="ready\n", HANG="until SIGTERM")).values()
    host.start()

    log = host.log()

    assert next(log) == b"ready\n"
    host.signal("SIGTERM")
    assert list(log) == []
    assert host.wait().code == 143


def test_a_log_can_be_read_after_the_end(plan: Plan, made: Made) -> None:
    (host,) = made(plan(SAY="said\n")).values()
    host.start()
    host.wait()

    assert list(host.log()) == [b"said\n"]


def test_sigkill_ends_what_ignores_sigterm(plan: Plan, made: Made) -> None:
    (host,) = made(plan(SAY="ready\n", HANG="until SIGKILL")).values()
    host.start()
    assert next(host.log()) == b"ready\n"

    host.signal("SIGTERM")
    host.signal("SIGKILL")

    assert host.wait().code == 137


def test_a_signal_to_a_host_that_has_ended_does_nothing(plan: Plan, made: Made) -> None:
    (host,) = made(plan()).values()
    host.start()
    ended = host.wait()

    host.signal("SIGTERM")
    host.signal("SIGKILL")

    assert host.wait() == ended


def test_a_program_the_image_does_not_have_cannot_start(plan: Plan, made: Made) -> None:
    (host,) = made(plan(command="no-such-program")).values()

    with pytest.raises(ImageCannotTrain, match="no-such-program"):
        host.start()


def test_files_that_are_put_are_there_and_what_a_host_wrote_can_be_fetched(plan: Plan, made: Made) -> None:
    (host,) = made(plan(MODEL="weights", FAILURE="boom", EXIT="1")).values()
    host.start()
    host.wait()

    assert {name: content for name, content in files(host, "/opt/ml/model").items() if content is not None} == {
        "model/weights": b"weights"
    }
    assert files(host, "/opt/ml/output")["output/failure"] == b"boom"
    config = files(host, "/opt/ml/input/config")
    assert json.loads(config["config/resourceconfig.json"])["current_host"] == "algo-1"


def test_a_directory_that_nothing_was_written_to_can_be_fetched(plan: Plan, made: Made) -> None:
    (host,) = made(plan()).values()
    host.start()
    host.wait()

    assert files(host, "/opt/ml/model") == {"model": None}


def test_a_directory_that_is_not_there_is_an_error_of_its_own(plan: Plan, made: Made) -> None:
    (host,) = made(plan()).values()

    with (
        pytest.raises(NoSuchDirectory, match="/opt/ml/output/tensorboard"),
        closing(host.fetch("/opt/ml/output/tensorboard")) as chunks,
    ):
        next(chunks)


def test_an_archive_can_be_put_in_pieces_as_they_are_made(plan: Plan, made: Made) -> None:
    (host,) = made(plan()).values()
    header = tarfile.TarInfo("opt/ml/model/large")
    header.size = 20 << 20
    pieces = (header.tobuf(), *[b"x" * (1 << 20)] * 20, bytes(1024))

    host.put(piece for piece in pieces)

    assert files(host, "/opt/ml/model") == {"model": None, "model/large": b"x" * (20 << 20)}


def test_pieces_that_cannot_be_made_raise_what_their_maker_does(plan: Plan, made: Made) -> None:
    (host,) = made(plan()).values()

    def pieces() -> Iterator[bytes]:
        yield tarfile.TarInfo("opt/ml/model/a").tobuf()
        raise KeyError("vanished")

    with pytest.raises(KeyError, match="vanished"):
        host.put(pieces())


def test_a_fetch_that_is_read_no_further_holds_nothing(plan: Plan, engine: Engine) -> None:
    asked = plan(MODEL="w" * 512)
    began = monotonic()
    with engine.network(asked, OWNER), engine.host(asked, asked.hosts[0], OWNER) as host:
        host.put(host_archive(asked.hosts[0]))
        host.start()
        host.wait()
        with closing(host.fetch("/usr")) as chunks:
            next(chunks)

    assert asked.name not in engine.owners()
    assert monotonic() - began < 30


@pytest.mark.parametrize("engine", ["docker"], indirect=True)
def test_an_engine_does_not_pack_what_is_fetched(plan: Plan, made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Response] = []
    real = APIClient.get

    def get(api: APIClient, *arguments: Any, **named: Any) -> Response:
        answers.append(real(api, *arguments, **named))
        return answers[-1]

    (host,) = made(plan()).values()
    monkeypatch.setattr(APIClient, "get", get)

    files(host, "/opt/ml/input/config")

    # Its single core would be what everybody waits for.
    assert [answer.headers.get("Content-Encoding", "identity") for answer in answers] == ["identity"]


def test_hosts_run_side_by_side(plan: Plan, made: Made) -> None:
    hosts = made(plan(hosts=3, SAY="ready\n", HANG="until SIGTERM"))
    for host in hosts.values():
        host.start()

    assert [next(host.log()) for host in hosts.values()] == [b"ready\n"] * 3
    for host in hosts.values():
        host.signal("SIGTERM")
    codes: list[int] = []
    waiters = [threading.Thread(target=lambda host=host: codes.append(host.wait().code)) for host in hosts.values()]
    for waiter in waiters:
        waiter.start()
    for waiter in waiters:
        waiter.join(30)

    assert codes == [143] * 3


def test_what_belongs_to_a_job_names_its_owner_until_it_is_gone(plan: Plan, engine: Engine) -> None:
    asked = plan()

    with engine.network(asked, OWNER):
        assert engine.owners()[asked.name] == OWNER
        with engine.host(asked, asked.hosts[0], OWNER):
            assert engine.owners()[asked.name] == OWNER

    assert asked.name not in engine.owners()


def test_a_warm_pools_volume_outlives_its_job_and_goes_by_the_pools_name(plan: Plan, engine: Engine) -> None:
    asked = plan()
    volume = CacheVolume(asked.name, "algo-1", OWNER)

    with (
        engine.network(asked, OWNER),
        engine.host(asked, replace(asked.hosts[0], cache_volume=volume), OWNER) as host,
    ):
        host.put(host_archive(asked.hosts[0]))
        engine.remove_pools([asked.name])
        held = engine.pools().get(asked.name)
    engine.remove([asked.name])
    kept = engine.pools().get(asked.name)
    engine.remove_pools([asked.name])

    assert (held, kept) == (OWNER, OWNER)
    assert asked.name not in engine.pools()


def test_a_host_that_still_runs_is_gone_on_exit(plan: Plan, engine: Engine) -> None:
    asked = plan(HANG="until SIGKILL")

    with engine.network(asked, OWNER), engine.host(asked, asked.hosts[0], OWNER) as host:
        host.put(host_archive(asked.hosts[0]))
        host.start()

    assert asked.name not in engine.owners()


def test_an_error_inside_leaves_nothing(plan: Plan, engine: Engine) -> None:
    asked = plan()

    with (
        pytest.raises(RuntimeError, match="inside"),
        engine.network(asked, OWNER),
        engine.host(asked, asked.hosts[0], OWNER),
    ):
        raise RuntimeError("inside")

    assert asked.name not in engine.owners()


def test_what_a_killed_harness_left_can_be_removed_by_its_jobs_name(plan: Plan, engine: Engine) -> None:
    left, other = plan(HANG="until SIGKILL"), plan()
    with ExitStack() as stack:
        stack.enter_context(engine.network(other, OWNER))
        abandoned = ExitStack()
        abandoned.enter_context(engine.network(left, OWNER))
        abandoned.enter_context(engine.host(left, left.hosts[0], OWNER)).start()

        engine.remove([left.name])

        assert left.name not in engine.owners()
        assert other.name in engine.owners()
        # What is gone already is no error to whoever still holds it.
        abandoned.close()


_ECHO = """
import os, sys
print(sys.argv[1], os.getpid(), flush=True)
for line in sys.stdin:
    print(line.strip().upper(), flush=True)
"""


needs_containers = pytest.mark.parametrize("engine", ["docker"], indirect=True)


@pytest.fixture
def running(plan: Plan, made: Made) -> Host:
    """A host that runs until it is killed."""
    (host,) = made(plan(HANG="until SIGKILL")).values()
    host.start()
    return host


@needs_containers
def test_a_companion_says_hears_and_ends(running: Host) -> None:
    with running.companion(Program("echo", _ECHO, ("hello",))) as companion:
        lines = companion.lines()
        said = next(lines)
        companion.tell(b"a secret")
        heard = next(lines)
        threading.Thread(target=companion.end).start()
        rest = list(lines)

    # Process 1: it shares the host's network and sees none of its processes.
    assert (said, heard, rest) == (b"hello 1", b"A SECRET", [])


@needs_containers
def test_what_a_companion_is_told_is_in_no_log_and_nothing_of_it_stays(
    plan: Plan, made: Made, docker_api: APIClient
) -> None:
    asked = plan(HANG="until SIGKILL")
    (host,) = made(asked).values()
    host.start()

    with host.companion(Program("echo", _ECHO, ("hello",))) as companion:
        lines = companion.lines()
        next(lines)
        companion.tell(b"a secret")
        next(lines)
        (found,) = docker_api.containers(filters={"label": ["homeport.beside", f"homeport.job={asked.name}"]})
        inspected = docker_api.inspect_container(found["Id"])

    assert inspected["HostConfig"]["LogConfig"]["Type"] == "none"
    assert inspected["HostConfig"]["CapAdd"] == ["NET_ADMIN", "NET_BIND_SERVICE"]
    assert inspected["Mounts"] == []
    assert "a secret" not in json.dumps(inspected)
    assert docker_api.containers(all=True, filters={"id": found["Id"]}) == []


@needs_containers
def test_a_companion_that_ends_by_itself_says_why(running: Host) -> None:
    with (
        pytest.raises(MachineCannot, match="ended: RuntimeError: no such address"),
        running.companion(Program("fails", "raise RuntimeError('no such address')", ())) as companion,
    ):
        list(companion.lines())


@needs_containers
def test_beside_a_host_that_has_ended_nothing_is_said(plan: Plan, made: Made) -> None:
    (host,) = made(plan()).values()
    host.start()
    host.wait()

    with host.companion(Program("echo", _ECHO, ("hello",))) as companion:
        companion.tell(b"nobody hears")
        assert list(companion.lines()) == []


@needs_containers
def test_where_no_image_has_a_python_it_is_said(running: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_companion, "_images", lambda _api, own: [own])

    with (
        pytest.raises(MachineCannot, match=r"no image here has one \(looked in homeport-test/contract:1\)"),
        running.companion(Program("echo", _ECHO, ("hello",))),
    ):
        pass


def test_nothing_joins_this_machines_own_network(image: str, docker_api: APIClient) -> None:
    made = docker_api.create_container(
        image, command="train", host_config=docker_api.create_host_config(network_mode="host")
    )
    try:
        beside = docker_companion.Beside(made["Id"], image, "homeport-test", {})
        with (
            pytest.raises(MachineCannot, match="shares this machine's network"),
            docker_companion.companion(docker_api, Program("echo", _ECHO, ("hello",)), beside),
        ):
            pass
    finally:
        docker_api.remove_container(made["Id"])


def test_two_who_remove_the_same_remains_do_not_hinder_each_other(plan: Plan, engine: Engine) -> None:
    left = plan(hosts=3, HANG="until SIGKILL")
    abandoned = ExitStack()
    abandoned.enter_context(engine.network(left, OWNER))
    for host in left.hosts:
        abandoned.enter_context(engine.host(left, host, OWNER)).start()

    with ThreadPoolExecutor() as pool:
        for removed in [pool.submit(engine.remove, [left.name]) for _ in range(3)]:
            removed.result()

    assert left.name not in engine.owners()
    abandoned.close()


def test_removing_what_is_not_there_does_nothing(engine: Engine) -> None:
    engine.remove(["no-such-job"])
