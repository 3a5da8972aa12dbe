"""From a checkpoint and the records after it to counters."""

from pathlib import Path

import msgspec

from pdp.counters.memory import MemoryCounters
from pdp.errors import StartRefused
from pdp.records import decode
from pdp.spool.checkpoint import Checkpoint
from pdp.spool.segment import Segment, read_records


def restore(counters: MemoryCounters, checkpoint: Checkpoint | None, directory: Path) -> int:
    """Give counters the state of a checkpoint; return the number of the record that follows."""
    if checkpoint is None:
        return 0
    try:
        counters.restore(checkpoint.state)
    except msgspec.DecodeError as error:
        raise StartRefused(
            f"the checkpoint in {directory} cannot be read: {error}; use the release that wrote it"
        ) from error
    return checkpoint.next_sequence


def replay(counters: MemoryCounters, segments: list[Segment], start: int, end: int) -> int:
    """Apply the records from `start` on, and before `end`; return the latest time in them.

    The segments are in order and need not start with `start`. The time is in ns, 0 without
    records. Raises `StartRefused` if one is missing.
    """
    number, latest = start, 0
    following = [segment.first for segment in segments[1:]]
    for segment, stop in zip(segments, [*following, end], strict=True):
        if stop <= number:
            continue
        if segment.first > number:
            raise StartRefused(
                f"the records from {number} to {segment.first - 1} are missing "
                f"before {segment.path}: restore them from a backup"
            )
        for record in read_records(segment.path, number - segment.first):
            latest = max(latest, _apply(counters, record, segment.path, number))
            number += 1
    if number != end:
        raise StartRefused(f"the records from {number} to {end - 1} are missing: restore them")
    return latest


def _apply(counters: MemoryCounters, record: bytes, path: Path, number: int) -> int:
    """Apply a record; return its time."""
    try:
        decoded = decode(record)
    except msgspec.DecodeError as error:
        raise StartRefused(
            f"record {number} in {path} cannot be read: {error}; use the release that wrote it"
        ) from error
    counters.apply(decoded)
    return decoded.at
