"""Daily spans tile time, in every timezone there is and over every change of its clock."""

from datetime import UTC, datetime, timedelta
from importlib.resources import files
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from pdp.policy.attributes import Attributes
from pdp.policy.daytime import TimeBetween
from tests.examples import tries

ZONES = sorted(files("tzdata").joinpath("zones").read_text("utf-8").split())
MINUTES = st.integers(0, 24 * 60 - 1)
PAIRS = st.tuples(MINUTES, MINUTES).filter(lambda pair: pair[0] != pair[1])
SECONDS = st.integers(
    int(datetime(1900, 1, 1, tzinfo=UTC).timestamp()),
    int(datetime(2100, 1, 1, tzinfo=UTC).timestamp()),
)
DAYS = st.frozensets(st.integers(0, 6), min_size=1)


def at(seconds: int, fraction: int = 0) -> Attributes:
    return Attributes("chat:completions", "m", "p", "", None, {}, seconds * 10**9 + fraction)


@tries(200)
@given(st.sampled_from(ZONES), PAIRS, SECONDS, st.integers(0, 10**9 - 1))
def test_no_instant_is_in_both_of_two_spans_that_fill_the_day_nor_in_none(
    name: str, pair: tuple[int, int], seconds: int, fraction: int
) -> None:
    zone, (start, end) = ZoneInfo(name), pair
    now = at(seconds, fraction)
    assert TimeBetween(start, end, zone).holds(now) is not TimeBetween(end, start, zone).holds(now)


@tries(200)
@given(st.sampled_from(ZONES), PAIRS, SECONDS)
def test_an_instant_in_a_span_belongs_to_the_day_on_which_the_wall_clock_showed_its_start(
    name: str, pair: tuple[int, int], seconds: int
) -> None:
    zone, (start, end) = ZoneInfo(name), pair
    held = [
        day
        for day in range(7)
        if TimeBetween(start, end, zone, frozenset({day})).holds(at(seconds))
    ]
    if not TimeBetween(start, end, zone).holds(at(seconds)):
        assert held == []
        return
    wall = datetime.fromtimestamp(seconds, zone).replace(tzinfo=None)
    since = (wall.hour * 60 + wall.minute - start) % (24 * 60)
    assert held == [(wall - timedelta(minutes=since)).weekday()]


@given(st.sampled_from(ZONES), PAIRS, SECONDS, DAYS)
def test_days_together_hold_when_one_of_them_does(
    name: str, pair: tuple[int, int], seconds: int, days: frozenset[int]
) -> None:
    zone, (start, end) = ZoneInfo(name), pair
    alone = [TimeBetween(start, end, zone, frozenset({day})).holds(at(seconds)) for day in days]
    assert TimeBetween(start, end, zone, days).holds(at(seconds)) is any(alone)


def test_every_zone_has_a_wall_clock_on_each_side_of_each_of_its_changes() -> None:
    """Walk all zones through a year by half-hours: a span and its rest tile every one."""
    start = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp())
    for name in ZONES[::7]:
        zone = ZoneInfo(name)
        span, rest = TimeBetween(90, 1410, zone), TimeBetween(1410, 90, zone)
        for seconds in range(start, start + 366 * 86_400, 5 * 3600 + 1800):
            assert span.holds(at(seconds)) is not rest.holds(at(seconds)), (name, seconds)
