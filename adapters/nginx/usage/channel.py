"""A way by which lines come, and what became of them: plain integers, read when scraped."""

import time
from collections.abc import Callable
from typing import Any, Final

_QUIET: Final = 60.0
"""Seconds between two words about the same trouble: a wrong log format repeats itself."""


class Channel:
    """`name` is `udp` or `file`. A line is `taken`, or `malformed`, or `dropped` unread."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.taken = 0
        self.malformed = 0
        self.dropped = 0

    def counts(self) -> list[tuple[str, str, int]]:
        """Return (channel, result, lines) since the start."""
        name = self.name
        return [
            (name, "taken", self.taken),
            (name, "malformed", self.malformed),
            (name, "dropped", self.dropped),
        ]


class Complaint:
    """A trouble that may come very often; `say` logs it, and then is silent for a minute."""

    def __init__(self, log: Any, event: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._event = event
        self._clock = clock
        self._said_at: float | None = None

    def say(self, **details: Any) -> None:
        """Log it, with its details, unless it was a moment ago."""
        now = self._clock()
        if self._said_at is None or now - self._said_at >= _QUIET:
            self._said_at = now
            self._log.warning(self._event, **details)

    def over(self) -> None:
        """Forget it: it is to be logged when it comes again."""
        self._said_at = None
