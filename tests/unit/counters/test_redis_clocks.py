"""Clocks of Redis and of a data plane that are days apart."""

import time

import pytest
from structlog.testing import capture_logs

from pdp.counters.redis.skew import BOUND, Skew
from pdp.counters.redis.tender import Tender
from tests.contract.world import HOUR, NOON, SECOND, TTL, USD
from tests.counting import Fleet

DAYS = 3 * 24 * HOUR


@pytest.mark.parametrize("ahead", [-DAYS, DAYS])
async def test_it_is_logged_once_and_in_the_metrics_as_long_as_it_lasts(
    fleet: Fleet, ahead: int
) -> None:
    plane, off = fleet.plane(now=None), [-ahead]
    await plane.roots.join(plane.roots.lane("root"))
    tender = Tender(
        plane.counters,
        plane.roots,
        "spool1",
        lambda: time.time_ns() + off[0],
        lambda: plane.ticks,
    )

    async def tend(times: int) -> list[str]:
        with capture_logs() as logs:
            for _ in range(times):
                plane.ticks += SECOND
                await tender.tend()
        return [each["event"] for each in logs if "clocks" in each["event"]]

    (parted,) = await tend(3)
    assert "are apart" in parted
    assert abs(plane.stats.skew - DAYS) < 600 * SECOND
    off[0] = 0
    assert [each[-11:] for each in await tend(3)] == ["agree again"]
    assert plane.stats.skew < BOUND


@pytest.mark.parametrize("ahead", [-DAYS, DAYS])
async def test_no_hold_ends_before_both_clocks_say_so(fleet: Fleet, ahead: int) -> None:
    plane = fleet.plane(now=None)
    w = fleet.world(plane)
    w.now = time.time_ns() - ahead
    hold = w.hold(USD)
    await w.reserve(hold)
    assert await w.due(w.now) == []
    assert await w.due(w.now + 2 * TTL) == ([hold] if ahead > 0 else [])


async def test_a_claim_of_before_redis_clock_was_set_back_keeps_nobody_from_the_hold(
    fleet: Fleet,
) -> None:
    one, other = (fleet.world(fleet.plane(name)) for name in ("spool1", "spool2"))
    hold = one.hold(USD)
    await one.reserve(hold)
    await other.check(0)
    fleet.now = NOON + DAYS
    assert hold in await one.due(fleet.now), "it is about to expire it, and dies"
    fleet.now = NOON + TTL + 6 * SECOND
    assert hold in await other.due(fleet.now)
    assert hold not in await one.due(fleet.now), "which is a claim like any other"


def test_the_time_that_an_answer_takes_is_no_distance() -> None:
    skew = Skew()
    skew.note(10 * BOUND, 11 * BOUND, 12 * BOUND)
    assert (skew.news(), skew.ns) == (None, 0)
    skew.note(10 * BOUND, 8 * BOUND, 12 * BOUND)
    skew.note(10 * BOUND, 13 * BOUND, 12 * BOUND)
    assert (skew.news(), skew.ns) == (True, -2 * BOUND), "the widest"
    skew.note(10 * BOUND, 13 * BOUND + 1, 12 * BOUND)
    assert (skew.news(), skew.ns) == (None, BOUND + 1)
    assert (skew.news(), skew.ns) == (False, 0)
