"""The counters against the ledger: a real Redis, and a database of each kind."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

import pytest

from pdp.counters.redis.watched import WatchedCounters
from pdp.quota.calendar import Calendar
from pdp.quota.hold import Hold
from pdp.reconcile.comparison import Pace
from tests.contract.world import USD
from tests.redis import RedisServer
from tests.store import Store
from tests.till import Ticks, Till, busy, opened_till, told
from tests.unit.control.desk import SECOND, opened_desk, rows


async def test_what_was_counted_and_shipped_is_the_same(till: Till) -> None:
    await busy(till)
    await till.ship()
    outcome = await till.reconcile()
    assert (outcome.state, outcome.drifts, outcome.moving) == ("compared", [], 0)


async def test_what_redis_does_not_count_yet_is_no_drift(light_till: Till) -> None:
    till = light_till
    outcome = await till.reconcile(correct=True)
    assert (outcome.state, outcome.has_drift) == ("not counted", False)


@pytest.mark.parametrize("amount", [5, -5])
async def test_each_sum_of_each_window_is_found_and_corrected(till: Till, amount: int) -> None:
    await busy(till)
    await till.ship()
    wrong = set()
    leaf, team, root = till.chain
    for key_id, period, what in (
        (root, "total", "spent"),
        (root, "day", "spent"),
        (team, "month", "held"),
        (leaf, "day", "tokens_spent"),
        (leaf, "total", "tokens_held"),
        (team, "total", "requests"),
    ):
        wrong.add((till.shift(key_id, period, what, amount), what, amount))
    assert told(await till.reconcile()) == wrong
    outcome = await till.reconcile(correct=True)
    assert len(outcome.corrected) == len(wrong)
    assert not outcome.has_drift
    assert told(await till.reconcile()) == set()
    entry = next(
        row
        for row in (await rows(till.desk.database)).values()
        if row["action"] == "counters.reconcile"
    )
    assert f'"{root} budget_limits.total 0 spent":' in entry["metadata"]


async def test_sums_that_redis_has_no_more_are_made_again_with_an_end(light_till: Till) -> None:
    till = light_till
    await busy(till)
    await till.ship()
    day = till.shift(till.root, "day", "spent", 0)
    with till.server.client() as client:
        before = client.hgetall(till.name_of(day))
        client.delete(till.name_of(day))
        await till.reconcile(correct=True)
        assert client.hgetall(till.name_of(day)) == before
        assert 4 * 86400 < client.ttl(till.name_of(day)) < 6 * 86400


async def test_sums_beyond_a_double_are_corrected_exactly(light_till: Till) -> None:
    till = light_till
    await busy(till)
    await till.ship()
    far = 2**62 - 11
    place = till.shift(till.root, "total", "tokens_spent", far)
    assert told(await till.reconcile(correct=True)) == {(place, "tokens_spent", far)}
    assert told(await till.reconcile()) == set()


# -- Days of a timezone


async def test_a_day_of_25_hours_is_compared_as_one(store: Store, redis: RedisServer) -> None:
    async with (
        store.empty() as url,
        opened_desk(url, "Europe/Berlin") as desk,
        opened_till(redis, desk) as till,
    ):
        till.use(Calendar("Europe/Berlin"))
        starts: set[int] = set()
        for hour, minute in ((22, 30), (0, 30), (1, 30), (22, 30)):  # UTC; it ends at 23:00.
            date = 24 if (hour, minute) == (22, 30) and not starts else 25
            till.now = int(datetime(2026, 10, date, hour, minute, tzinfo=UTC).timestamp()) * SECOND
            hold = await till.check(USD)
            assert hold
            starts.add(hold.windows[0].day)
            await till.report(hold, USD)
        assert len(starts) == 1
        wrong = till.shift(till.root, "day", "spent", -USD)
        till.now += 3600 * SECOND  # The next day has begun.
        hold = await till.check(USD)
        assert hold
        assert hold.windows[0].day - wrong.start == 25 * 3600
        await till.ship()
        assert told(await till.reconcile(correct=True)) == {(wrong, "spent", -USD)}
        assert till.counted(wrong, "spent") == 4 * USD
        assert told(await till.reconcile()) == set()


# -- What is on its way


async def test_what_the_ledger_has_not_heard_of_while_it_was_watched_is_no_drift(
    till: Till,
) -> None:
    await busy(till)
    await till.ship()
    wrong = till.shift(till.root, "total", "spent", 9)

    async def rest(_: float) -> None:
        await busy(till)  # Nothing of it is shipped but the first half.
        await till.ship(5)

    outcome = await till.reconcile(pace=Pace(landed=3.5), rest=rest, monotonic=Ticks())
    assert told(outcome) == {(wrong, "spent", 9)}
    assert outcome.moving == 0


async def test_a_hold_that_nobody_has_written_down_is_left_to_its_end(light_till: Till) -> None:
    till = light_till
    await till.check(USD, 10)
    await till.ship()
    lost = till.hold(5 * USD, 50)
    await till.reserve(lost)
    assert told(await till.reconcile(correct=True)) == set()
    place = till.shift(till.root, "total", "held", 0)
    assert till.counted(place, "held") == 6 * USD
    wrong = till.shift(till.root, "total", "held", 1)
    assert told(await till.reconcile(correct=True)) == {(wrong, "held", 1)}
    assert till.counted(place, "held") == 6 * USD


async def test_a_hold_that_is_put_off_while_holds_are_read_is_one(
    light_till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    till, read = light_till, WatchedCounters.live

    async def live(counters: WatchedCounters) -> AsyncIterator[Sequence[Hold]]:
        async for lot in read(counters):
            yield lot
            yield lot

    monkeypatch.setattr(WatchedCounters, "live", live)
    await till.check(USD, 10)
    await till.ship()
    await till.reserve(till.hold(5 * USD, 50))
    wrong = till.shift(till.root, "total", "held", 1)
    assert told(await till.reconcile()) == {(wrong, "held", 1)}


async def test_a_hold_that_has_ended_in_the_ledger_is_ended_by_its_name(till: Till) -> None:
    reported, expired = await till.check(USD, 10), await till.check(USD, 10)
    assert reported
    assert expired
    till.write_report(reported, USD // 2, 5)
    await till.ship()
    outcome = await till.reconcile(correct=True)
    assert {each.what for each in outcome.corrected} == {
        "spent",
        "held",
        "tokens_spent",
        "tokens_held",
    }
    assert not outcome.has_drift
    # The data plane that had it written down comes to count it, too: it has been.
    await till.report(reported, USD // 2, 5)
    assert told(await till.reconcile()) == set()


def lose(till: Till, hold: Hold) -> None:
    """Let Redis lose a hold of USD and 10 tokens."""
    with till.server.client() as client:
        client.delete(f"pdp:{{{till.root}}}:h:{hold.reservation_id}")
        client.zrem(f"pdp:{{{till.root}}}:ends", hold.reservation_id)
    for key_id in till.chain:
        for period in ("day", "month", "total"):
            till.shift(key_id, period, "held", -USD)
            till.shift(key_id, period, "tokens_held", -10)


async def test_a_hold_that_redis_has_lost_is_there_again_and_ends_as_ever(till: Till) -> None:
    lost, kept = await till.check(USD, 10), await till.check(USD, 10)
    assert lost
    assert kept
    await till.ship()
    lose(till, lost)
    outcome = await till.reconcile(correct=True)
    assert {each.what for each in outcome.corrected} == {"held", "tokens_held"}
    assert not outcome.has_drift
    await till.report(lost, USD // 2, 5)
    place = till.shift(till.root, "total", "held", 0)
    assert (till.counted(place, "held"), till.counted(place, "spent")) == (USD, USD // 2)
    await till.ship()
    assert told(await till.reconcile()) == set()


async def test_what_took_all_its_patience_to_find_is_corrected_and_looked_at_again(
    light_till: Till,
) -> None:
    till = light_till
    reported = await till.check(USD, 10)
    assert reported
    till.write_report(reported, USD // 2, 5)
    await till.ship()
    wrong = till.shift(till.root, "total", "spent", 9)
    outcome = await till.reconcile(correct=True, pace=Pace(rest=0, landed=0, patience=0))
    assert (wrong, "spent", 9 - USD // 2) in told(outcome)
    assert outcome.left == []
    assert till.counted(wrong, "spent") == USD // 2
    assert told(await till.reconcile()) == set()


async def test_what_has_long_been_pending_is_nobodys_and_not_held(till: Till) -> None:
    hold = await till.check(USD, 10)
    assert hold
    await till.ship()
    lose(till, hold)
    till.now += 50 * 3600 * SECOND
    assert told(await till.reconcile(correct=True)) == set()
    place = till.shift(till.root, "total", "held", 0)
    assert till.counted(place, "held") == 0


async def test_a_data_plane_that_may_have_records_explains_what_is_above(light_till: Till) -> None:
    till = light_till
    await till.use_unchecked(USD)
    await till.ship()
    await till.use_unchecked(USD)
    await till.beat(2)
    above = await till.reconcile(correct=True)
    assert above.drifts
    assert all(each.is_explained for each in above.drifts)
    assert not above.has_drift
    assert "lacks records of spool spool1 from 1 on" in above.drifts[0].cause
    place = till.shift(till.root, "total", "spent", -3 * USD)
    below = await till.reconcile(correct=True)
    assert (place, "spent", -2 * USD) in told(below)
    assert till.counted(place, "spent") == USD, "what is below the ledger is raised all the same"
    await till.ship()
    assert told(await till.reconcile(correct=True)) == {(place, "spent", -USD)}
