"""No instant is in two windows or in none, in any timezone."""

from functools import cache
from zoneinfo import available_timezones

from hypothesis import given
from hypothesis import strategies as st

from pdp.model import Moved
from pdp.quota.calendar import Calendar
from tests.examples import tries

SECOND = 1_000_000_000
ZONES = st.sampled_from(sorted(available_timezones()))
FROM_1860_TO_2037 = st.integers(-3_471_292_800 * SECOND, 2_145_916_800 * SECOND)


@cache
def calendar(zone: str) -> Calendar:
    """Share calendars: their caches must not show."""
    return Calendar(zone)


@tries(200)
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


@tries(100)
@given(zone=ZONES, now=FROM_1860_TO_2037)
def test_months_are_made_of_days(zone: str, now: int) -> None:
    start, end = calendar(zone).month(now)
    assert calendar(zone).day(start * SECOND)[0] == start
    assert calendar(zone).day(end * SECOND - 1)[1] == end
    assert calendar(zone).day(now)[0] >= start
    assert 27 * 86400 < end - start < 33 * 86400


@tries(200)
@given(zones=st.lists(ZONES, min_size=2, max_size=4), now=FROM_1860_TO_2037, later=st.data())
def test_windows_go_on_over_changes_of_the_timezone(
    zones: list[str], now: int, later: st.DataObject
) -> None:
    moving, at = Calendar(zones[0]), now
    for zone in zones[1:]:
        day, month = moving.day(at), moving.month(at)
        moving = Calendar(zone, Moved(at // SECOND, day[0], month[0]))
        for window, before, new in (
            (moving.day, day, calendar(zone).day),
            (moving.month, month, calendar(zone).month),
        ):
            # Not another window, and it ends when those of the new timezone do.
            assert window(at) == (before[0], new(at)[1])
            end = window(at)[1]
            assert window(end * SECOND) == new(end * SECOND)
        at += later.draw(st.integers(0, (moving.day(at)[1] * SECOND - at) // 2))
