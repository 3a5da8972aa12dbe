"""Counters are reconciled beside traffic, after a kill, on a Cluster, by a control plane."""

import asyncio

import pytest
from structlog.testing import capture_logs

from pdp.app.control import loops_of
from pdp.app.reconcile import Round, reconcile
from pdp.app.strangers import Strangers
from pdp.control.attendance import UNSAID, Attendance
from pdp.control.initialize import initialize
from pdp.counters.redis import comparing
from pdp.counters.redis.layout import PLANES
from pdp.counters.redis.stats import LineStats
from pdp.errors import Conflict, Unavailable
from pdp.hidden import Hidden
from pdp.reconcile.comparison import Pace
from pdp.reconcile.reconciler import Outcome, never
from pdp.reconcile.sums import Place, Sums
from pdp.reconcile.told import told_in
from pdp.settings import Settings
from tests.contract.world import USD
from tests.redis import RedisCluster, RedisServer
from tests.store import Store
from tests.till import AT_ONCE, Ticks, Till, busy, opened_till, told
from tests.unit.control.desk import NOON, PEPPER, SECOND, opened_desk, rows


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
        outcome = await till.reconcile(correct=True, pace=pace, rest=rest, monotonic=Ticks())
        assert told(outcome) == {(wrong, "spent", amount), (again, "tokens_held", amount)}
        assert not outcome.has_drift
        clean = await till.reconcile(pace=pace, rest=rest, monotonic=Ticks())
        assert (clean.drifts, clean.moving) == ([], 0)
        stop = True
        await asyncio.gather(*running)
        await till.ship()
        assert (await till.reconcile()).drifts == []


async def test_killed_midway_it_leaves_nothing_half_done(light_till: Till) -> None:
    till = light_till
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


async def test_a_correction_that_is_sent_twice_is_made_once(light_till: Till) -> None:
    till = light_till
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


async def test_where_too_much_moves_the_watch_ends_and_nothing_else(light_till: Till) -> None:
    till = light_till
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


async def test_holds_are_found_however_many_they_are(light_till: Till) -> None:
    till = light_till
    await till.check(USD)
    await till.ship()
    for _ in range(150):  # All of them end in the same microsecond.
        await till.reserve(till.hold(1))
    assert told(await till.reconcile()) == set()


async def test_once_it_is_raised_a_limit_holds_again(light_till: Till) -> None:
    till = light_till
    till.use(till.calendar, budget_limits={"total": 10.0})
    await till.use_unchecked(9 * USD)
    await till.ship()
    till.shift(till.root, "total", "spent", -5 * USD)
    await till.reconcile(correct=True)
    assert await till.check(2 * USD) is None
    assert await till.check(USD)


# -- By a control plane, and on a Cluster


