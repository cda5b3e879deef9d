"""RecordIO: what a Pipe channel puts around each object so that a reader knows where it ends. Pure.

As sagemaker-training's recordio.py and MXNet read it: magic, length, content, zeros up to a multiple of 4 bytes.
"""

from __future__ import annotations

import struct

MAGIC = 0xCED7230A
LIMIT = 1 << 29
"""The first size in bytes that no record can have: MXNet keeps the upper 3 bits of the length for flags."""


def header(size: int) -> bytes:
    """What comes before a content of `size` bytes. Raises ValueError from LIMIT on."""
    if size >= LIMIT:
        raise ValueError(f"{size / 1e6:,.1f} MB: a RecordIO record holds less than {LIMIT / 1e6:,.1f} MB")
    return struct.pack("<II", MAGIC, size)


def padding(size: int) -> bytes:
    """What comes after a content of `size` bytes."""
    return bytes(-size % 4)
