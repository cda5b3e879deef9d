"""A run's folder as one page."""

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from local_mode.report import bill, report

AT = "2026-11-21T10:00:0{}+00:00"


def described(**changes: Any) -> dict[str, Any]:
    steps = ("Starting", "Training", "Completed")
    return {
        "TrainingJobName": "a-job",
        "TrainingJobStatus": "Completed",
        "SecondaryStatus": "Completed",
        "AlgorithmSpecification": {"TrainingImage": "homeport/tensorflow:cpu"},
        "ResourceConfig": {"InstanceType": "ml.p3.16xlarge", "InstanceCount": 2},
        "BillableTimeInSeconds": 3600,
        "SecondaryStatusTransitions": [
            {
                "Status": step,
                "StartTime": AT.format(at),
                "EndTime": AT.format(at + 1),
                "StatusMessage": f"{step} & so on",
            }
            for at, step in enumerate(steps)
        ],
    } | changes


class Reader(HTMLParser):
    """The text of a page, and what it would fetch."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.fetched: list[str] = []
        self.feed(page)
        self.text = " ".join(" ".join(self.words).split())

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [f"{tag} {value}" for name, value in attrs if name in ("src", "href")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run of two hosts that said, measured and used something."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "algo-1.log").write_text("".join(f"line {n} <b>\n" for n in range(300)))
    (tmp_path / "logs" / "algo-10.log").write_text("ten\n")
    (tmp_path / "logs" / "algo-2.log").write_bytes(b"two \xff\n")
    metrics = [
        {"MetricName": "loss", "Value": 1 / (n + 1), "Timestamp": AT.format(n), "Host": "algo-1"} for n in (1, 3)
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in metrics) + '{"MetricName": "lo')
    used = {"Timestamp": AT.format(2), "Host": "algo-1", "CPUUtilization": 150.0, "MemoryUtilization": 3.5}
    (tmp_path / "usage.jsonl").write_text(f"{json.dumps(used)}\n")
    (tmp_path / "plan.json").write_text(json.dumps({"ledger": [{"field": "Tags", "kind": "recorded", "how": "none"}]}))
    (tmp_path / "request.json").write_text(json.dumps({"TrainingJobName": "a-job"}))
    return tmp_path


def test_the_page_holds_all_that_the_run_left_and_fetches_nothing(folder: Path) -> None:
    page = Reader(report(folder, described()))

    assert page.fetched == []
    for part in (
        "a-job Completed · ml.p3.16xlarge × 2 · homeport/tensorflow:cpu",
        "Training 2026-11-21 10:00:01 1.0 Training & so on",
        "In the cloud its 3,600 billable seconds would have cost $56.30 (prices of 2024-05).",
        "loss 0.25 0.25 0.5 2",
        "CPU, % of one core",
        "Memory, %",
        "algo-1 the last 200 of 300 lines line 100 <b>",
        "Tags recorded none",
        '"TrainingJobName": "a-job"',
    ):
        assert part in page.text, part
    assert page.text.index("algo-2 two �") < page.text.index("algo-10 ten")


def test_a_job_that_failed_says_why(folder: Path) -> None:
    page = Reader(
        report(folder, described(TrainingJobStatus="Failed", FailureReason="AlgorithmError: <x>, exit code: 1"))
    )

    assert "AlgorithmError: <x>, exit code: 1" in page.text


def test_a_run_that_left_little_is_a_page_too(tmp_path: Path) -> None:
    steps = [{"Status": "Starting", "StartTime": AT.format(0)}]

    page = Reader(report(tmp_path, described(SecondaryStatusTransitions=steps)))

    assert "Starting 2026-11-21 10:00:00" in page.text


@pytest.mark.parametrize(
    "changes",
    [
        {"BillableTimeInSeconds": None},
        {"ResourceConfig": {"InstanceType": "ml.p6-b300.48xlarge", "InstanceCount": 1}},
    ],
)
def test_no_bill_is_made_up(changes: dict[str, Any]) -> None:
    assert bill(described(**changes)) == ""
