"""Who is ended when: events and times go in, signals come out."""

import pytest

from local_mode.supervision import Event, HostEnded, Signal, StopAsked, Supervision, TimePassed

HOSTS = ("algo-1", "algo-2", "algo-3")
STARTED, MAX_RUN = 1000.0, 60.0
DEADLINE = STARTED + MAX_RUN
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
    supervision = Supervision(HOSTS, started=STARTED, max_run=MAX_RUN)

    for event, seconds, expected in steps:
        signal = supervision.on(event, STARTED + seconds)
        assert (f"{signal.name} {' '.join(signal.hosts)}" if signal else None) == expected, (event, seconds)

    assert supervision.cause == cause


def test_the_exits_are_kept_in_their_order() -> None:
    supervision = Supervision(HOSTS, started=STARTED, max_run=MAX_RUN)

    supervision.on(HostEnded("algo-2", 1), STARTED)
    supervision.on(HostEnded("algo-1", 137, out_of_memory=True), STARTED)

    assert [(end.host, end.code, end.order, end.out_of_memory) for end in supervision.exits] == [
        ("algo-2", 1, 0, False),
        ("algo-1", 137, 1, True),
    ]
    assert supervision.running == ["algo-3"]


def test_the_deadline_is_the_jobs_then_the_kills_then_none() -> None:
    supervision = Supervision(HOSTS, started=STARTED, max_run=MAX_RUN)

    assert supervision.deadline == DEADLINE
    supervision.on(STOP, STARTED + 1)
    assert supervision.deadline == STARTED + 121
    assert supervision.on(TimePassed(), STARTED + 121) == Signal("SIGKILL", HOSTS)
    assert supervision.deadline is None
    assert supervision.on(TimePassed(), STARTED + 500) is None
