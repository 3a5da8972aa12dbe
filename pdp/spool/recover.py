"""Start: the journal as it was left, and the counters as they stood at its last record."""

from pathlib import Path

import structlog

from pdp.counters.memory import MemoryCounters
from pdp.counters.seen import SqliteSeen
from pdp.errors import SpoolFailed, StartRefused
from pdp.spool.checkpoint import Checkpoint, load, save
from pdp.spool.journal import Journal
from pdp.spool.replay import replay, restore
from pdp.spool.room import MAX_BYTES
from pdp.spool.segment import list_segments

_log = structlog.get_logger(__name__)


def recover(
    directory: Path,
    *,
    new_spool_id: str,
    now: int,
    wait: float = 0.0,
    max_bytes: int = MAX_BYTES,
    segment_bytes: int | None = None,
) -> tuple[MemoryCounters, Journal]:
    """Return (counters, open journal) of a spool; make it if there is none.

    `new_spool_id` is random text for a new one. `now` in ns; `wait` is how many
    seconds a killed predecessor may take to let the directory go. Raises
    `StartRefused` with one line; then nothing stays open.
    """
    journal = Journal(directory, max_bytes=max_bytes, segment_bytes=segment_bytes)
    journal.open(new_spool_id, wait, lambda: _covered(directory))
    if journal.truncated:
        _log.warning(
            "a write that was never finished is cut off the spool",
            spool=str(directory),
            bytes=journal.truncated,
        )
    try:
        return _recover(journal, now), journal
    except StartRefused:
        journal.close()
        raise
    except (OSError, SpoolFailed) as error:
        journal.close()
        raise StartRefused(f"cannot use the spool {directory}: {error}") from error


def _covered(directory: Path) -> int:
    checkpoint = load(directory)
    return 0 if checkpoint is None else checkpoint.next_sequence


def _recover(journal: Journal, now: int) -> MemoryCounters:
    directory = journal.directory
    checkpoint = load(directory)
    if checkpoint is not None:
        _check(checkpoint, journal)
    seen = SqliteSeen(directory / "seen.db")
    try:
        counters = MemoryCounters(seen)
        start = restore(counters, checkpoint, directory)
        end = journal.next_sequence
        replay(counters, list_segments(directory), start, end)
        counters.prune(now)
        # What the checkpoint covers may be dropped, so this comes first.
        seen.flush()
        seen.prune(now)
        if end > start:
            save(directory, Checkpoint(journal.spool_id, end, counters.snapshot()))
    except BaseException:
        seen.close()
        raise
    return counters


def _check(checkpoint: Checkpoint, journal: Journal) -> None:
    if checkpoint.spool_id != journal.spool_id:
        raise StartRefused(
            f"the checkpoint in {journal.directory} is of another spool: restore the right one"
        )
    if checkpoint.next_sequence > journal.next_sequence:
        raise StartRefused(
            f"the spool {journal.directory} ends at record {journal.next_sequence}, its "
            f"checkpoint at {checkpoint.next_sequence}: restore what is missing"
        )
