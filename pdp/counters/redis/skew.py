"""How far Redis' clock is from this machine's. Pure; times in ns.

Redis' clock says when rates have filled up and when what is settled is forgotten; the data
planes' say which windows a request counts in, and when its hold is over. Whoever sets one
of them days ahead loses sums that still count, and nobody else would notice.
"""

from typing import Final

BOUND: Final = 5_000_000_000
"""So far machines may be apart that keep their time; beyond it somebody is told."""


class Skew:
    """The largest distance of a round of answers, and whether it has just become news."""

    def __init__(self) -> None:
        self.ns = 0
        """Of the last round; positive: Redis is ahead."""
        self._round = 0
        self._is_wide = False

    def note(self, began: int, told: int, ended: int) -> None:
        """Note what an answer told that came between `began` and `ended`."""
        distance = told - ended if told > ended else min(told - began, 0)
        if abs(distance) > abs(self._round):
            self._round = distance

    def news(self) -> bool | None:
        """End a round; tell whether the clocks have parted, or come together again, if so."""
        self.ns, self._round = self._round, 0
        was_wide, self._is_wide = self._is_wide, abs(self.ns) > BOUND
        return self._is_wide if self._is_wide != was_wide else None
