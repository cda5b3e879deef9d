"""The directory that outlives a job of a warm pool, and ends with the pool."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from docker import APIClient

from tests.container.conftest import Shell, printed, wait_for

_LEAVES = (
    'cd "$SAGEMAKER_MANAGED_WARMPOOL_CACHE_DIRECTORY"; pwd; cat left 2>/dev/null; '
    "mkdir -p pip; echo $TRAINING_JOB_NAME $HOST | tee left > pip/wheel; chmod 600 left"
)
Volumes = Callable[[], list[str]]


@pytest.fixture
def volumes(api: APIClient, shell: Shell) -> Iterator[Volumes]:
    """The volumes of this place's pools; none is there afterwards."""

    def named() -> list[str]:
        found = api.volumes(filters={"label": "homeport.pool"})["Volumes"] or ()
        return sorted(
            volume["Name"] for volume in found if str(shell.state) in volume["Labels"].get("homeport.owner", "")
        )

    yield named
    for name in named():
        api.remove_volume(name)


def _warm(seconds: int) -> str:
    return f"keep_alive_period_in_seconds = {seconds}"


@pytest.mark.effect("ResourceConfig.KeepAlivePeriodInSeconds")
def test_the_second_job_finds_what_the_first_left_on_each_host(shell: Shell, volumes: Volumes) -> None:
    job = shell.job(_LEAVES, hosts=2, more=_warm(600))

    first, second = shell.train(job), shell.train(job)
    other = shell.train(shell.job("ls /opt/ml/sagemaker"), "--instance-type", "ml.m5.xlarge")

    assert [first.log(host) for host in ("algo-1", "algo-2")] == ["/opt/ml/sagemaker/warmpoolcache\n"] * 2
    for host in ("algo-1", "algo-2"):
        assert second.log(host).splitlines()[1:] == [f"{first.folder.name} {host}"]
    assert "No such file or directory" in other.log()
    assert len(volumes()) == 2
    assert f"warmpoolcache as {first.folder.name} left it, kept for 600 s after the job" in second.out


def test_a_failed_job_keeps_its_pool(shell: Shell, volumes: Volumes) -> None:
    failed = shell.train(shell.job(f"{_LEAVES}; exit 7", more=_warm(600)))

    after = shell.train(shell.job(_LEAVES, more=_warm(600)))

    assert (failed.code, after.code) == (1, 0)
    assert f"{failed.folder.name} algo-1" in after.log()
    assert len(volumes()) == 1


@pytest.mark.effect("ResourceConfig.KeepAlivePeriodInSeconds")
def test_a_pool_is_gone_when_its_time_is_over(shell: Shell, volumes: Volumes) -> None:
    first = shell.train(shell.job(_LEAVES, more=_warm(1)))
    assert len(volumes()) == 1

    wait_for(lambda: shell.ask("doctor").returncode == 0 and volumes() == [])
    second = shell.train(shell.job(_LEAVES, more=_warm(1)))

    assert first.log() == second.log() == "/opt/ml/sagemaker/warmpoolcache\n"


def test_a_killed_harness_leaves_no_pool_past_the_next_command(shell: Shell, volumes: Volumes) -> None:
    name, process = shell.begin(shell.job(f"{_LEAVES}; echo ready; sleep 300", more=_warm(600)))
    wait_for(printed(shell.folder / "runs" / name, "ready"))
    assert len(volumes()) == 1

    process.kill()
    process.communicate()

    assert shell.ask("doctor").returncode == 0
    assert volumes() == []
