"""When Redis is asked, and when it is left alone. Pure; times in ns."""

from typing import Final

FAILURES: Final = 2
"""Calls in a row that fail before it counts as away: one may be bad luck."""


class Breaker:
    """Closed while calls succeed. Open, no call is made but a probe every `rest`."""

    __slots__ = ("_failures", "_next_probe", "is_open", "rest", "round", "trips")

    def __init__(self, rest: int) -> None:
        self.is_open = False
        self.trips = 0
        """How often it has opened."""
        self.round = 0
        """How many failures have counted: calls that go out together fail together."""
        self.rest = rest
        self._failures = 0
        self._next_probe = 0

    def failed(self, now: int, began: int | None = None) -> None:
        """Note that a call, or a probe, got no answer.

        `began`: the round when it went out. What went out before the last failure tells
        nothing new: one pause of Redis is one failure, however many wait for it.
        """
        if began is not None and began != self.round:
            return
        self.round += 1
        self._failures += 1
        if self._failures >= FAILURES and not self.is_open:
            self.is_open = True
            self.trips += 1
        self._next_probe = now + self.rest

    def trip(self, now: int) -> None:
        """Open: it is known that nobody answers."""
        self._failures = max(self._failures, FAILURES - 1)
        self.failed(now)

    def succeeded(self) -> None:
        """Note that a call was answered."""
        self._failures = 0

    def wants_probe(self, now: int) -> bool:
        """Tell whether it is time to look whether it is back."""
        return self.is_open and now >= self._next_probe

    def heal(self) -> None:
        """Close: a probe was answered."""
        self._failures = 0
        self.is_open = False
