"""Segments: files of frames, named by the sequence number of their first record."""

import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

from pdp.spool.frame import HEADER, record_at

_SUFFIX: Final = ".seg"


class Segment(Struct, frozen=True):
    """A file whose first record has the sequence number `first`."""

    path: Path
    first: int


class Extent(Struct, frozen=True):
    """What is sound in a segment: `records` of them in the first `size` bytes; `torn` follow."""

    records: int
    size: int
    torn: int


def segment_path(directory: Path, first: int) -> Path:
    """Return the path of the segment that starts with a sequence number."""
    return directory / f"{first:020d}{_SUFFIX}"


def list_segments(directory: Path) -> list[Segment]:
    """Return the segments of a spool in order. Raises `OSError`."""
    # Not `glob`: newer Pythons answer with nothing where a folder cannot be read.
    paths = sorted(path for path in directory.iterdir() if path.suffix == _SUFFIX)
    return [Segment(path, int(path.stem)) for path in paths]


def read_records(path: Path, skip: int = 0) -> Iterator[bytes]:
    """Yield the sound records of a segment, after the first `skip`."""
    data = path.read_bytes()
    offset = number = 0
    while (record := record_at(data, offset)) is not None:
        if number >= skip:
            yield record
        offset += HEADER.size + len(record)
        number += 1


def measure(path: Path) -> Extent:
    """Return what is sound in a segment. Raises `OSError`."""
    with path.open("rb") as file:
        length = os.fstat(file.fileno()).st_size
        if not length:
            return Extent(0, 0, 0)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data, memoryview(data) as view:
            offset = records = 0
            while (record := record_at(view, offset)) is not None:
                offset += HEADER.size + len(record)
                records += 1
            return Extent(records, offset, length - offset)
