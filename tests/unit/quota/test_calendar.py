"""The days that timezones got wrong first."""

from datetime import UTC, datetime

import pytest

from pdp.quota.calendar import Calendar

SECOND = 1_000_000_000


def at(text: str) -> int:
    """Return the second of an instant in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("zone", "now", "start", "end"),
    [
        ("UTC", "2026-11-23T12:00", "2026-11-23T00:00", "2026-11-24T00:00"),
        # 23 and 25 hours.
        ("America/New_York", "2026-03-08T12:00", "2026-03-08T05:00", "2026-03-09T04:00"),
        ("America/New_York", "2026-11-01T12:00", "2026-11-01T04:00", "2026-11-02T05:00"),
        # Midnight does not exist: the day starts at one.
        ("America/Sao_Paulo", "2018-11-04T12:00", "2018-11-04T03:00", "2018-11-05T02:00"),
        ("America/Sao_Paulo", "2018-11-04T02:59", "2018-11-03T03:00", "2018-11-04T03:00"),
        # At 00:01 back to 23:01 of the day before: the new day goes on.
        ("America/St_Johns", "2010-11-07T02:29", "2010-11-06T02:30", "2010-11-07T02:30"),
        ("America/St_Johns", "2010-11-07T02:30", "2010-11-07T02:30", "2010-11-08T03:30"),
        ("America/St_Johns", "2010-11-07T02:45", "2010-11-07T02:30", "2010-11-08T03:30"),
        # 30 December 2011 never was.
        ("Pacific/Apia", "2011-12-30T09:59", "2011-12-29T10:00", "2011-12-30T10:00"),
        ("Pacific/Apia", "2011-12-30T10:00", "2011-12-30T10:00", "2011-12-31T10:00"),
        # The clock skipped from 23:30 to 00:30: midnight is inside the gap.
        ("America/Toronto", "1919-03-31T04:30", "1919-03-31T04:30", "1919-04-01T04:00"),
    ],
)
def test_days(zone: str, now: str, start: str, end: str) -> None:
    assert Calendar(zone).day(at(now) * SECOND) == (at(start), at(end))


def test_months_start_with_their_first_day() -> None:
    calendar = Calendar("Europe/Berlin")
    march = (at("2026-02-28T23:00"), at("2026-03-31T22:00"))
    assert calendar.month(march[0] * SECOND) == march
    assert calendar.month(march[1] * SECOND - 1) == march
    assert calendar.month(march[1] * SECOND) == (march[1], at("2026-04-30T22:00"))
    december = calendar.month(at("2026-12-31T22:59") * SECOND)
    assert december == (at("2026-11-30T23:00"), at("2026-12-31T23:00"))


def test_a_clock_that_goes_back_is_told_the_right_window() -> None:
    calendar = Calendar("UTC")
    noon, day = at("2026-11-23T12:00"), 86400
    assert calendar.day((noon + day) * SECOND)[0] == noon + day // 2
    assert calendar.day(noon * SECOND)[0] == noon - day // 2
    assert calendar.month(0) == (0, 31 * day)
    assert calendar.month((31 * day - 1) * SECOND) == (0, 31 * day)
