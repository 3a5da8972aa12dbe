"""The counters against the ledger: a real Redis, and a database of each kind."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from pdp.counters.redis import comparing
from pdp.errors import Conflict, Unavailable
from pdp.quota.calendar import Calendar
from pdp.quota.hold import Hold
from pdp.reconcile.comparison import Pace
from pdp.reconcile.reconciler import Outcome
from pdp.reconcile.sums import Place, Sums
from tests.contract.world import USD
from tests.redis import RedisServer
from tests.store import Store
from tests.till import Till, opened_till
from tests.unit.control.desk import SECOND, opened_desk, rows


@pytest.fixture
async def till(store: Store, redis: RedisServer) -> AsyncIterator[Till]:
    async with store.initialized() as url, opened_desk(url) as desk, opened_till(redis, desk) as it:
        yield it


def told(outcome: Outcome) -> set[tuple[Place, str, int]]:
    return {
        (Place(each.key_id, each.period, each.start), each.what, each.difference)
        for each in outcome.drifts
    }


async def busy(till: Till) -> None:
    """Leave a request behind in each state that there is."""
    settled, expired, corrected = [await till.check(USD, 10) for _ in range(3)]
    assert settled
    assert expired
    assert corrected
    await till.report(settled, USD // 2, 5)
    await till.expire(expired, USD)
    await till.expire(corrected, USD)
    await till.report(corrected, USD // 4, 2)
    await till.use_unchecked(7, 1)
    await till.check(3 * USD, 30)


async def test_what_was_counted_and_shipped_is_the_same(till: Till) -> None:
    await busy(till)
    await till.ship()
    outcome = await till.reconcile()
    assert (outcome.state, outcome.drifts, outcome.moving) == ("compared", [], 0)


async def test_what_redis_does_not_count_yet_is_no_drift(till: Till) -> None:
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


async def test_sums_that_redis_has_no_more_are_made_again_with_an_end(till: Till) -> None:
    await busy(till)
    await till.ship()
    day = till.shift(till.root, "day", "spent", 0)
    with till.server.client() as client:
        before = client.hgetall(till.name_of(day))
        client.delete(till.name_of(day))
        await till.reconcile(correct=True)
        assert client.hgetall(till.name_of(day)) == before
        assert 4 * 86400 < client.ttl(till.name_of(day)) < 6 * 86400


async def test_sums_beyond_a_double_are_corrected_exactly(till: Till) -> None:
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

    outcome = await till.reconcile(pace=Pace(landed=3.5), rest=rest, monotonic=ticking())
    assert told(outcome) == {(wrong, "spent", 9)}
    assert outcome.moving == 0


async def test_a_hold_that_nobody_has_written_down_is_left_to_its_end(till: Till) -> None:
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


async def test_what_has_long_been_pending_is_nobodys_and_not_held(till: Till) -> None:
    hold = await till.check(USD, 10)
    assert hold
    await till.ship()
    lose(till, hold)
    till.now += 50 * 3600 * SECOND
    assert told(await till.reconcile(correct=True)) == set()
    place = till.shift(till.root, "total", "held", 0)
    assert till.counted(place, "held") == 0


async def test_a_data_plane_that_may_have_records_explains_what_is_above(till: Till) -> None:
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


# -- Beside traffic, and killed


def ticking() -> "Ticks":
    return Ticks()


class Ticks:
    """A clock that goes on by half a second a look."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        self.now += SECOND // 2
        return self.now


