"""How one record stands in a segment: length and CRC-32 (little-endian), then the record."""

import struct
from typing import Final
from zlib import crc32

HEADER: Final = struct.Struct("<II")
LONGEST: Final = 16 * 1024 * 1024
"""No record is longer; a length above it is damage."""


def frame_of(record: bytes) -> bytes:
    """Return a record with its header. An empty record is not one: zeros are damage."""
    return HEADER.pack(len(record), crc32(record)) + record


def record_at(data: bytes | memoryview, offset: int) -> bytes | None:
    """Return the record whose frame starts at `offset`, None if there is no sound one."""
    start = offset + HEADER.size
    if start > len(data):
        return None
    length, checksum = HEADER.unpack_from(data, offset)
    if not 0 < length <= LONGEST or start + length > len(data):
        return None
    record = bytes(data[start : start + length])
    return record if crc32(record) == checksum else None
