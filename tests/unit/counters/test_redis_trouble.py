"""Counters in a Redis that is slow, dead, flushed, restarted, or lagging."""

import asyncio

import pytest

from pdp.counters.redis.away import Away
from pdp.counters.redis.layout import PLANES
from pdp.errors import StartRefused, Unavailable
from pdp.quota.hold import Admitted, Hold, Refused
from pdp.reconcile.drift import Drift
from pdp.reconcile.told import Told, packed, told_of
from pdp.records import Held, Settled
from pdp.serve.metrics import drift_metrics
from pdp.spend import SpendRow
from tests.contract.world import HOUR, NOON, SECOND, USD, answer
from tests.counting import Fleet, Plane
from tests.property.counters.machine import _facts, _settled
from tests.redis import RedisServer
from tests.stack import eventually_async

DAY = 1_795_392_000
MONTH = 1_793_491_200


def spooled(
    plane: Plane,
    hold: Hold,
    cost: int | None = None,
    rates: tuple[tuple[str, int, int], ...] = (),
) -> None:
    """Write down what an engine would."""
    if cost is None:
        plane.spool.append(Held(hold.admitted_at, _facts(hold), hold, rates))
    else:
        record: Settled = _settled(NOON, hold, hold.reservation_id, cost, 0)
        plane.spool.append(record)


def told_by(plane: Plane) -> Told | None:
    """Return what it has heard of drift."""
    return plane.stats.drift


def is_away(plane: Plane) -> bool:
    """Tell whether Redis is known to be away."""
    return plane.stats.is_partitioned


@pytest.fixture
def server(own_redis: RedisServer) -> RedisServer:
    """Return one to be mistreated."""
    return own_redis


# -- An answer that is lost


async def test_a_hold_whose_caller_is_gone_is_taken_back(fleet: Fleet) -> None:
    plane = fleet.plane()
    w = fleet.world(plane, root={"max_requests": 1})
    await w.check(0)  # Joined.
    fresh = fleet.world(plane)
    waiting = asyncio.ensure_future(fresh.check(USD))
    await asyncio.sleep(0)
    fleet.server.freeze()
    try:
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    finally:
        fleet.server.thaw()
    plane.ticks += 10 * SECOND
    await fleet.tender(plane).tend()
    assert (await fresh.money())[2] == (0, 0)
    assert not plane.roots.taken_back


# -- Redis away