async def test_a_control_plane_tells_what_differs_and_changes_nothing(
    light_till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    till = light_till
    monkeypatch.setattr("pdp.app.reconcile.PACE", AT_ONCE)
    await busy(till)
    await till.ship()
    place = till.shift(till.root, "total", "spent", 5)
    before = till.counted(place, "spent")
    settings = Settings(redis_url=Hidden(till.server.local_url))
    loops = loops_of(settings, till.desk.database, Attendance())
    assert len(loops) == 2, "it compares, and looks for strangers"
    for loop in loops:
        asyncio.ensure_future(loop).cancel()
    with capture_logs() as logs:
        await Round(settings, till.desk.database).check()
    assert [(each["log_level"], each["sums"]) for each in logs] == [("error", 1)]
    assert till.counted(place, "spent") == before
    heard = told_in(await till.plane.line.drift())
    assert heard is not None
    assert heard.numbers == {"above": 1, "below": 0}
    with till.server.client() as client, capture_logs() as logs:
        client.set(f"pdp:{{{till.root}}}:watch", "another", ex=30)
        await Round(settings, till.desk.database).check()
    assert logs == [], "somebody else is at it"


async def test_a_control_plane_corrects_what_stands_if_it_is_told_to(
    light_till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    till = light_till
    monkeypatch.setattr("pdp.app.reconcile.PACE", AT_ONCE)
    await busy(till)
    await till.ship()
    place = till.shift(till.root, "total", "spent", 5)
    before = till.counted(place, "spent")
    settings = Settings(redis_url=Hidden(till.server.local_url), reconcile="correct")
    with capture_logs() as logs:
        turns = Round(settings, till.desk.database)
        await turns.check()
        assert till.counted(place, "spent") == before, "it was seen once"
        await turns.check()
    assert till.counted(place, "spent") == before - 5
    assert [each["log_level"] for each in logs] == ["error", "warning"]
    assert "counters.reconcile" in {
        each["action"] for each in (await rows(till.desk.database)).values()
    }
    assert told(await till.reconcile()) == set()


async def test_where_redis_goes_away_it_is_not_asked_for_each_organization(
    light_till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    till, stats = light_till, LineStats()
    monkeypatch.setattr("pdp.app.reconcile.PACE", AT_ONCE)
    monkeypatch.setattr("pdp.app.reconcile.LineStats", lambda: stats)
    monkeypatch.setattr("pdp.app.reconcile._DEADLINE", 1.0)
    await till.check(USD)
    await till.ship()
    for number in range(5):
        await initialize(till.desk.database, PEPPER, NOON + 1, f"org{number}", "Org", "UTC")

    def freeze(_: Outcome) -> bool:
        till.server.freeze()
        return False

    settings = Settings(redis_url=Hidden(till.server.local_url))
    try:
        outcomes = await reconcile(settings, till.desk.database, freeze)
        assert [each.state for each in outcomes] == ["compared", *["not compared"] * 5]
        assert {each.trouble for each in outcomes[1:]} == {outcomes[1].trouble}
        # It leaves the first, asks for the second, and asks whether anybody is there.
        assert stats.calls["script", "timeout"] == 2
        assert stats.calls["ping", "timeout"] == 1
        with pytest.raises(Unavailable, match="Redis does not answer"):
            await reconcile(settings, till.desk.database, never)
        assert stats.calls["script", "timeout"] == 2
    finally:
        till.server.thaw()


async def test_a_data_plane_that_redis_does_not_hear_of_is_told_once(redis: RedisServer) -> None:
    redis.flush()
    attendance = Attendance()
    for name in ("heard", "apart"):
        await attendance.enter(name, "single 127.0.0.1:6379/0")
    settings = Settings(redis_url=Hidden(redis.local_url))
    strangers = Strangers(settings, attendance, lambda: NOON)
    with redis.client() as client, capture_logs() as logs:
        client.zadd(PLANES, {"heard": NOON // SECOND - 5})
        for looks in (0, 1, 1):  # It may have come just now.
            await strangers.look()
            assert [each["data_plane"] for each in logs] == ["apart"] * looks
            assert attendance.apart == frozenset(["apart"] * looks), "it is told, too"
        client.rename(PLANES, "kept")
        client.set(PLANES, "no set")
        await strangers.look()
        assert not attendance.apart, "as long as Redis does not tell"
        client.rename("kept", PLANES)
        await strangers.look()
        assert attendance.apart == {"apart"}
        client.zadd(PLANES, {"heard": NOON // SECOND - 500})
        await strangers.look()
        assert not attendance.apart, "nobody is heard of: it may be this one that is elsewhere"
        await attendance.leave("apart")
        await attendance.enter("later", UNSAID)
        await strangers.look()
        client.zadd(PLANES, {"later": NOON // SECOND})
        await strangers.look()
    assert len(logs) == 2, "and of the one that was heard of"


async def test_a_data_plane_whose_clock_is_behind_is_no_stranger(redis: RedisServer) -> None:
    redis.flush()
    attendance = Attendance()
    await attendance.enter("behind", "single 127.0.0.1:6379/0")
    settings = Settings(redis_url=Hidden(redis.local_url))
    strangers = Strangers(settings, attendance, lambda: NOON)
    with redis.client() as client, capture_logs() as logs:
        for second in range(4):
            client.zadd(PLANES, {"on time": NOON // SECOND, "behind": 30 * second})
            await strangers.look()
            assert not attendance.apart
    assert not logs


async def test_it_works_on_a_cluster(sqlite_store: Store, redis_cluster: RedisCluster) -> None:
    redis_cluster.flush()
    async with (
        sqlite_store.initialized() as url,
        opened_desk(url) as desk,
        opened_till(redis_cluster.nodes[0], desk, redis_cluster.url) as till,
    ):
        await busy(till)
        await till.ship()
        place = Place(till.root, "total", 0)
        await till.plane.line._client.hincrby(till.name_of(place), "s", 5)
        assert told(await till.reconcile(correct=True)) == {(place, "spent", 5)}
        assert told(await till.reconcile()) == set()
        await till.plane.line.take_leave("spool1")
        assert await till.plane.line.drift() is None
