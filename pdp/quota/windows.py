"""The windows that a whole chain counts in, made once a day instead of once a request."""

from collections.abc import Sequence

from pdp.quota.calendar import Calendar
from pdp.quota.hold import Window

_SECOND = 1_000_000_000


class ChainWindows:
    """The current `Window` of each key of a chain; all of them share one calendar."""

    __slots__ = ("_calendar", "_current", "_end", "_key_ids", "_start")

    def __init__(self, key_ids: Sequence[str], calendar: Calendar) -> None:
        self._key_ids = tuple(key_ids)
        self._calendar = calendar
        self._current: tuple[Window, ...] = ()
        self._start = self._end = 0

    def at(self, now: int) -> tuple[Window, ...]:
        """Return the windows around `now` (ns), in the order of the chain."""
        if not self._start <= now < self._end:
            day, end = self._calendar.day(now)
            month, month_end = self._calendar.month(now)
            self._start = max(day, month) * _SECOND
            self._end = min(end, month_end) * _SECOND
            self._current = tuple(Window(key_id, day, month) for key_id in self._key_ids)
        return self._current
