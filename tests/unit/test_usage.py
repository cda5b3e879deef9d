"""What hosts use, over time."""

import threading

import pytest

from local_mode.engine import Usage
from local_mode.usage import Point, Sampled, point, read_gpus, sampling
from training_job.errors import MachineCannot


class Host:
    """A host whose engine answers this, and then that it runs no more."""

    def __init__(self, *answers: Usage | Exception | None) -> None:
        self._answers = list(answers)
        self.asked = threading.Event()

    def usage(self) -> Usage | None:
        if not self._answers:
            self.asked.set()
            return None
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            self.asked.set()
            raise answer
        return answer


def test_a_point_is_what_was_used_in_between() -> None:
    found = point("algo-1", Usage(14.0, 3 << 30, 5000, 700), Usage(10.0, 1 << 30, 1000, 100), 2.0, 4 << 30)

    assert found == {
        "Host": "algo-1",
        "CPUUtilization": 200.0,
        "MemoryUtilization": 75.0,
        "MemoryBytes": 3 << 30,
        "ReceivedBytesPerSecond": 2000,
        "SentBytesPerSecond": 300,
    }


def test_two_samples_are_a_point_and_one_is_none() -> None:
    first, second = Host(Usage(0, 1, 0, 0), Usage(1, 1, 0, 0)), Host(Usage(0, 1, 0, 0))
    kept: list[Point] = []

    with sampling({"a": Sampled(first, 8), "b": Sampled(second, 8)}, kept.append, interval=0):  # type: ignore[arg-type]
        assert first.asked.wait(10)

    assert [found["Host"] for found in kept] == ["a"]
    assert kept[0]["CPUUtilization"] > 0


@pytest.mark.parametrize("error", [MachineCannot("the engine is gone")])
def test_an_engine_that_is_gone_ends_the_samples_and_nothing_else(error: Exception) -> None:
    host = Host(error)

    with sampling({"a": Sampled(host, 8)}, lambda _: None, interval=0):  # type: ignore[arg-type]
        assert host.asked.wait(10)


def test_what_nvidia_smi_says_is_read() -> None:
    assert read_gpus("0, 97, 8110, 16220\n3, 0, 0, 16220\n5, [N/A], 1, 2\n") == {"0": (97.0, 50.0), "3": (0.0, 0.0)}
