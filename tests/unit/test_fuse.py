"""Whether this machine has file systems in user space, told so that a person can mend it."""

import os
import shutil
from pathlib import Path

import pytest

from local_mode import fuse


@pytest.fixture
def able(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine that has all of it; its person is root."""
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(os, "access", lambda *_: True)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/fusermount3")
    _reads(monkeypatch, {"/proc/self/status": "Name:\tpython\nCapEff:\t000001ffffffffff\n"})
    return monkeypatch


def _reads(monkeypatch: pytest.MonkeyPatch, files: dict[str, str]) -> None:
    def read(path: Path, **_: object) -> str:
        if str(path) not in files:
            raise FileNotFoundError(path)
        return files[str(path)]

    monkeypatch.setattr(Path, "read_text", read)


@pytest.mark.usefixtures("able")
def test_a_machine_that_has_all_of_it_can() -> None:
    assert fuse.why_not() is None


def test_a_machine_without_the_device_cannot(able: pytest.MonkeyPatch) -> None:
    able.setattr(os, "access", lambda *_: False)

    assert fuse.why_not() == "there is no /dev/fuse"


def test_the_package_that_is_missing_is_named(able: pytest.MonkeyPatch) -> None:
    able.setattr(shutil, "which", lambda _: None)

    assert fuse.why_not() == "fusermount3 is not installed (Debian and Ubuntu: apt-get install fuse3)"


def test_a_root_without_the_capability_cannot(able: pytest.MonkeyPatch) -> None:
    _reads(able, {"/proc/self/status": "CapEff:\t00000000a80425fb\n"})

    assert fuse.why_not() == "this root may not mount: it lacks CAP_SYS_ADMIN, as in a container"


@pytest.mark.parametrize(
    ("conf", "can"),
    [("user_allow_other\n", True), (" user_allow_other \n", True), ("#user_allow_other\n", False), (None, False)],
)
def test_a_person_who_is_not_root_needs_leave_to_show_a_mount_to_the_engine(
    able: pytest.MonkeyPatch, conf: str | None, can: bool
) -> None:
    able.setattr(os, "geteuid", lambda: 1000)
    _reads(able, {} if conf is None else {"/etc/fuse.conf": conf})

    assert (fuse.why_not() is None) == can
