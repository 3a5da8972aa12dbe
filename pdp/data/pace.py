"""How long the shipper rests between two batches, so that Checks have the processor. Pure.

The ledger can be fed afterwards, a Check cannot wait, and a record costs the control plane
half as much as the Check that made it. So, while records come fast, the shipper works a
quarter of the time. The more records wait, the shorter it rests: under steady load their
number finds its level, below `FULL`, or shipping goes on at full speed. The control plane's
other work (keys, changes) goes another way and does not wait for it.
"""

from typing import Final

from msgspec import Struct

BUSY: Final = 500
"""Records a second that tell a data plane under load from an idle one."""

RESTS: Final = 3
"""Times as long as a batch took that is rested after it, under load and with no backlog."""

LONGEST: Final = 0.5
"""Seconds of rest at most: a slow database takes its time without anybody's processor."""

FULL: Final = 100_000
"""Records, up to 1 kB each, with which there is no rest; it shrinks evenly on the way."""


class Look(Struct, frozen=True, gc=False):
    """The spool at one moment: `end` is the next record's number, `at` in s of any clock."""

    at: float
    end: int


def is_busy(before: Look, now: Look) -> bool:
    """Tell whether records came fast between two looks."""
    return now.end - before.end >= BUSY * (now.at - before.at) > 0


def rest_after(took: float, backlog: int) -> float:
    """Return the seconds to rest, under load, after a batch that took `took` seconds."""
    return min(RESTS * took, LONGEST) * max(0.0, 1 - backlog / FULL)
