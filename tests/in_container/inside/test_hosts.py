"""What hosts need of each other: sshd that lets root in by key, and mpirun that runs for root."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

SSH = ("ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", "localhost")
DEADLINE_SECONDS = 20.0


@pytest.fixture
def sshd() -> Iterator[None]:
    """Sshd as the toolkit starts it."""
    with subprocess.Popen(["/usr/sbin/sshd", "-D"]) as daemon:
        end = time.monotonic() + DEADLINE_SECONDS
        while subprocess.run([*SSH, "true"], capture_output=True, check=False).returncode:
            assert daemon.poll() is None, "sshd ended"
            assert time.monotonic() < end, "sshd let nobody in"
        yield
        daemon.terminate()


@pytest.mark.usefixtures("sshd")
def test_root_logs_in_by_key_and_finds_what_mpirun_starts_on_other_hosts() -> None:
    login = subprocess.run([*SSH, "id -un && command -v orted"], capture_output=True, text=True, check=True)

    assert login.stdout.split() == ["root", "/usr/bin/orted"]


@pytest.mark.usefixtures("sshd")
def test_an_ssh_session_has_the_environment_that_the_toolkit_writes_for_it() -> None:
    environment = Path("/etc/environment")
    before = environment.read_text()
    environment.write_text(f"{before}SM_HOMEPORT_PROBE=seen\n")
    try:
        seen = subprocess.run([*SSH, "printenv SM_HOMEPORT_PROBE"], capture_output=True, text=True, check=True)
    finally:
        environment.write_text(before)

    assert seen.stdout.strip() == "seen"


def test_the_private_keys_are_readable_by_root_alone() -> None:
    keys = [Path("/root/.ssh/id_rsa"), *Path("/etc/ssh").glob("ssh_host_*_key")]

    assert len(keys) >= 2
    assert {key.stat().st_mode & 0o077 for key in keys} == {0}


def test_mpirun_runs_for_root_through_a_wrapper_that_keeps_the_exit_code() -> None:
    refused = subprocess.run(["mpirun.real", "-np", "1", "true"], capture_output=True, check=False)
    run = subprocess.run(["mpirun", "-np", "1", "sh", "-c", "exit 3"], capture_output=True, check=False)

    assert refused.returncode == 1
    assert run.returncode == 3


def test_mpi_neither_binds_ranks_to_cores_nor_maps_them_but_by_slot() -> None:
    shown = subprocess.run(["ompi_info", "--all", "--parsable"], capture_output=True, text=True, check=True).stdout

    assert "hwloc_base_binding_policy:value:none" in shown
    assert "rmaps_base_mapping_policy:value:slot" in shown
