"""Calendar windows: a pure function of period, timezone and now.

A day starts at the first instant of its local midnight; where the clock is put
forward over midnight, at that instant. The window around `now` is the day D with
start(D) <= now < start(D + 1), whatever date the wall clock shows: a clock that
is put back over midnight does not bring the day before back, and a date that a
timezone skipped is an empty window. Months start with their first day.

Where an organization changes its timezone, the day and the month that are open go on, and
end with the new timezone's: nothing that was spent in them is forgotten (docs/adr/0005).
"""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from pdp.model import Moved

_SECOND: Final = 1_000_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NOWHERE: Final = (0, 0)


class Calendar:
    """The days and months of one timezone, the current ones cached until they end.

    Windows are half-open and tile time: every instant is in exactly one day and
    one month, also over DST changes at midnight and skipped or repeated dates. Those that
    were open when the timezone was `moved` start as they did before; of instants before
    that it knows no better than the new timezone.
    """

    __slots__ = (
        *("_day", "_day_end", "_day_start", "_month", "_month_end", "_month_start"),
        *("_moved", "_zone"),
    )

    def __init__(self, timezone: str, moved: Moved | None = None) -> None:
        """Raise `ZoneInfoNotFoundError` or `ValueError` when there is no such timezone."""
        self._zone = ZoneInfo(timezone)
        self._moved = moved
        self._day = self._month = _NOWHERE
        self._day_start = self._day_end = 0
        self._month_start = self._month_end = 0

    def day(self, now: int) -> tuple[int, int]:
        """Return (start, end) of the day around `now` (ns), in seconds since the epoch."""
        if not self._day_start <= now < self._day_end:
            start, end = self._around(now // _SECOND, _date, _days_later)
            if self._moved is not None and start <= self._moved.at < end:
                start = self._moved.day
            self._day = start, end
            self._day_start, self._day_end = self._day[0] * _SECOND, self._day[1] * _SECOND
        return self._day

    def month(self, now: int) -> tuple[int, int]:
        """Return (start, end) of the month around `now` (ns), in seconds since the epoch."""
        if not self._month_start <= now < self._month_end:
            start, end = self._around(now // _SECOND, _first_of_month, _months_later)
            if self._moved is not None and start <= self._moved.at < end:
                start = self._moved.month
            self._month = start, end
            self._month_start, self._month_end = self._month[0] * _SECOND, self._month[1] * _SECOND
        return self._month

    def _around(
        self,
        now: int,
        first_day: Callable[[datetime], date],
        later: Callable[[date, int], date],
    ) -> tuple[int, int]:
        # The date on the wall is at most one window off, in either direction.
        first = later(first_day(_utc(now).astimezone(self._zone)), -1)
        while self._start(later(first, 1)) <= now:
            first = later(first, 1)
        return self._start(first), self._start(later(first, 1))

    def _start(self, day: date) -> int:
        """Return the second at which a day starts."""
        midnight = datetime(day.year, day.month, day.day, tzinfo=self._zone)
        start = _seconds(midnight)
        if _utc(start).astimezone(self._zone).replace(tzinfo=None) == midnight.replace(tzinfo=None):
            return start
        # Midnight was skipped; between these two instants the clock was put forward.
        before, after = _seconds(midnight.replace(fold=1)), start
        offset_after = _utc(after).astimezone(self._zone).utcoffset()
        while after - before > 1:
            middle = (before + after) // 2
            if _utc(middle).astimezone(self._zone).utcoffset() == offset_after:
                after = middle
            else:
                before = middle
        return after


def _utc(seconds: int) -> datetime:
    return _EPOCH + timedelta(seconds=seconds)


def _seconds(instant: datetime) -> int:
    return (instant.astimezone(UTC) - _EPOCH) // timedelta(seconds=1)


def _date(local: datetime) -> date:
    return local.date()


def _days_later(day: date, count: int) -> date:
    return day + timedelta(days=count)


def _first_of_month(local: datetime) -> date:
    return date(local.year, local.month, 1)


def _months_later(first: date, count: int) -> date:
    months = first.year * 12 + first.month - 1 + count
    return date(months // 12, months % 12 + 1, 1)
