"""`time_between`: a daily span on the wall clock of a timezone.

The span is half-open and may pass midnight (`start` after `end`). The clock that
hangs on the wall decides, so on a day when it is put back a span can hold twice,
and one that lies wholly in a skipped hour does not hold that day. With `days`,
hours after midnight belong to the span of the calendar day before.
"""

import re
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Final
from zoneinfo import ZoneInfo

from msgspec import Struct

from pdp.cursor import Cursor
from pdp.policy.attributes import Attributes
from pdp.wording import shown

WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_SECOND: Final = 1_000_000_000
_CLOCK_TIME: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")


class TimeBetween(Struct, frozen=True):
    """`start` and `end` in minutes after midnight; `days` by number, Monday is 0."""

    start: int
    end: int
    zone: ZoneInfo
    days: frozenset[int] | None = None

    @property
    def words(self) -> str:
        """What it takes, for messages."""
        days = (
            "" if self.days is None else " on " + ", ".join(WEEKDAYS[d] for d in sorted(self.days))
        )
        return f"time_between {_clock(self.start)} and {_clock(self.end)} {self.zone.key}{days}"

    def holds(self, request: Attributes) -> bool:
        """Tell whether the wall clock is in the span at the time of the request."""
        local = datetime.fromtimestamp(request.now // _SECOND, self.zone)
        minute = local.hour * 60 + local.minute
        if self.start < self.end:
            return self.start <= minute < self.end and self._starts_on(local.weekday())
        if minute >= self.start:
            return self._starts_on(local.weekday())
        return minute < self.end and self._starts_on((local.weekday() - 1) % 7)

    def _starts_on(self, weekday: int) -> bool:
        return self.days is None or weekday in self.days


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def read_time_between(cursor: Cursor) -> TimeBetween | None:
    """Read `{"start": "09:00", "end": "17:00", "timezone": "Europe/Paris", "days": ["mon"]}`."""
    needed = ("start", "end", "timezone")
    fields = cursor.fields((*needed, "days"), needed)
    if fields is None:
        return None
    before = len(cursor.problems)
    start = _read_minute(fields["start"]) if "start" in fields else None
    end = _read_minute(fields["end"]) if "end" in fields else None
    zone = _read_zone(fields["timezone"]) if "timezone" in fields else None
    days = _read_days(fields["days"]) if "days" in fields else None
    if start is not None and start == end:
        cursor.fault("start and end are the same: leave `time_between` out to mean all day")
    if start is None or end is None or zone is None or len(cursor.problems) > before:
        return None
    return TimeBetween(start, end, zone, days)


def _read_minute(cursor: Cursor) -> int | None:
    text = cursor.text()
    if text is None:
        return None
    match = _CLOCK_TIME.fullmatch(text)
    if match is None:
        cursor.fault(f"{shown(text)} is no time of day: write `HH:MM`, from `00:00` to `23:59`")
        return None
    return int(match[1]) * 60 + int(match[2])


def _read_zone(cursor: Cursor) -> ZoneInfo | None:
    name = cursor.text()
    if name is None:
        return None
    if not is_timezone(name):
        cursor.fault(f"{shown(name)} is no IANA timezone: write one like `America/New_York`")
        return None
    return ZoneInfo(name)


def _read_days(cursor: Cursor) -> frozenset[int] | None:
    items = cursor.items(may_be_empty=False)
    if items is None:
        return None
    words = [item.one_of(WEEKDAYS) for item in items]
    return frozenset(WEEKDAYS.index(word) for word in words if word in WEEKDAYS)


def is_timezone(name: str) -> bool:
    """Tell whether IANA has a timezone of this name."""
    return name in _zone_names()


@cache
def _zone_names() -> frozenset[str]:
    """Return the names of the pinned IANA release: the same on every machine."""
    return frozenset(files("tzdata").joinpath("zones").read_text("utf-8").split())
