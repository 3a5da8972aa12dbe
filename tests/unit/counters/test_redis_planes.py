"""Counters of several data planes in one Redis: shared, handed over, exact."""

import asyncio

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from pdp.counters.redis import asks
from pdp.counters.redis.away import Away
from pdp.quota.hold import Admitted, BudgetGuard, GuardFailed, Open
from tests.contract.world import NOON, SECOND, TTL, USD, answer
from tests.counting import Fleet

DAY = 1_795_392_000
MONTH = 1_793_491_200


# -- Several data planes


async def test_a_budget_is_shared_to_the_last_nano_dollar(fleet: Fleet) -> None:
    limits = {"root": {"budget_limits": {"total": 50.0}}}
    worlds = [fleet.world(fleet.plane(f"spool{n}"), **limits) for n in range(4)]
    verdicts = await asyncio.gather(*(w.check(USD) for w in worlds for _ in range(50)))
    assert sum(isinstance(each, Admitted) for each in verdicts) == 50
    assert await worlds[0].fill("budget_limits.total") == (0, 50 * USD)


async def test_a_rate_is_shared_and_admits_as_one_process_would(fleet: Fleet) -> None:
    limits = {"leaf": {"rate_limits": {"per_minute": 100}}}
    worlds = [fleet.world(fleet.plane(f"spool{n}"), **limits) for n in range(4)]
    times: list[int] = []
    for _ in range(100):  # 10 times the load for a minute, at the same instants everywhere.
        for w in worlds:
            w.now = fleet.now
        verdicts = await asyncio.gather(*(w.check() for w in worlds for _ in range(3)))
        times += [fleet.now for each in verdicts if isinstance(each, Admitted)]
        fleet.now += 600_000_000
    # GCRA: all of the capacity at once, then one each 0.6 s; the last tick ends before 60 s.
    assert len(times) == 100 + 99
    for first in times:
        assert sum(first <= each < first + 60 * SECOND for each in times) <= 100 + 100


async def test_a_retried_check_is_answered_by_its_hold_wherever_it_comes(fleet: Fleet) -> None:
    one, other = (fleet.world(fleet.plane(name)) for name in ("spool1", "spool2"))
    hold = replace(one.hold(USD, request_id="r"), fingerprint=7)
    assert isinstance(await one.reserve(hold), Admitted)
    retried = replace(other.hold(USD, request_id="r"), fingerprint=7)
    assert await other.reserve(retried) == Open(hold)
    assert await other.find_open("leaf", "r") == hold
    assert (await other.money())[0] == (0, USD)


async def test_a_hold_is_settled_where_its_report_arrives_and_once(fleet: Fleet) -> None:
    one, other = (fleet.world(fleet.plane(name)) for name in ("spool1", "spool2"))
    hold = one.hold(5 * USD, 50, "r")
    await one.reserve(hold)
    assert await answer(other.counters.locate(hold.reservation_id, "", "", NOON)) == hold
    settled = await asyncio.gather(*(w.settle(hold, USD, 5) for w in (one, other) * 5))
    assert sum(settled) == 1
    assert await one.money() == ((USD, 0),) * 3


async def test_an_orphan_is_expired_once_by_whoever_lives(fleet: Fleet) -> None:
    one, other, third = (fleet.world(fleet.plane(f"spool{n}")) for n in range(3))
    hold = one.hold(USD)
    await one.reserve(hold)
    await other.check(0)
    await third.check(0)
    fleet.now = NOON + TTL + 4 * SECOND
    due = await asyncio.gather(*(w.due(fleet.now) for w in (other, third)))
    assert hold not in [*due[0], *due[1]], "its owner has time to do it"
    fleet.now += 2 * SECOND
    due = await asyncio.gather(*(w.due(fleet.now) for w in (other, third)))
    assert [*due[0], *due[1]].count(hold) == 1
    fleet.now += 31 * SECOND
    assert hold in [*await other.due(fleet.now), *await third.due(fleet.now)], "the claim lapses"


async def test_a_condition_on_spend_that_another_moved_fails_with_what_it_is(
    fleet: Fleet,
) -> None:
    one, other = (fleet.world(fleet.plane(name)) for name in ("spool1", "spool2"))
    await one.check(USD)
    guard = BudgetGuard("root", "day", under=True, amount=USD)
    scope = other.scope_of["root"]
    assert other.counters.spent(scope, "day", NOON) == (0, 0), "not known here yet"
    assert await other.reserve(other.hold(1), guard) == GuardFailed(guard)
    assert other.counters.spent(scope, "day", NOON) == (0, USD)


# -- Callers that are gone


async def test_a_hold_that_a_retry_elsewhere_was_given_outlives_its_first_caller(
    fleet: Fleet,
) -> None:
    one, other = (fleet.world(fleet.plane(name)) for name in ("spool1", "spool2"))
    hold = replace(one.hold(USD, request_id="r"), fingerprint=7)
    await one.reserve(hold)
    assert await other.reserve(replace(other.hold(request_id="r"), fingerprint=7)) == Open(hold)
    assert not await one.withdraw(hold), "the retry relies on it"
    assert (await one.money())[2] == (0, USD)
    assert await other.withdraw(hold), "and was the last"
    assert await other.find_open("leaf", "r") is None, "it is about to be settled"