@pytest.mark.parametrize("amount", [USD // 100, -USD // 100])
async def test_beside_traffic_it_finds_what_is_wrong_and_nothing_else(
    store: Store, redis: RedisServer, amount: int
) -> None:
    async with (
        store.initialized() as url,
        opened_desk(url) as desk,
        opened_till(redis, desk) as till,
    ):
        stop = False

        async def serve_one() -> None:
            hold = await till.check(USD // 100, 10)
            assert hold
            await till.report(hold, USD // 10_000, 3)

        async def serve() -> None:
            while not stop:
                await serve_one()

        async def ship_some() -> None:
            await till.ship(max(0, len(till.spool) - till.shipped - 7))  # It lags behind.

        async def ship() -> None:
            while not stop:
                await ship_some()
                await asyncio.sleep(0)

        async def rest(_: float) -> None:
            for _ in range(5):
                await serve_one()
            await ship_some()

        running = [asyncio.create_task(work()) for work in (serve, serve, ship)]
        await rest(0)
        wrong = till.shift(till.root, "total", "spent", amount)
        again = till.shift(till.chain[0], "day", "tokens_held", amount)
        pace = Pace(landed=3, patience=1e6)
        outcome = await till.reconcile(correct=True, pace=pace, rest=rest, monotonic=ticking())
        assert told(outcome) == {(wrong, "spent", amount), (again, "tokens_held", amount)}
        assert not outcome.has_drift
        clean = await till.reconcile(pace=pace, rest=rest, monotonic=ticking())
        assert (clean.drifts, clean.moving) == ([], 0)
        stop = True
        await asyncio.gather(*running)
        await till.ship()
        assert (await till.reconcile()).drifts == []


async def test_killed_midway_it_leaves_nothing_half_done(till: Till) -> None:
    await busy(till)
    await till.ship()
    wrong = {(till.shift(key_id, "total", "spent", 5), "spent", 5) for key_id in till.chain}
    dying = till.watched(till.plane.line, "dying")
    assert await dying.watch()
    first = min(place for place, _, _ in wrong)
    await dying.adjust({first: Sums(spent=-5)})  # It is killed before the second.
    with pytest.raises(Conflict, match="compared already"):
        await till.reconcile()
    with till.server.client() as client:
        watch, moves = f"pdp:{{{till.root}}}:watch", f"pdp:{{{till.root}}}:moves"
        await till.use_unchecked(1)
        assert 0 < client.ttl(watch) <= 30
        assert 0 < client.ttl(moves) <= 90
        client.delete(watch)  # As it ends by itself.
    await till.ship()
    outcome = await till.reconcile(correct=True)
    assert told(outcome) == {each for each in wrong if each[0] != first}
    assert told(await till.reconcile()) == set()
    with pytest.raises(Unavailable, match="watch over the counters is lost"):
        await dying.adjust({first: Sums(spent=-5)})


async def test_a_correction_that_is_sent_twice_is_made_once(till: Till) -> None:
    await busy(till)
    await till.ship()
    place = till.shift(till.root, "total", "spent", 5)
    counters = till.watched(till.plane.line)
    assert await counters.watch()
    op = comparing.adjust("test", 1, [(place, Sums(spent=-5))])
    for _ in range(2):
        await counters._watched(op)
    await counters.leave()
    assert told(await till.reconcile()) == set()


async def test_where_too_much_moves_the_watch_ends_and_nothing_else(till: Till) -> None:
    await till.check(USD)
    await till.ship()
    counters = till.watched(till.plane.line)
    assert await counters.watch()
    with till.server.client() as client:
        moves = f"pdp:{{{till.root}}}:moves"
        client.set(moves, "no list")
    hold = await till.check(USD)
    assert hold, "what moves does not fail for it"
    with pytest.raises(Unavailable, match="watch over the counters is lost"):
        await counters.read([])
    await till.ship()
    assert told(await till.reconcile()) == set()


async def test_holds_are_found_however_many_they_are(till: Till) -> None:
    await till.check(USD)
    await till.ship()
    for _ in range(150):  # All of them end in the same microsecond.
        await till.reserve(till.hold(1))
    assert told(await till.reconcile()) == set()


async def test_once_it_is_raised_a_limit_holds_again(till: Till) -> None:
    till.use(till.calendar, budget_limits={"total": 10.0})
    await till.use_unchecked(9 * USD)
    await till.ship()
    till.shift(till.root, "total", "spent", -5 * USD)
    await till.reconcile(correct=True)
    assert await till.check(2 * USD) is None
    assert await till.check(USD)