async def test_a_redis_that_hangs_costs_a_deadline_and_then_nothing(fleet: Fleet) -> None:
    plane = fleet.plane()
    w = fleet.world(plane, leaf={"budget_limits": {"daily": 5.0}})
    free = fleet.world(plane)
    hold = w.hold(USD)
    assert isinstance(await w.reserve(hold), Admitted)
    spooled(plane, hold)
    with plane.frozen(fleet.server):
        for _ in range(2):
            with pytest.raises(Unavailable, match=r"budget_limits.daily.*Leaf"):
                await w.check(USD)
        assert is_away(plane)
        calls = dict(plane.stats.calls)
        for _ in range(20):
            with pytest.raises(Unavailable):
                await w.check(USD)
            assert isinstance(await free.check(0), Admitted), "nothing limits it"
        assert plane.stats.calls == calls, "nobody has waited for it"
        assert len(plane.roots.taken_back) == 1, "what was never sent need not be taken back"
        assert await w.settle(hold, USD // 2), "a report is taken"
        spooled(plane, hold, USD // 2)
        with pytest.raises(Away):
            await answer(w.counters.locate("res_other.root", "", "", NOON))
    plane.ticks += SECOND
    await fleet.tender(plane).tend()
    assert not is_away(plane)
    assert (await w.money("leaf"))[0] == (USD // 2, 0)
    assert isinstance(await w.check(USD), Admitted)


async def test_what_is_allowed_by_choice_meanwhile_is_counted_afterwards(fleet: Fleet) -> None:
    plane = fleet.plane()
    choice = {"budget_limits": {"daily": 5.0, "on_backend_error": "allow"}}
    w = fleet.world(plane, leaf=choice)
    await w.check(0)
    with plane.frozen(fleet.server):
        with pytest.raises(Unavailable):
            await fleet.world(plane, leaf={"max_requests": 9}).check(0)
        hold = w.hold(USD, request_id="r")
        assert await w.reserve(hold) == Admitted(hold)
        spooled(plane, hold)
        assert await w.find_open("leaf", "r") == hold, "a retry is answered by it"
    plane.ticks += SECOND
    await fleet.tender(plane).tend()
    assert await w.fill("budget_limits.daily") == (0, USD)


async def test_a_rate_is_shared_out_while_nobody_can_ask(fleet: Fleet) -> None:
    plane = fleet.plane()
    w = fleet.world(plane, leaf={"rate_limits": {"per_minute": 60, "burst": 8}})
    plane.counters.planes = 4
    plane.roots.breaker.trip(0)
    plane.roots.away()
    verdicts = [await w.check() for _ in range(5)]
    assert [isinstance(each, Admitted) for each in verdicts] == [True, True, False, False, False]
    refused = verdicts[-1]
    assert isinstance(refused, Refused)
    assert refused.retry_after == 4 * SECOND
    for verdict in verdicts[:2]:
        assert isinstance(verdict, Admitted)
        spooled(plane, verdict.hold, rates=verdict.rates)
    plane.roots.back()
    assert isinstance(await w.check(), Refused), "all four may have used up their parts"


async def test_a_part_of_a_rate_goes_on_from_where_the_whole_stood(fleet: Fleet) -> None:
    plane = fleet.plane()
    w = fleet.world(plane, leaf={"rate_limits": {"per_minute": 60, "burst": 8}})
    for _ in range(7):
        assert isinstance(await w.check(), Admitted)
    plane.counters.planes = 4
    plane.roots.breaker.trip(0)
    plane.roots.away()
    assert isinstance(await w.check(), Refused)
    w.now += 3 * SECOND
    assert isinstance(await w.check(), Admitted)


# -- Redis loses


async def test_flushed_it_begins_with_the_ledger_and_the_spools(fleet: Fleet) -> None:
    one, other = fleet.plane("spool1"), fleet.plane("spool2")
    limits = {"root": {"budget_limits": {"total": 9.0}, "max_requests": 99}}
    w, v = fleet.world(one, **limits), fleet.world(other, **limits)
    shipped, unshipped, open_hold, elsewhere = (w.hold(USD, request_id=f"r{n}") for n in range(4))
    for hold in (shipped, unshipped, open_hold, elsewhere):
        await w.reserve(hold)
        spooled(one, hold)
    await w.settle(shipped, USD)
    spooled(one, shipped, USD)
    # The ledger has all of that, and that the other one settled `elsewhere`.
    await v.settle(elsewhere, 2 * USD)
    fleet.books.taken = {"spool1": len(one.spool), "spool2": 0}
    fleet.books.outcomes = {shipped.decision_id, elsewhere.decision_id}
    periods = (("day", DAY), ("month", MONTH), ("total", 0))
    fleet.books.rows = [
        SpendRow(key_id, period, start, 3 * USD, 0, 4)  # type: ignore[arg-type]
        for key_id in ("leaf", "team", "root")
        for period, start in periods
    ]
    # Not yet in the ledger:
    await w.settle(unshipped, USD)
    spooled(one, unshipped, USD)
    new = w.hold(USD)
    await w.reserve(new)
    spooled(one, new)
    await v.settle(new, 0)
    spooled(other, new, 0)
    before = await w.money()
    assert before == ((4 * USD, USD),) * 3
    requests = await w.fill("max_requests")

    fleet.server.flush()
    await v.money()
    await w.money()  # That is answered, and shows that there is something to catch up with.
    assert await w.money() == before
    assert await w.fill("max_requests") == requests
    with pytest.raises(Unavailable, match="being opened"):
        await v.check(USD)
    assert isinstance(await fleet.world(other).check(0), Admitted), "nothing limits it"
    fleet.now += 2 * SECOND

    async def opened() -> bool:
        try:
            await w.check(0)
        except Unavailable:
            return False
        return True

    await eventually_async(opened, "admission resumes")
    assert await v.settle(open_hold, 0)
    assert await w.fill("budget_limits.total") == (4 * USD, 0)
    assert await answer(w.counters.locate(open_hold.reservation_id, "", "", NOON)) == "settled"


async def test_all_data_planes_that_come_back_at_once_fill_it_once(fleet: Fleet) -> None:
    planes = [fleet.plane(f"spool{number}") for number in range(4)]
    worlds = [fleet.world(plane, root={"budget_limits": {"total": 99.0}}) for plane in planes]
    for plane, w in zip(planes, worlds, strict=True):
        hold = w.hold(USD)
        await w.reserve(hold)
        spooled(plane, hold)
    fleet.books.rows = [SpendRow("root", "total", 0, 7 * USD, 0, 9)]
    fleet.server.flush()
    await asyncio.gather(*(w.money() for w in worlds))
    assert {(await w.money())[2] for w in worlds} == {(7 * USD, 4 * USD)}


async def test_restarted_with_its_data_it_goes_on(fleet: Fleet) -> None:
    plane = fleet.plane()
    w = fleet.world(plane, root={"budget_limits": {"total": 9.0}})
    hold = w.hold(USD)
    await w.reserve(hold)
    spooled(plane, hold)
    fleet.server.stop()
    with pytest.raises(Unavailable):
        await w.check(USD)
    fleet.server.start()
    plane.ticks += SECOND
    await fleet.tender(plane).tend()
    assert await w.fill("budget_limits.total") == (0, USD)
    assert isinstance(await w.check(8 * USD), Admitted)
    assert isinstance(await w.check(1), Refused)


async def test_what_a_lagging_replica_never_heard_of_is_counted_again(fleet: Fleet) -> None:
    plane = fleet.plane()
    w = fleet.world(plane)
    first, second = w.hold(USD), w.hold(2 * USD)
    await w.reserve(first)
    spooled(plane, first)
    with fleet.server.client() as client:
        old = {key: client.dump(key) for key in client.keys("pdp:{root}:*")}
        await w.reserve(second)
        spooled(plane, second)
        await w.settle(first, USD)
        spooled(plane, first, USD)
        expected = await w.money()
        client.flushall()
        for key, value in old.items():
            assert value is not None
            client.restore(key, 0, value)
    plane.roots.leave_all()  # As a broken connection would.
    assert await w.money() == expected == ((USD, 2 * USD),) * 3


# -- At the start


async def test_a_redis_that_forgets_under_pressure_is_refused(fleet: Fleet) -> None:
    plane = fleet.plane()
    with fleet.server.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            with pytest.raises(StartRefused, match=r"PDP_REDIS_URL.*allkeys-lru.*noeviction"):
                await fleet.tender(plane).start(0, 1)
        finally:
            client.config_set("maxmemory-policy", "noeviction")
    await fleet.tender(plane).start(0, 1)


async def test_one_that_is_told_to_forget_meanwhile_is_counted_on_no_longer(fleet: Fleet) -> None:
    plane = fleet.plane()
    w = fleet.world(plane, root={"budget_limits": {"total": 9.0}})
    await w.check(USD)
    tender = fleet.tender(plane)
    with fleet.server.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            await tender.tend()
            assert is_away(plane)
            plane.ticks += SECOND
            await tender.tend()
            with pytest.raises(Unavailable, match=r"budget_limits\.total"):
                await w.check(USD)
        finally:
            client.config_set("maxmemory-policy", "noeviction")
    plane.ticks += SECOND
    await tender.tend()
    assert not is_away(plane)
    assert isinstance(await w.check(USD), Admitted)


async def test_data_planes_know_how_many_they_are(fleet: Fleet) -> None:
    for name in ("spool1", "spool2", "spool3"):
        plane = fleet.plane(name)
        await fleet.tender(plane).tend()
    assert plane.counters.planes == 3
    fleet.now += HOUR
    plane.ticks += 2 * SECOND
    await fleet.tender(plane).tend()
    assert plane.counters.planes == 1
    with fleet.server.client() as client:
        assert client.zcard(PLANES) == 3


async def test_who_has_said_all_takes_its_leave_and_who_has_not_does_not(fleet: Fleet) -> None:
    one, other = fleet.plane("spool1"), fleet.plane("spool2")
    for plane in (one, other):
        await fleet.world(plane).check(1)
        await fleet.tender(plane).tend()
    other.roots.leave_all()
    for plane in (one, other):
        await fleet.tender(plane).close()
    with fleet.server.client() as client:
        assert client.zrange(PLANES, 0, -1) == [b"spool2"]


async def test_data_planes_hear_what_a_comparison_with_the_ledger_has_found(fleet: Fleet) -> None:
    plane = fleet.plane()
    tender = fleet.tender(plane)
    await tender.tend()
    assert told_by(plane) is None
    drift = Drift("root", "day", 0, "spent", "nano_usd", "budget_limits.daily", 3, 10)
    await plane.line.tell_drift(packed(told_of([drift], 5)))
    for _ in range(10):
        plane.ticks += 2 * SECOND
        await tender.tend()
    told = told_by(plane)
    assert told is not None
    shown = {
        (sample.name, *sample.labels.values()): sample.value
        for family in drift_metrics(told)
        for sample in family.samples
    }
    assert shown["pdp_reconciled_timestamp_seconds",] == 5
    assert shown["pdp_counters_drifting", "above"] == 1
    assert shown["pdp_counters_drifting", "below"] == 0
    assert shown["pdp_counter_drift", "nano_usd", "above"] == 7
    assert shown["pdp_counter_drift", "requests", "below"] == 0