async def test_a_hold_is_kept_while_a_retry_is_being_given_it(fleet: Fleet) -> None:
    plane = fleet.plane()
    w = fleet.world(plane)
    hold = replace(w.hold(USD, request_id="r"), fingerprint=7)
    await w.reserve(hold)
    retry = asyncio.ensure_future(w.reserve(replace(w.hold(request_id="r"), fingerprint=7)))
    await asyncio.sleep(0)
    with pytest.raises(Away, match="being answered"):
        await w.withdraw(hold)
    assert await retry == Open(hold)
    assert not await w.withdraw(hold)
    assert await w.withdraw(hold)


async def test_a_hold_goes_when_the_answers_to_all_its_callers_are_lost(fleet: Fleet) -> None:
    one, other = (fleet.plane(name) for name in ("spool1", "spool2"))
    w, v = fleet.world(one), fleet.world(other)
    hold = replace(w.hold(USD, request_id="r"), fingerprint=7)
    retried = replace(v.hold(USD, request_id="r"), fingerprint=7)
    await w.reserve(hold)
    await v.reserve(retried)
    for plane, lost in ((one, hold), (other, retried)):
        plane.roots.own.drop(hold.reservation_id)
        plane.roots.taken_back[lost.reservation_id] = "root", asks.cancel(lost)
        await fleet.tender(plane).tend()
        assert not plane.roots.taken_back
    assert (await w.money())[2] == (0, 0)
    assert await w.find_open("leaf", "r") is None


async def test_a_hold_that_is_written_down_stays_when_the_last_answer_is_lost(fleet: Fleet) -> None:
    one, other = (fleet.plane(name) for name in ("spool1", "spool2"))
    w, v = fleet.world(one), fleet.world(other)
    hold = replace(w.hold(USD, request_id="r"), fingerprint=7)
    retried = replace(v.hold(USD, request_id="r"), fingerprint=7)
    await w.reserve(hold)
    await v.reserve(retried)
    assert not await w.withdraw(hold), "the retry relies on it"
    other.roots.own.drop(hold.reservation_id)
    other.roots.taken_back[retried.reservation_id] = "root", asks.cancel(retried)
    await fleet.tender(other).tend()
    assert (await v.money())[2] == (0, USD), "the ledger holds it, until a record ends that"
    assert await v.find_open("leaf", "r") == hold
    assert await v.withdraw(hold)


async def test_a_hold_that_a_retry_has_written_down_is_not_taken_back(fleet: Fleet) -> None:
    one, other = (fleet.plane(name) for name in ("spool1", "spool2"))
    w, v = fleet.world(one), fleet.world(other)
    hold = replace(w.hold(USD, request_id="r"), fingerprint=7)
    await w.reserve(hold)
    await v.reserve(replace(v.hold(USD, request_id="r"), fingerprint=7))
    assert not await v.withdraw(hold), "whom it was made for relies on it"
    one.roots.own.drop(hold.reservation_id)
    one.roots.taken_back[hold.reservation_id] = "root", asks.cancel(hold)
    await fleet.tender(one).tend()
    assert (await v.money())[2] == (0, USD)
    assert await v.find_open("leaf", "r") == hold
    assert await v.withdraw(hold)


# -- Amounts and names


async def test_sums_beyond_what_a_double_holds_are_exact(fleet: Fleet) -> None:
    w = fleet.world(fleet.plane())
    big = 9_000_000 * USD
    for cost in (big, big, 1, 1, 1):
        hold = w.hold(cost)
        assert isinstance(await w.reserve(hold), Admitted)
        await w.settle(hold, cost)
    assert await w.money() == ((2 * big + 3, 0),) * 3


async def test_every_key_with_a_window_expires_and_names_its_date(fleet: Fleet) -> None:
    w = fleet.world(fleet.plane(), leaf={"rate_limits": {"per_minute": 6}})
    hold = w.hold(USD)
    await w.reserve(hold)
    await w.settle(hold, USD)
    with fleet.server.client() as client:
        kept = {key.decode(): client.ttl(key) for key in client.keys("pdp:{root}:*")}
    forever = {name for name, ttl in kept.items() if ttl < 0}
    assert forever == {
        f"pdp:{{root}}:{name}" for name in ("t:leaf", "t:team", "t:root", "epoch", "calls")
    }
    assert {f"pdp:{{root}}:d:leaf:{DAY}", f"pdp:{{root}}:m:leaf:{MONTH}"} < kept.keys()
    assert {name[:13] for name in kept} <= {f"pdp:{{root}}:{each}:" for each in "dmtrhq"} | {
        "pdp:{root}:ep",
        "pdp:{root}:ca",
    }


async def test_trouble_that_lasts_is_logged_once_and_then_once_a_minute(fleet: Fleet) -> None:
    plane = fleet.plane()
    await fleet.world(plane).check(USD)
    tender = fleet.tender(plane)
    spools = "pdp:{root}:spools"

    async def tend_for(seconds: int) -> list[str]:
        with capture_logs() as logs:
            for _ in range(seconds):
                plane.ticks += SECOND
                await tender.tend()
        return [each["event"] for each in logs if each.get("root") == "root"]

    with fleet.server.client() as client:
        client.delete(spools)
        client.set(spools, "no hash")
        assert await tend_for(70) == ["redis did not do what is due, trying again"] * 2
        client.delete(spools)
        assert await tend_for(2) == ["redis does what is due again"]
        client.delete(spools)
        client.set(spools, "no hash")
        assert await tend_for(30) == [], "it comes and goes"

        another = fleet.plane("spool2")
        with pytest.raises(Away, match=r"Redis failed: .*WRONGTYPE"):
            await another.roots.join(another.roots.lane("root"))
        client.delete(spools)
