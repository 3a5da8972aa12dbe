"""The generic cell rate algorithm, with the theoretical arrival time (TAT) as its only state.

Each admitted request moves the TAT one interval ahead; a request is admitted
while that leaves the TAT at most `capacity` intervals after now. So a rate that
rested admits `capacity` at once and one per interval from then on, and any
interval of one period admits at most `capacity + amount`. Source: ITU-T I.371,
annex A (virtual scheduling).
"""

from typing import Final

from pdp.quota.limit import Rate

NEVER: Final = -1
"""As `retry_after`: waiting does not help."""


def admit(tat: int, rate: Rate, now: int) -> tuple[int | None, int]:
    """Return (new TAT, 0) if a request may pass now, else (None, ns to wait or `NEVER`).

    `tat` is 0 for a rate that was never used; times in ns.
    """
    interval = rate.interval
    if not interval:
        return None, NEVER
    full = now + rate.capacity * interval
    if tat < now:
        tat = now
    elif tat > full:
        # The clock was put back or the limit changed: to have used it all is the worst
        # that can have happened, so nobody waits longer than that.
        tat = full
    tat += interval
    return (tat, 0) if tat <= full else (None, tat - full)


def remaining(tat: int, rate: Rate, now: int) -> int:
    """Return how many requests would be admitted at once now."""
    if not rate.interval or tat <= now:
        return rate.capacity
    return max(0, rate.capacity - -(-(tat - now) // rate.interval))
