"""MetricDefinitions over log lines."""

from datetime import timedelta
from time import perf_counter

import pytest

from tests.fakes import NOW
from training_job.metrics import Metrics, pattern_fault
from training_job.model import MetricDefinition


def metrics(**patterns: str) -> Metrics:
    return Metrics([MetricDefinition(name=name, regex=regex) for name, regex in patterns.items()])


def values(found: Metrics, *lines: str) -> list[tuple[str, float, str]]:
    """What is read from lines that come one by one."""
    return [
        (point.name, point.value, point.host) for line in lines for point in found.read(line, lambda: NOW, "algo-1")
    ]


def test_a_line_gives_every_metric_it_matches() -> None:
    found = metrics(loss=r" loss: ([0-9.]+)", accuracy=r"accuracy: ([0-9.]+)")

    assert values(found, "step 1, loss: 0.5, accuracy: 0.9") == [("loss", 0.5, "algo-1"), ("accuracy", 0.9, "algo-1")]


def test_the_last_value_wins() -> None:
    found = metrics(loss=r"loss: ([0-9.]+)")

    values(found, "loss: 3", "loss: 1", "no metric", "loss: 2")

    assert {name: point.value for name, point in found.final.items()} == {"loss": 2.0}


def test_the_first_group_is_the_value() -> None:
    assert values(metrics(loss=r"(?:step|epoch) (\d+) of (\d+)"), "epoch 3 of 9") == [("loss", 3.0, "algo-1")]


@pytest.mark.parametrize("line", ["loss: much", "loss: ", "loss: 1.2.3", "loss: nan", "loss: inf", "loss: -Infinity"])
def test_what_is_no_number_is_ignored(line: str) -> None:
    found = metrics(loss=r"loss: (\S*)")

    assert values(found, line) == []
    assert found.silent == ("loss",)


def test_a_group_that_took_no_part_is_no_value() -> None:
    assert values(metrics(loss=r"loss(: \d+)?"), "loss") == []


def test_lines_that_come_together_are_read_one_by_one() -> None:
    found = metrics(whole=r"^loss: (\d+)\n\Z", across=r"1[^x]*(2)", end=r"(\d+)\r\x85$")
    times = iter(NOW + timedelta(seconds=second) for second in range(3))

    points = found.read("loss: 1\nloss: 2\n3\r\x85\n", lambda: next(times), "algo-1")

    assert [(point.name, point.value, (point.timestamp - NOW).seconds) for point in points] == [
        ("whole", 1.0, 0),
        ("whole", 2.0, 1),
        ("end", 3.0, 2),
    ]
    assert found.silent == ("across",)


def test_numbers_may_be_written_as_computers_do() -> None:
    assert values(metrics(loss=r"loss: (\S+)"), "loss: -1.5e-3", "loss: 1E3") == [
        ("loss", -0.0015, "algo-1"),
        ("loss", 1000.0, "algo-1"),
    ]


def test_metrics_that_no_line_matched_are_silent() -> None:
    found = metrics(loss=r"loss: (\d+)", accuracy=r"accuracy: (\d+)")

    values(found, "loss: 1")

    assert found.silent == ("accuracy",)


def test_a_pattern_that_cannot_decide_a_line_is_dropped_and_the_others_go_on() -> None:
    found = metrics(slow=r"^((?:a|aa|a?)+)$", loss=r"loss: (\d+)")
    line = "a" * 64 + " loss: 1"
    began = perf_counter()

    assert values(found, *[line] * 20) == [("loss", 1.0, "algo-1")] * 20

    assert found.too_slow == {"slow"}
    assert perf_counter() - began < 2


@pytest.mark.parametrize(
    ("pattern", "fault"),
    [
        (r"loss: ([0-9.]+)", None),
        ("(", "'(' is no regular expression: missing )"),
        ("loss", "'loss' has no group: the value is what the first (…) matches"),
    ],
)
def test_a_pattern_that_can_give_no_value_is_told(pattern: str, fault: str | None) -> None:
    found = pattern_fault(pattern)

    assert found == fault or (fault and found.startswith(fault))
