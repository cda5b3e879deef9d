"""Work that is not waited for once a job is stopped."""

import threading

import pytest

from local_mode.fetching import answer
from training_job.errors import Interrupted, MachineCannot


def test_what_the_work_returns_is_the_answer() -> None:
    assert answer(lambda: [1, 2], lambda: False) == [1, 2]


def test_what_the_work_raises_is_raised() -> None:
    def refused() -> None:
        raise MachineCannot("no such bucket")

    with pytest.raises(MachineCannot, match="no such bucket"):
        answer(refused, lambda: False)


def test_a_server_that_is_silent_is_not_waited_for_once_the_job_is_stopped() -> None:
    asked, over = threading.Event(), threading.Event()

    def silent() -> None:
        asked.set()
        over.wait(60)

    with pytest.raises(Interrupted):
        answer(silent, asked.is_set)

    over.set()
