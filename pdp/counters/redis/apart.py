"""Whether a data plane counts in another Redis than the rest, under the same address. Pure.

The control plane says that its Redis hears of others and not of this one. That is so, too,
where this one is cut off from Redis, or was a moment ago. So it is believed only by one that
has reached a Redis of its own all the time in which it would have been heard of.
"""

from typing import Final

_SECOND: Final = 1_000_000_000
SURE: Final = 100 * _SECOND
"""ns: the control plane looks each 30 s, and takes nobody for silent before 60."""

_GAP: Final = 10 * _SECOND
"""ns between two visits, beyond which it was away, or stood still."""


class Apart:
    """What was `said`, and since when Redis is reached; times are monotonic, in ns."""

    def __init__(self) -> None:
        self.said = False
        self._since: int | None = None
        self._last = 0

    def reached(self, now: int) -> None:
        """Note that this data plane has just said in its Redis that it is there."""
        if self._since is None or now - self._last > _GAP:
            self._since = now
        self._last = now

    def lost(self) -> None:
        """Note that it could not."""
        self._since = None

    def is_sure(self, now: int) -> bool:
        """Tell whether its Redis is another one."""
        return self.said and self._since is not None and now - self._since >= SURE
