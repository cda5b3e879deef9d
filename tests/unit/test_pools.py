"""Which job has which warm pool, and until when the others are kept."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from time import time
from typing import Any

import pytest

from local_mode.plan import RunPlan
from local_mode.pools import pooled, sweep
from local_mode.warm_pool import warm_pool
from tests.fakes import ROLE, FakeEngine, a_job, a_plan
from training_job.container import WARM_POOL_CACHE

MINUTE = 60
VPC = {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]}


def resources(**changes: Any) -> dict[str, Any]:
    return {"InstanceType": "ml.m5.large", "InstanceCount": 1, "KeepAlivePeriodInSeconds": MINUTE} | changes


def a_warm_plan(root: Path, name: str, **changes: Any) -> RunPlan:
    return a_plan(root, a_job(TrainingJobName=name, **{"ResourceConfig": resources()} | changes))


@contextmanager
def running(plan: RunPlan, engine: FakeEngine) -> Iterator[str | None]:
    """The pool of a job whose one host the engine has made."""
    with pooled(plan) as (given, _), engine.network(given, "me"), engine.host(given, given.hosts[0], "me"):
        yield given.hosts[0].cache_volume.name if given.hosts[0].cache_volume else None


def files(root: Path) -> list[Path]:
    return sorted((root.with_name(f"{root.name}-state") / "pools").glob("*"))


def test_the_next_job_of_the_kind_has_the_pool_of_the_first(tmp_path: Path) -> None:
    engine = FakeEngine()
    with running(a_warm_plan(tmp_path, "first"), engine) as first:
        pass
    with running(a_warm_plan(tmp_path, "second", HyperParameters={"epochs": "2"}), engine) as second:
        pass

    assert first == second
    assert first is not None
    assert first.endswith("-first-algo-1")


def test_a_job_is_told_what_it_finds(tmp_path: Path) -> None:
    told = []
    for name in ("first", "second"):
        with pooled(a_warm_plan(tmp_path, name)) as (_, what):
            told.append(what)

    assert told == [
        f"{WARM_POOL_CACHE} empty, kept for 60 s after the job",
        f"{WARM_POOL_CACHE} as first left it, kept for 60 s after the job",
    ]


def test_a_job_that_asks_for_none_has_none(tmp_path: Path) -> None:
    with pooled(a_plan(tmp_path)) as (given, told):
        assert (given.hosts[0].cache_volume, told) == (None, None)

    assert files(tmp_path) == []
    assert warm_pool(a_job(ResourceConfig=resources(KeepAlivePeriodInSeconds=0))) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"ResourceConfig": resources(InstanceType="ml.m5.xlarge")},
        {"ResourceConfig": resources(InstanceCount=2)},
        {"ResourceConfig": resources(VolumeSizeInGB=30)},
        {"ResourceConfig": resources(VolumeKmsKeyId="key")},
        {"RoleArn": ROLE},
        {"VpcConfig": VPC},
        {"EnableNetworkIsolation": True},
        {"EnableInterContainerTrafficEncryption": True},
    ],
    ids=str,
)
def test_what_the_service_tells_apart_has_a_pool_of_its_own(changes: dict[str, Any]) -> None:
    first = warm_pool(a_job(ResourceConfig=resources()))
    other = warm_pool(a_job(**{"ResourceConfig": resources()} | changes))

    assert first
    assert other
    assert first.kind != other.kind


def test_the_pool_does_not_ask_for_the_image_or_how_long_it_is_kept() -> None:
    specification = {"TrainingImage": "another", "TrainingInputMode": "Pipe"}
    longer = resources(KeepAlivePeriodInSeconds=600)
    first = warm_pool(a_job(ResourceConfig=resources()))
    other = warm_pool(a_job(ResourceConfig=longer, AlgorithmSpecification=specification))

    assert first
    assert other
    assert (first.kind, other.keep_alive) == (other.kind, 600)


def test_two_jobs_at_once_have_a_pool_each_and_the_next_has_one_of_them(tmp_path: Path) -> None:
    engine = FakeEngine()
    with ExitStack() as stack:
        pools = {
            stack.enter_context(pooled(a_warm_plan(tmp_path, name)))[0].hosts[0].cache_volume for name in ("a", "b")
        }
        assert len(pools) == 2
    with pooled(a_warm_plan(tmp_path, "c")) as (given, _):
        assert given.hosts[0].cache_volume in pools
    sweep(a_warm_plan(tmp_path, "d").place.state, engine)

    assert [path.name.partition("-")[2] for path in files(tmp_path)] == ["a", "b"]


def test_a_pool_whose_time_is_over_is_nobodys_and_goes(tmp_path: Path) -> None:
    engine = FakeEngine()
    plan = a_warm_plan(tmp_path, "first")
    with running(plan, engine):
        pass
    (path,) = files(tmp_path)
    path.write_text(f"{time() - 1}")

    with running(a_warm_plan(tmp_path, "second"), engine) as second:
        sweep(plan.place.state, engine)
        assert list(engine.volumes) == [second]

    assert [path.name.partition("-")[2] for path in files(tmp_path)] == ["second"]


def test_a_pool_that_waits_or_has_a_job_stays(tmp_path: Path) -> None:
    engine = FakeEngine()
    plan = a_warm_plan(tmp_path, "first")
    with running(plan, engine):
        sweep(plan.place.state, engine)
        assert len(engine.volumes) == 1
    sweep(plan.place.state, engine)

    assert len(engine.volumes) == 1


def test_a_run_that_breaks_off_leaves_the_pool_as_it_was(tmp_path: Path) -> None:
    with pooled(a_warm_plan(tmp_path, "first")):
        pass
    before = files(tmp_path)[0].read_text()
    for name, kind in (("second", "ml.m5.large"), ("other", "ml.m5.xlarge")):
        with (
            pytest.raises(RuntimeError),
            pooled(a_warm_plan(tmp_path, name, ResourceConfig=resources(InstanceType=kind))),
        ):
            raise RuntimeError

    assert [path.read_text() for path in files(tmp_path) if path.name.endswith("-first")] == [before]
    assert [float(path.read_text()) for path in files(tmp_path) if path.name.endswith("-other")] == [0]


@pytest.mark.parametrize("content", ["", "0", "half a numb"])
def test_what_a_killed_harness_left_goes(tmp_path: Path, content: str) -> None:
    engine = FakeEngine()
    plan = a_warm_plan(tmp_path, "killed")
    with running(plan, engine):
        pass
    files(tmp_path)[0].write_text(content)

    sweep(plan.place.state, engine)

    assert (files(tmp_path), engine.volumes) == ([], {})


def test_volumes_of_a_pool_that_is_no_more_go_and_those_of_another_computer_stay(tmp_path: Path) -> None:
    engine = FakeEngine()
    plan = a_warm_plan(tmp_path, "first")
    with running(plan, engine) as name:
        pass
    assert name
    mine = engine.volumes[name]
    engine.volumes["theirs"] = replace(mine, pool="theirs", owner="elsewhere:/state/pools/theirs")
    files(tmp_path)[0].unlink()

    sweep(plan.place.state, engine)

    assert list(engine.volumes) == ["theirs"]
