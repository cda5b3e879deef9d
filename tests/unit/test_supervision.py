"""Who is ended when: events and times go in, signals come out."""

import pytest

from local_mode.supervision import Event, HostEnded, Signal, StopAsked, Supervision, TimePassed
from training_job.lifecycle import Cause

HOSTS = ("algo-1", "algo-2", "algo-3")
STARTED, MAX_RUN = 1000.0, 60.0
DEADLINE = STARTED + MAX_RUN
DEADLINES: dict[Cause, float] = {"ran past its time": DEADLINE}
CTRL_C = StopAsked("interrupted")
STOP = StopAsked("stop requested")
ALL = "algo-1 algo-2 algo-3"


@pytest.mark.parametrize(
    ("steps", "cause"),
    [
        pytest.param(
            [(HostEnded("algo-1", 0), 1, None), (HostEnded("algo-3", 0), 2, None), (HostEnded("algo-2", 0), 3, None)],
            "exited",
            id="hosts that end well stop nobody",
        ),
        pytest.param(
            [
                (HostEnded("algo-1", 0), 1, None),
                (HostEnded("algo-2", 3), 5, "SIGTERM algo-3"),
                (TimePassed(), 6.9, None),
                (TimePassed(), 7, "SIGKILL algo-3"),
                (HostEnded("algo-3", 137), 7.1, None),
            ],
            "exited",
            id="the first that fails ends the others",
        ),
        pytest.param(
            [
                (HostEnded("algo-1", 1), 5, "SIGTERM algo-2 algo-3"),
                (HostEnded("algo-2", 143), 5.1, None),
                (HostEnded("algo-3", 1), 5.2, None),
            ],
            "exited",
            id="those that were ended end nobody again",
        ),
        pytest.param(
            [(HostEnded("algo-1", 0), 1, None), (HostEnded("algo-2", 0), 2, None), (HostEnded("algo-3", 1), 3, None)],
            "exited",
            id="the last that fails ends nobody",
        ),
        pytest.param(
            [(STOP, 10, f"SIGTERM {ALL}"), (TimePassed(), 129.9, None), (TimePassed(), 130, f"SIGKILL {ALL}")],
            "stop requested",
            id="a stop gives 120 seconds",
        ),
        pytest.param(
            [(CTRL_C, 10, f"SIGTERM {ALL}"), (CTRL_C, 11, f"SIGKILL {ALL}"), (CTRL_C, 12, f"SIGKILL {ALL}")],
            "interrupted",
            id="a second Ctrl-C ends at once",
        ),
        pytest.param(
            [(CTRL_C, 10, f"SIGTERM {ALL}"), (STOP, 11, f"SIGKILL {ALL}")],
            "interrupted",
            id="the first stop is the cause",
        ),
        pytest.param(
            [
                (TimePassed(), 59.9, None),
                (TimePassed(), 60, f"SIGTERM {ALL}"),
                (TimePassed(), 179.9, None),
                (TimePassed(), 180, f"SIGKILL {ALL}"),
            ],
            "ran past its time",
            id="the deadline gives 120 seconds too",
        ),
        pytest.param(
            [(TimePassed(), 60, f"SIGTERM {ALL}"), (CTRL_C, 61, f"SIGKILL {ALL}")],
            "ran past its time",
            id="Ctrl-C after the deadline ends at once",
        ),
        pytest.param(
            [
                (HostEnded("algo-1", 0), 1, None),
                (STOP, 2, "SIGTERM algo-2 algo-3"),
                (HostEnded("algo-2", 143), 3, None),
                (STOP, 4, "SIGKILL algo-3"),
            ],
            "stop requested",
            id="only those that still run are signalled",
        ),
        pytest.param(
            [(HostEnded("algo-1", 1), 5, "SIGTERM algo-2 algo-3"), (CTRL_C, 6, "SIGKILL algo-2 algo-3")],
            "exited",
            id="a job that has failed stays failed when it is stopped",
        ),
        pytest.param(
            [(STOP, 5, f"SIGTERM {ALL}"), (HostEnded("algo-1", 1), 6, None), (TimePassed(), 61, None)],
            "stop requested",
            id="a job that is stopped stays so when a host fails or its time passes",
        ),
    ],
)
def test_events_become_signals(steps: list[tuple[Event, float, str | None]], cause: str) -> None:
    supervision = Supervision(HOSTS, DEADLINES)

    for event, seconds, expected in steps:
        signal = supervision.on(event, STARTED + seconds)
        assert (f"{signal.name} {' '.join(signal.hosts)}" if signal else None) == expected, (event, seconds)

    assert supervision.cause == cause


