"""`python -m pdp.spool.compact DIR END`: move the checkpoint up to the record END.

A process of its own beside the data plane, so that no answer waits for it (see
docs/adr/0001-spool-is-compacted-outside.md). END is where a segment begins. Prints the
number of the first record that is not in the checkpoint.
"""

import os
import sys
from pathlib import Path

from pdp.counters.memory import MemoryCounters
from pdp.errors import StartRefused
from pdp.spool.checkpoint import Checkpoint, load, save
from pdp.spool.replay import replay, restore
from pdp.spool.segment import list_segments

_POLITENESS = 10
_ENDED_KEPT = 7 * 86_400_000_000_000
"""How long after its end a hold is kept that nothing in this spool has settled: in ns."""


def compact(directory: Path, end: int) -> int:
    """Put every segment before `end` into the checkpoint; return the first record not in it.

    The caller chooses `end`: what else the checkpoint stands for must be on disk up to
    there. Raises `StartRefused` for what is damaged or missing, and `OSError`.
    """
    checkpoint = load(directory)
    counters = MemoryCounters()
    start = restore(counters, checkpoint, directory)
    if end <= start:
        return start
    segments = [segment for segment in list_segments(directory) if segment.first < end]
    latest = replay(counters, segments, start, end)
    counters.prune(latest)
    counters.forget_ended(latest - _ENDED_KEPT)
    spool_id = (directory / "spool_id").read_text("ascii").strip()
    save(directory, Checkpoint(spool_id, end, counters.snapshot()))
    return end


def main() -> int:
    """Run as a command."""
    os.nice(_POLITENESS)
    try:
        sys.stdout.write(f"{compact(Path(sys.argv[1]), int(sys.argv[2]))}\n")
    except (StartRefused, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
