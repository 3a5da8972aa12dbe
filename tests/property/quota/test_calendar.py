"""No instant is in two windows or in none, in any timezone."""

from datetime import timedelta
from functools import cache
from zoneinfo import available_timezones

from hypothesis import given, settings
from hypothesis import strategies as st

from pdp.quota.calendar import Calendar

SECOND = 1_000_000_000
ZONES = st.sampled_from(sorted(available_timezones()))
FROM_1860_TO_2037 = st.integers(-3_471_292_800 * SECOND, 2_145_916_800 * SECOND)


@cache
def calendar(zone: str) -> Calendar:
    """Share calendars: their caches must not show."""
    return Calendar(zone)


@settings(max_examples=400, deadline=timedelta(seconds=2))
@given(zone=ZONES, now=FROM_1860_TO_2037, steps=st.integers(1, 4))
def test_windows_tile_time(zone: str, now: int, steps: int) -> None:
    for window in (calendar(zone).day, calendar(zone).month):
        start, end = window(now)
        assert start * SECOND <= now < end * SECOND
        assert window(start * SECOND) == (start, end)
        assert window(end * SECOND - 1) == (start, end)
        for _ in range(steps):
            following = window(end * SECOND)
            assert following[0] == end
            assert following[1] > end
            start, end = following
        assert window(start * SECOND - 1)[1] == start


@settings(max_examples=200, deadline=timedelta(seconds=2))
@given(zone=ZONES, now=FROM_1860_TO_2037)
def test_months_are_made_of_days(zone: str, now: int) -> None:
    start, end = calendar(zone).month(now)
    assert calendar(zone).day(start * SECOND)[0] == start
    assert calendar(zone).day(end * SECOND - 1)[1] == end
    assert calendar(zone).day(now)[0] >= start
    assert 27 * 86400 < end - start < 33 * 86400
