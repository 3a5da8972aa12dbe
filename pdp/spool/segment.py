"""Segments: files of frames, named by the sequence number of their first record."""

import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

from pdp.errors import StartRefused
from pdp.spool.frame import HEADER, record_at

_SUFFIX: Final = ".seg"
_TORN: Final = 1024 * 1024
"""Writes that a crash tore are at most that far from the end: more is never left unsynced."""


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
    names = sorted(name for name in os.listdir(directory) if name.endswith(_SUFFIX))
    return [Segment(directory / name, int(name.removesuffix(_SUFFIX))) for name in names]


def read_records(path: Path, skip: int = 0) -> Iterator[bytes]:
    """Yield the sound records of a segment, after the first `skip`."""
    data = path.read_bytes()
    offset = number = 0
    while (record := record_at(data, offset)) is not None:
        if number >= skip:
            yield record
        offset += HEADER.size + len(record)
        number += 1


def measure(path: Path, *, last: bool) -> Extent:
    """Return what is sound in a segment.

    Only the last segment may end in a torn write. Raises `StartRefused` where
    anything else is wrong, naming file and offset.
    """
    with path.open("rb") as file:
        length = os.fstat(file.fileno()).st_size
        if not length:
            return Extent(0, 0, 0)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data, memoryview(data) as view:
            offset = records = 0
            while (record := record_at(view, offset)) is not None:
                offset += HEADER.size + len(record)
                records += 1
            if offset < length and (not last or _goes_on(view, offset)):
                raise StartRefused(
                    f"{path} is damaged at byte {offset}: restore it from a backup, or move the "
                    "spool away and accept that what was not shipped is lost"
                )
            return Extent(records, offset, length - offset)


def _goes_on(data: memoryview, damaged: int) -> bool:
    """Tell whether a sound record follows the damage: then it is no torn last write."""
    if not bytes(data[damaged:]).strip(b"\0"):
        return False
    if len(data) - damaged > _TORN:
        return True
    return any(
        record_at(data, offset) is not None
        for offset in range(damaged + 1, len(data) - HEADER.size)
    )
