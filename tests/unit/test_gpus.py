"""Who gets which GPUs."""

import subprocess
from pathlib import Path

import pytest

from local_mode.gpus import GPUs, NotEnoughGPUs, share, stub
from training_job.errors import JobRefused

FOUR = ("0", "1", "2", "3")
EIGHT = tuple("01234567")
P3_2, P3_8, P3_16, CPU = "ml.p3.2xlarge", "ml.p3.8xlarge", "ml.p3.16xlarge", "ml.m5.xlarge"
UNKNOWN = "ml.g7.2xlarge"


def real(*ids: str) -> GPUs:
    return GPUs(ids=ids)


def virtual(count: int) -> GPUs:
    return GPUs(virtual=count)


@pytest.mark.parametrize(
    ("types", "found", "asked", "virtual_gpus", "shares"),
    [
        ([CPU], (), None, None, [GPUs()]),
        ([CPU], FOUR, None, None, [GPUs()]),
        ([P3_2], FOUR, None, None, [real("0")]),
        ([P3_16], EIGHT, None, None, [real(*EIGHT)]),
        ([P3_2, P3_2], FOUR, None, None, [real("0"), real("1")]),
        ([CPU, P3_8], FOUR, None, None, [GPUs(), real(*FOUR)]),
        ([P3_16], FOUR, FOUR, None, [real(*FOUR)]),
        ([P3_16], EIGHT, ("6", "2"), None, [real("6", "2")]),
        ([P3_16, P3_16], EIGHT, FOUR, None, [real("0", "1"), real("2", "3")]),
        ([CPU, P3_16], EIGHT, FOUR, None, [GPUs(), real(*FOUR)]),
        ([P3_16], (), None, None, [virtual(2)]),
        ([P3_2], (), None, None, [virtual(1)]),
        ([P3_16, P3_2], (), None, None, [virtual(2), virtual(1)]),
        ([P3_16], (), None, 8, [virtual(8)]),
        ([P3_16], EIGHT, None, 3, [virtual(3)]),
        ([CPU], (), None, 3, [GPUs()]),
        ([UNKNOWN], (), None, 4, [virtual(4)]),
        ([UNKNOWN], FOUR, ("1",), None, [real("1")]),
    ],
)
def test_hosts_share_what_there_is(
    types: list[str],
    found: tuple[str, ...],
    asked: tuple[str, ...] | None,
    virtual_gpus: int | None,
    shares: list[GPUs],
) -> None:
    assert share(types, found, 2, asked=asked, virtual=virtual_gpus) == tuple(shares)


@pytest.mark.parametrize(
    ("types", "found", "asked"),
    [
        ([P3_16], FOUR, None),
        ([P3_8, P3_8], FOUR, None),
        ([P3_16], FOUR, ("4",)),
        ([P3_2, P3_2], FOUR, ("0",)),
        ([P3_2], FOUR, ()),
        ([P3_2], (), ("0",)),
    ],
)
def test_too_few_gpus_are_a_refusal_that_names_the_ways_out(
    types: list[str], found: tuple[str, ...], asked: tuple[str, ...] | None
) -> None:
    with pytest.raises(NotEnoughGPUs, match=r"this machine has \d.*--gpus.*--instance-count.*--virtual-gpus N") as no:
        share(types, found, 2, asked=asked, virtual=None)

    assert no.value.exit_code == 3


@pytest.mark.parametrize(
    ("types", "asked", "held", "shares"),
    [
        ([P3_2], None, {"0": "a"}, [real("1")]),
        ([P3_2, P3_2], None, {"1": "a", "2": "b"}, [real("0"), real("3")]),
        ([P3_16], ("3", "1"), {"0": "a"}, [real("3", "1")]),
        ([CPU], None, dict.fromkeys(FOUR, "a"), [GPUs()]),
    ],
)
def test_hosts_share_what_other_jobs_leave(
    types: list[str], asked: tuple[str, ...] | None, held: dict[str, str], shares: list[GPUs]
) -> None:
    assert share(types, FOUR, 2, asked=asked, virtual=None, held=held) == tuple(shares)


@pytest.mark.parametrize(
    ("types", "asked", "held"),
    [
        ([P3_8], None, {"2": "a"}),
        ([P3_16], ("2", "3"), {"2": "a"}),
        ([P3_2], None, dict.fromkeys(FOUR, "a")),
    ],
)
def test_gpus_that_other_jobs_hold_are_a_refusal_that_names_them_and_no_virtual_ones(
    types: list[str], asked: tuple[str, ...] | None, held: dict[str, str]
) -> None:
    with pytest.raises(NotEnoughGPUs, match=rf"has 4, of which a holds {','.join(held)}\. Ways out: wait for a job"):
        share(types, FOUR, 2, asked=asked, virtual=None, held=held)


def test_virtual_gpus_are_held_by_nobody() -> None:
    assert share([P3_16], FOUR, 2, asked=None, virtual=8, held=dict.fromkeys(FOUR, "a")) == (virtual(8),)


def test_gpus_that_cannot_be_shared_evenly_are_refused() -> None:
    with pytest.raises(JobRefused, match="3 GPUs cannot be shared evenly by 2 hosts"):
        share([P3_16, P3_16], EIGHT, 2, asked=("0", "1", "2"), virtual=None)


@pytest.mark.parametrize("found", [(), FOUR])
def test_a_type_whose_gpus_nobody_knows_needs_a_number(found: tuple[str, ...]) -> None:
    with pytest.raises(JobRefused, match="how many GPUs it has is not in Homeport's table"):
        share([UNKNOWN], found, 2, asked=None, virtual=None)


def test_no_gpu_is_given_out_twice() -> None:
    with pytest.raises((JobRefused, NotEnoughGPUs)):
        share([P3_2, P3_2], FOUR, 2, asked=("0", "0"), virtual=None)


def test_the_stub_lists_as_many_gpus_as_the_toolkit_is_to_count(tmp_path: Path) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_bytes(stub(3))

    listed = subprocess.run(["sh", program, "--list-gpus"], capture_output=True, text=True, check=True).stdout

    assert [line[:6] for line in listed.splitlines()] == ["GPU 0:", "GPU 1:", "GPU 2:"]


def test_the_stub_answers_nothing_else(tmp_path: Path) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_bytes(stub(1))

    asked = subprocess.run(["sh", program, "--query-gpu=index"], capture_output=True, text=True, check=False)

    assert asked.returncode == 9
    assert "virtual (Homeport)" in asked.stderr
