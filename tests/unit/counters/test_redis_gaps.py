"""What happens between two calls, or instead of one, is made good."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace

from pdp.counters.redis import asks, history, roots
from pdp.counters.redis import lane as lanes
from pdp.counters.redis.away import Away
from pdp.counters.redis.lane import Lane
from pdp.errors import Unavailable
from pdp.quota.hold import Admitted, Hold
from pdp.spend import Lot, Snapshot, SpendRow
from tests.contract.world import NOON, SECOND, TTL, USD, answer
from tests.counting import Fleet
from tests.redis import RedisServer
from tests.stack import eventually_async
from tests.unit.counters.test_redis_trouble import spooled


@pytest.fixture
def server(own_redis: RedisServer) -> RedisServer:
    """Return one to be mistreated."""
    return own_redis


async def test_a_report_that_redis_has_no_memory_for_is_counted_later(fleet: Fleet) -> None:
    plane = fleet.plane()
    w = fleet.world(plane, root={"budget_limits": {"total": 9.0}})
    hold = w.hold(USD)
    assert isinstance(await w.reserve(hold), Admitted)
    spooled(plane, hold)
    with fleet.server.client() as client:
        client.config_set("maxmemory", "1")
        try:
            with pytest.raises(Unavailable):
                await w.check(USD)
            spooled(plane, hold, 2 * USD)
            assert await w.settle(hold, 2 * USD), "it is taken"
        finally:
            client.config_set("maxmemory", "0")
    assert await w.fill("budget_limits.total") == (2 * USD, 0)


async def test_what_is_allowed_while_too_many_wait_is_known_to_its_report(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane = fleet.plane()
    w = fleet.world(plane)
    await w.check(0)  # Joined.
    monkeypatch.setattr(lanes, "MOST_WAITING", 0)
    hold = w.hold(USD)
    assert await w.reserve(hold) == Admitted(hold)
    spooled(plane, hold)
    monkeypatch.undo()
    assert await answer(w.counters.locate(hold.reservation_id, "", "", NOON)) == hold
    assert (await w.money())[2] == (0, USD)


async def test_a_hold_that_a_retry_was_given_is_not_taken_back(fleet: Fleet) -> None:
    one, other = fleet.plane("spool1"), fleet.plane("spool2")
    for plane in (one, other):
        await fleet.world(plane).check(0)
    w, v = fleet.world(one), fleet.world(other)
    hold = w.hold(USD, request_id="r")
    verdict = await w.reserve(hold)
    assert isinstance(verdict, Admitted)
    one.roots.own.drop(hold.reservation_id)
    one.roots.taken_back[hold.reservation_id] = "root", asks.cancel(hold)  # Its caller is gone.
    assert await v.find_open("leaf", "r") == hold, "a retry relies on it"
    await fleet.tender(one).tend()
    assert await v.settle(hold, USD // 2)
    assert (await v.money())[2] == (USD // 2, 0)


async def test_a_restart_with_older_data_between_two_calls_is_noticed(fleet: Fleet) -> None:
    plane = fleet.plane()
    w = fleet.world(plane, root={"budget_limits": {"total": 3.0}})
    first, second = w.hold(USD), w.hold(USD)
    assert isinstance(await w.reserve(first), Admitted)
    spooled(plane, first)
    with fleet.server.client() as client:
        client.save()
    assert isinstance(await w.reserve(second), Admitted)
    spooled(plane, second)
    assert await w.settle(first, USD)
    spooled(plane, first, USD)
    fleet.server.stop()
    fleet.server.start()
    with pytest.raises(Away):
        await plane.line.ping()  # The broken connection is used up by what is no call of a root.
    verdicts = [await w.check(USD) for _ in range(2)]
    assert [isinstance(each, Admitted) for each in verdicts] == [True, False]
    assert await w.fill("budget_limits.total") == (USD, 2 * USD)


async def test_an_older_replica_that_takes_over_between_two_calls_is_noticed(fleet: Fleet) -> None:
    plane = fleet.plane()
    w = fleet.world(plane, root={"budget_limits": {"total": 2.0}})
    await w.check(0)
    with fleet.server.client() as client:
        old = {key: client.dump(key) for key in client.keys("pdp:{root}:*")}
        hold = w.hold(2 * USD)
        await w.reserve(hold)
        spooled(plane, hold)
        client.flushall()
        for key, value in old.items():
            assert value is not None
            client.restore(key, 0, value)
    assert not isinstance(await w.check(1), Admitted)
    assert await w.fill("budget_limits.total") == (0, 2 * USD)


async def test_a_report_whose_caller_is_gone_is_counted(fleet: Fleet) -> None:
    plane = fleet.plane()
    w = fleet.world(plane)
    hold = w.hold(USD)
    assert isinstance(await w.reserve(hold), Admitted)
    spooled(plane, hold)
    spooled(plane, hold, USD // 2)
    waiting = asyncio.ensure_future(w.settle(hold, USD // 2))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (await w.money())[2] == (USD // 2, 0)


async def test_a_hold_that_a_retry_was_given_outlives_its_maker_and_redis(fleet: Fleet) -> None:
    one, other = fleet.plane("spool1"), fleet.plane("spool2")
    w, v = fleet.world(one), fleet.world(other)
    hold = w.hold(USD, request_id="r")
    assert isinstance(await w.reserve(hold), Admitted)
    assert await v.find_open("leaf", "r") == hold
    fleet.server.flush()
    await v.money()
    assert (await v.money())[2] == (0, USD)


async def test_a_root_that_cannot_be_opened_does_not_hold_up_the_others(fleet: Fleet) -> None:
    plane = fleet.plane()
    w, tender = fleet.world(plane), fleet.tender(plane)
    await w.check(0)

    async def nothing(root: str) -> Snapshot:
        raise Unavailable("there is no such organization")

    plane.roots.lane("lost")
    plane.roots._lanes = dict(reversed(plane.roots._lanes.items()))
    plane.books.snapshot = nothing  # type: ignore[method-assign]
    plane.roots.taken_back["res_1.lost"] = "lost", asks.cancel(w.hold(0))
    spooled(plane, w.hold(0))
    for _ in range(5):
        plane.ticks += SECOND
        await tender.tend()
    assert plane.roots.lane("root").counted == 1


async def test_one_pause_of_redis_is_one_failure_however_many_wait(fleet: Fleet) -> None:
    plane = fleet.plane()
    w = fleet.world(plane, leaf={"budget_limits": {"daily": 5.0}})
    await w.check(0)
    with plane.frozen(fleet.server):
        waiting = []
        for _ in range(2):  # In two calls.
            waiting.append(asyncio.ensure_future(w.check(USD)))
            await asyncio.sleep(0.01)
        for each in waiting:
            with pytest.raises(Unavailable):
                await each
        assert not plane.roots.breaker.is_open
        with pytest.raises(Unavailable):
            await w.check(USD)
        assert plane.roots.breaker.is_open


async def test_who_waits_too_long_for_a_root_gives_up_and_it_is_joined_all_the_same(
    fleet: Fleet,
) -> None:
    plane = fleet.plane(patience=0.05)
    w = fleet.world(plane, root={"max_requests": 1})
    fleet.server.freeze()
    try:
        with pytest.raises(Unavailable, match="are being opened: try again"):
            await w.check(0)
    finally:
        fleet.server.thaw()

    async def is_joined() -> bool:
        return plane.roots.lane("root").epoch is not None

    await eventually_async(is_joined, "the root is joined")
    assert isinstance(await w.check(0), Admitted)


async def test_what_still_runs_ends_with_the_counters(fleet: Fleet) -> None:
    plane, before = fleet.plane(), asyncio.all_tasks()
    w = fleet.world(plane)
    await w.check(0)  # Joined.
    fleet.server.freeze()
    try:
        asked = asyncio.ensure_future(plane.roots.ask("root", asks.locate("res_1.root", "", "")))
        opened = asyncio.ensure_future(plane.roots.ask("other", asks.locate("res_1.other", "", "")))
        await asyncio.sleep(0)
        await plane.roots.close()
        with pytest.raises(asyncio.CancelledError):
            await asked
        with pytest.raises(Away, match="are closed"):
            await opened
    finally:
        fleet.server.thaw()
    assert asyncio.all_tasks() == before


async def test_a_call_that_finds_no_connection_free_says_nothing_of_redis(fleet: Fleet) -> None:
    plane = fleet.plane()
    w = fleet.world(plane, leaf={"budget_limits": {"daily": 5.0}})
    await w.check(0)
    plane.line._free = asyncio.Semaphore(0)
    for _ in range(3):
        with plane.hurried(), pytest.raises(Unavailable, match="PDP_REDIS_CONNECTIONS"):
            await w.check(USD)
    assert not plane.roots.breaker.is_open
    assert not plane.roots.taken_back, "it was never sent"


async def test_nobody_waits_while_much_is_caught_up_with(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roots, "_FEW", 3)
    plane = fleet.plane()
    w = fleet.world(plane, root={"budget_limits": {"total": 1.0}})
    await w.check(0)
    for _ in range(4):
        spooled(plane, w.hold(1))
    lane = plane.roots.lane("root")
    lane.counted = 1
    spooled(plane, w.hold(1))
    plane.roots.leave_all()
    with pytest.raises(Unavailable, match="is being counted"):
        await w.check(USD)
    free = fleet.world(plane)
    assert isinstance(await free.check(1), Admitted)

    async def is_joined() -> bool:
        return lane.epoch is not None

    await eventually_async(is_joined, "it is caught up with")
    assert await w.fill("budget_limits.total") == (0, 5)


async def test_to_catch_up_goes_on_from_where_a_call_failed(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "_LOT", 2)
    plane = fleet.plane()
    w = fleet.world(plane)
    await w.check(0)
    for _ in range(6):
        spooled(plane, w.hold(1))
    plane.roots.leave_all()
    run, calls = plane.line.run_script, 0

    async def breaks_once(prefix: str, argument: bytes, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise Away("the line is cut")
        return await run(prefix, argument, **options)

    plane.line.run_script = breaks_once  # type: ignore[method-assign]
    free = fleet.world(plane)
    await free.check(0)
    assert plane.roots.lane("root").counted == 4
    assert (await w.money())[2] == (0, 6)
    assert calls == 4 + 1 + 1 + 1, "where it is, what is left, and what was asked"


async def test_who_waits_behind_the_calls_that_fail_is_sent_away_with_them(fleet: Fleet) -> None:
    plane = fleet.plane()
    w = fleet.world(plane, leaf={"budget_limits": {"daily": 5.0}})
    await w.check(0)
    calls = sum(plane.stats.calls.values())
    with plane.frozen(fleet.server):
        verdicts = await asyncio.gather(*(w.check(1) for _ in range(300)), return_exceptions=True)
    assert all(isinstance(each, Unavailable) for each in verdicts)
    assert sum(plane.stats.calls.values()) == calls + 2, "300 would have taken ten"


async def test_a_root_that_is_slow_does_not_hold_up_the_others(fleet: Fleet) -> None:
    plane = fleet.plane()
    for root in ("slow", "quick"):
        plane.roots.lane(root)
    is_done = asyncio.Event()

    async def do(lane: Lane) -> None:
        if lane.root == "slow":
            await is_done.wait()
        else:
            is_done.set()

    async with asyncio.timeout(30):
        await plane.roots.each(do)


# -- What the ledger fills in


def as_the_ledger_knows(hold: Hold) -> Hold:
    """Return what is left of a hold in the ledger."""
    return replace(hold, fingerprint=0, expires_at=hold.admitted_at)


async def test_a_flush_leaves_what_a_data_plane_holds_that_is_cut_off(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roots, "_GRACE", 0.0)
    limits = {"root": {"budget_limits": {"total": 3.0}, "max_requests": 9}}
    cut_off, other = fleet.plane("spool1"), fleet.plane("spool2")
    w, v = fleet.world(cut_off, **limits), fleet.world(other, **limits)
    shipped = replace(w.hold(2 * USD, request_id="r"), fingerprint=7)
    assert isinstance(await w.reserve(shipped), Admitted)
    spooled(cut_off, shipped)
    fleet.books.pending = [as_the_ledger_knows(shipped)]
    fleet.books.taken = {"spool1": 1, "spool2": 0}
    fleet.books.rows = [SpendRow(key, "total", 0, 0, 0, 1) for key in ("leaf", "team", "root")]
    await v.money()
    fleet.server.flush()
    await v.money()
    assert await v.money() == ((0, 2 * USD),) * 3
    assert not isinstance(await v.check(2 * USD), Admitted)
    assert await v.find_open("leaf", "r") is None, "the ledger cannot say what it was asked for"
    await w.money()  # Here it is again, and notices.
    assert await w.money() == ((0, 2 * USD),) * 3
    assert await v.find_open("leaf", "r") == shipped
    assert await v.fill("max_requests") == (1, 0)
    assert await v.settle(shipped, USD)
    assert await w.money() == ((USD, 0),) * 3


async def test_what_was_filled_and_nobody_comes_for_runs_out(fleet: Fleet) -> None:
    w = fleet.world(fleet.plane())
    hold = w.hold(USD)
    fleet.books.pending = [as_the_ledger_knows(hold)]
    assert (await w.money())[2] == (0, USD)
    assert await w.due(NOON + TTL) == []
    fleet.now = NOON + TTL + 6 * SECOND
    assert [each.reservation_id for each in await w.due(fleet.now)] == [hold.reservation_id]
    assert await w.settle(hold, USD, expired=True)
    assert (await w.money())[2] == (USD, 0)


async def test_an_opening_that_came_to_nothing_leaves_nothing(fleet: Fleet) -> None:
    plane = fleet.plane()
    w = fleet.world(plane)
    gone, pending = w.hold(USD, request_id="r"), w.hold(2 * USD)
    fleet.books.pending = [as_the_ledger_knows(each) for each in (gone, pending)]
    whole = fleet.books.snapshot

    async def broken(root: str) -> Snapshot:
        async def lots() -> AsyncIterator[Lot]:
            async for lot in (await whole(root)).lots:
                yield lot
            raise Unavailable("the line is cut")

        return Snapshot({}, lots())

    fleet.books.snapshot = broken  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        await fleet.world(plane, leaf={"budget_limits": {"total": 9.0}}).check(0)
    fleet.books.snapshot = whole  # type: ignore[method-assign]
    fleet.books.pending = [as_the_ledger_knows(pending)]
    assert (await w.money())[2] == (0, 2 * USD)
    assert await answer(w.counters.locate("", "leaf", "r", NOON)) == "new"
