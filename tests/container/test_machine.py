"""What this machine gives to a container: limits, shared memory, raw options, and what config files ask for."""

from __future__ import annotations

import json

import pytest

from tests.container.conftest import Shell

# cgroup v2 has the one file, v1 the other.
HELD = (
    "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null; "
    "cat /sys/fs/cgroup/cpu.max /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null | cut -d' ' -f1"
)


@pytest.mark.effect("ResourceConfig.InstanceType")
def test_a_host_may_be_held_to_its_instance_type(shell: Shell) -> None:
    job = shell.job(f"{HELD}; df --output=size -B1 /dev/shm | tail -1")

    ran = shell.train(job, "--limit-resources", "--instance-type", "ml.t3.medium")

    assert ran.code == 0, ran.err
    assert ran.log().split() == [str(4 << 30), "200000", str(2 << 30)]


def test_memory_beyond_the_types_is_an_out_of_memory_failure(shell: Shell) -> None:
    (shell.folder / "homeport.toml").write_text('[local.container]\nmem_limit = "64m"\n')

    ran = shell.train(shell.job("tail -c 200m /dev/zero | sort > /dev/null; exec tail /dev/zero"))

    assert ran.code == 1
    assert ran.description["FailureReason"].startswith("ClientError: Please use an instance type with more memory")


def test_raw_options_reach_the_container(shell: Shell) -> None:
    with (shell.folder / "homeport.toml").open("a") as place:
        place.write(
            '[local.container]\nshm_size = "96m"\nulimits = { nofile = 4321, core = { soft = 0, hard = 7168 } }\n'
            'cap_drop = ["CHOWN"]\nsysctls = { "net.core.somaxconn" = 77 }\nextra_hosts = { elsewhere = "10.1.2.3" }\n'
        )
    script = (
        "df --output=size -B1 /dev/shm | tail -1; ulimit -n; ulimit -Hc; cat /proc/sys/net/core/somaxconn; "
        "getent hosts elsewhere; touch /tmp/x; chown 1 /tmp/x 2>/dev/null || echo kept"
    )

    ran = shell.train(shell.job(script))

    assert ran.code == 0, ran.err
    assert ran.log().split() == [str(96 << 20), "4321", "14", "77", "10.1.2.3", "elsewhere", "kept"]
    assert json.loads((ran.folder / "plan.json").read_text())["container"]["shm_size"] == "96m"


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ('shm_sise = "1g"', "local.container.shm_sise: is not known here; did you mean 'shm_size'?"),
        ('shm_size = "much"', "local.container.shm_size: 'much' must be a size such as 512m or 16g"),
        ("cpus = -1", "local.container.cpus: must be more than 0, not -1"),
        ('cap_add = "SYS_PTRACE"', "local.container.cap_add: "),
    ],
)
def test_an_option_that_is_none_is_refused_with_its_line(shell: Shell, option: str, told: str) -> None:
    (shell.folder / "homeport.toml").write_text(f"[local.container]\n{option}\n")

    ran = shell.train(shell.job())

    assert ran.code == 2
    assert f"homeport.toml:2 {told}" in ran.err
    assert not ran.folder.exists()


def test_what_the_engine_refuses_is_told(shell: Shell) -> None:
    (shell.folder / "homeport.toml").write_text('[local.container]\nruntime = "nowhere"\n')

    ran = shell.train(shell.job())

    assert ran.code == 3
    assert "nowhere" in ran.err
    assert "Traceback" not in ran.err
