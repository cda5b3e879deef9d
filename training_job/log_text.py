"""A job's log lines and durations as a person reads them, wherever it ran. Pure."""

from __future__ import annotations

import re

# mpirun --tag-output as the toolkits rewrite it (sagemaker-training process.py:196-213), or as it comes.
_RANK_TAG = re.compile(r"\n\[\d+,(?:mpirank:)?(\d+)(?:,[^\]\n]*)?\]<std(?:out|err)>:")
_RETURNS = re.compile(r"\r+(?=\n|\Z)")


def lines_text(host: str, lines: bytes) -> str:
    """Lines of a host's log, its name before each, and the rank where mpirun said which."""
    # A line begins with the line feed before it: a pattern with a letter in front is searched for ten times as fast.
    text = "\n" + lines.decode(errors="replace").removesuffix("\n")
    if "\r" in text:
        text = _RETURNS.sub("", text)
    text = _RANK_TAG.sub(r"\n[\1] ", text)
    return text.replace("\n", f"\n{host} │ ")[1:] + "\n"


def duration(seconds: float) -> str:
    """`1 min 12 s`, `3 h 2 min`."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
