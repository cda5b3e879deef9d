"""Encode images as TFRecords without TensorFlow, which the host does not have.

By hand, since three features need no protobuf, and so the same image gives the same bytes every time, which protobuf's
maps don't promise. The format: https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
"""

from __future__ import annotations

import struct

import google_crc32c

BYTES_LIST, INT64_LIST = 1, 3  # field numbers in tf.train.Feature


def record(payload: bytes) -> bytes:
    """Frame a payload: its length, the length's checksum, the payload, its checksum."""
    length = struct.pack("<Q", len(payload))
    return length + masked_crc(length) + payload + masked_crc(payload)


def masked_crc(content: bytes) -> bytes:
    """CRC-32C, rotated and shifted as TFRecord wants it."""
    crc = google_crc32c.value(content)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def example(*, image: bytes, label: int, image_id: int) -> bytes:
    """A tf.train.Example of three features: image (bytes), label and id (int64)."""
    features = {
        "image": field(BYTES_LIST, field(1, image)),
        "label": field(INT64_LIST, field(1, varint(label))),
        "id": field(INT64_LIST, field(1, varint(image_id))),
    }
    entries = (field(1, field(1, name.encode()) + field(2, feature)) for name, feature in features.items())
    return field(1, b"".join(entries))


def field(number: int, payload: bytes) -> bytes:
    """A length-delimited protobuf field."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def varint(value: int) -> bytes:
    """Protobuf's integer: seven bits a byte, the lowest first, the top bit set on all but the last."""
    content = bytearray()
    while value > 0x7F:
        content.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*content, value])
