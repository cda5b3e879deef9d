"""RecordIO, read back by a reader of its own."""

import struct

import pytest

from local_mode.inputs.recordio import LIMIT, header, padding


def read_back(stream: bytes) -> list[bytes]:
    """As MXNet and sagemaker-training read: magic, length, content, zeros up to the next multiple of 4."""
    records = []
    while stream:
        magic, length = struct.unpack_from("<II", stream)
        assert magic == 0xCED7230A
        records.append(stream[8 : 8 + length])
        end = 8 + (length + 3) // 4 * 4
        assert not any(stream[8 + length : end])
        stream = stream[end:]
    return records


@pytest.mark.parametrize("sizes", [(0,), (1,), (2,), (3,), (4,), (5,), (0, 7, 1, 0, 8, 1023, 3)])
def test_what_is_framed_is_read_back(sizes: tuple[int, ...]) -> None:
    contents = [bytes([at + 1]) * size for at, size in enumerate(sizes)]

    stream = b"".join(header(len(content)) + content + padding(len(content)) for content in contents)

    assert read_back(stream) == contents


def test_a_record_is_the_bytes_that_the_toolkit_writes() -> None:
    assert header(5) + b"hello" + padding(5) == b"\x0a\x23\xd7\xce\x05\x00\x00\x00hello\x00\x00\x00"


def test_the_largest_record_that_the_format_can_hold_has_its_length() -> None:
    assert struct.unpack("<II", header(LIMIT - 1))[1] == 536_870_911


def test_a_larger_record_is_refused_with_the_limit() -> None:
    with pytest.raises(ValueError, match=r"536\.9 MB: a RecordIO record holds less than 536\.9 MB"):
        header(LIMIT)
