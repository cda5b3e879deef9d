"""Ctrl-C and the signals that end processes, as events of a run."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from types import FrameType

from local_mode.attempt import Events
from local_mode.supervision import StopAsked

_PATIENCE = 3


@contextmanager
def stop_signals() -> Iterator[Events]:
    """The queue that a run takes its events from. The first Ctrl-C asks for a stop, the second for an end at once;
    a third, where neither is listened to, interrupts whatever this process does, and `with` cleans up."""
    events: Events = SimpleQueue()
    presses = 0

    def interrupted(_number: int, _frame: FrameType | None) -> None:
        nonlocal presses
        presses += 1
        if presses >= _PATIENCE:
            raise KeyboardInterrupt
        events.put(StopAsked("interrupted"))

    def ended(_number: int, _frame: FrameType | None) -> None:
        events.put(StopAsked("stop requested"))

    before = {
        number: signal.signal(number, action)
        for number, action in ((signal.SIGINT, interrupted), (signal.SIGTERM, ended), (signal.SIGHUP, ended))
    }
    try:
        yield events
    finally:
        for number, action in before.items():
            signal.signal(number, action)
