"""A job's log lines and durations as a person reads them, wherever it ran. Pure."""

from __future__ import annotations

import re

# mpirun --tag-output as the toolkits rewrite it (sagemaker-training process.py:196-213), or as it comes.
_RANK_TAG = re.compile(r"^\[\d+,(?:mpirank:)?(\d+)(?:,[^\]]*)?\]<std(?:out|err)>:")


def line_text(host: str, line: bytes) -> str:
    """A line of a host's log, the rank before it where mpirun said which."""
    text = _RANK_TAG.sub(r"[\1] ", line.decode(errors="replace").rstrip("\r\n"))
    return f"{host} │ {text}\n"


def duration(seconds: float) -> str:
    """`1 min 12 s`, `3 h 2 min`."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