def test_the_exits_are_kept_in_their_order() -> None:
    supervision = Supervision(HOSTS, DEADLINES)

    supervision.on(HostEnded("algo-2", 1), STARTED)
    supervision.on(HostEnded("algo-1", 137, out_of_memory=True), STARTED)

    assert [(end.host, end.code, end.order, end.out_of_memory) for end in supervision.exits] == [
        ("algo-2", 1, 0, False),
        ("algo-1", 137, 1, True),
    ]
    assert supervision.running == ["algo-3"]


def test_the_deadline_is_the_jobs_then_the_kills_then_none() -> None:
    supervision = Supervision(HOSTS, DEADLINES)

    assert supervision.deadline == DEADLINE
    supervision.on(STOP, STARTED + 1)
    assert supervision.deadline == STARTED + 121
    assert supervision.on(TimePassed(), STARTED + 121) == Signal("SIGKILL", HOSTS)
    assert supervision.deadline is None
    assert supervision.on(TimePassed(), STARTED + 500) is None


def test_a_script_that_saves_its_work_gets_its_full_120_seconds() -> None:
    supervision = Supervision(HOSTS, DEADLINES)

    supervision.on(STOP, STARTED + 10)

    for second in (1, 60, 119.999):
        assert supervision.on(TimePassed(), STARTED + 10 + second) is None
    assert supervision.on(TimePassed(), STARTED + 10 + 120) == Signal("SIGKILL", HOSTS)


@pytest.mark.parametrize(
    ("steps", "cause", "interrupted"),
    [
        pytest.param(
            [(TimePassed(), 29.9, None), (TimePassed(), 30, f"SIGTERM {ALL}"), (TimePassed(), 35, f"SIGKILL {ALL}")],
            "spot interruption",
            True,
            id="an interruption gives five seconds",
        ),
        pytest.param(
            [(TimePassed(), 30, f"SIGTERM {ALL}"), (HostEnded("algo-1", 0), 31, None), (TimePassed(), 34, None)],
            "spot interruption",
            True,
            id="a host that ends well when it is taken away has not completed",
        ),
        pytest.param(
            [(TimePassed(), 30, f"SIGTERM {ALL}"), (STOP, 31, f"SIGKILL {ALL}")],
            "stop requested",
            True,
            id="a stop meanwhile ends the job, whose instances are gone all the same",
        ),
        pytest.param(
            [(HostEnded("algo-1", 1), 5, "SIGTERM algo-2 algo-3"), (TimePassed(), 30, "SIGKILL algo-2 algo-3")],
            "exited",
            False,
            id="a job that has failed is not interrupted",
        ),
        pytest.param(
            [(STOP, 5, f"SIGTERM {ALL}"), (TimePassed(), 30, None), (TimePassed(), 61, None)],
            "stop requested",
            False,
            id="nor is one that is stopped",
        ),
    ],
)
def test_an_interruption_takes_every_host_away(
    steps: list[tuple[Event, float, str | None]], cause: str, interrupted: bool
) -> None:
    supervision = Supervision(HOSTS, {"spot interruption": STARTED + 30, **DEADLINES})

    for event, seconds, expected in steps:
        signal = supervision.on(event, STARTED + seconds)
        assert (f"{signal.name} {' '.join(signal.hosts)}" if signal else None) == expected, (event, seconds)

    assert (supervision.cause, supervision.interrupted) == (cause, interrupted)


@pytest.mark.parametrize(("wait", "cause"), [(MAX_RUN - 1, "waited too long"), (MAX_RUN + 1, "ran past its time")])
def test_the_deadline_that_comes_first_is_the_cause(wait: float, cause: str) -> None:
    supervision = Supervision(HOSTS, {**DEADLINES, "waited too long": STARTED + wait})

    assert supervision.deadline == min(STARTED + wait, DEADLINE)
    assert supervision.on(TimePassed(), STARTED + 100) == Signal("SIGTERM", HOSTS)
    assert supervision.cause == cause
