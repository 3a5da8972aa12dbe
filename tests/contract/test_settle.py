"""Settle and expire: reports, duplicates, late ones."""

import pytest

from pdp.quota.hold import Refused
from tests.contract.conftest import MakeWorld
from tests.contract.world import HOUR, NOON, TTL, USD, answer


async def test_what_was_used_takes_the_place_of_the_hold(world: MakeWorld) -> None:
    w = world(leaf={"token_limits": {"daily": 100}, "max_requests": 9})
    hold = w.hold(5 * USD, 50, "r")
    await w.reserve(hold)
    assert await w.settle(hold, 2 * USD, 20)
    assert await w.money() == ((2 * USD, 0),) * 3
    assert await w.fill("token_limits.daily") == (20, 0)
    assert await w.fill("max_requests") == (1, 0)


async def test_the_first_report_wins(world: MakeWorld) -> None:
    w = world()
    hold = w.hold(5 * USD, request_id="r")
    await w.reserve(hold)
    located = await answer(w.counters.locate(hold.reservation_id, "", "", w.now))
    assert located == hold
    assert await answer(w.counters.locate("", "leaf", "r", w.now)) == hold
    assert await w.settle(hold, USD)
    assert not await w.settle(hold, 3 * USD)
    assert (await w.money())[2] == (USD, 0)
    assert await answer(w.counters.locate(hold.reservation_id, "", "", w.now)) == "settled"
    assert await answer(w.counters.locate("", "leaf", "r", w.now)) == "settled"


@pytest.mark.parametrize(
    "name", ["res_other-100", "res_boot-zzzz", "boot-100", "", "res_", "res_é-1"]
)
async def test_what_was_never_issued_is_unknown(world: MakeWorld, name: str) -> None:
    w = world()
    await w.check()
    found = await answer(w.counters.locate(name, "leaf", "never", w.now))
    assert found == ("unknown" if name else "new")


async def test_a_usage_without_a_hold_counts_once_with_its_request(world: MakeWorld) -> None:
    w = world(root={"max_requests": 10, "token_limits": {"daily": 100}})
    assert await w.charge("r", USD, 7)
    assert not await w.charge("r", USD, 7)
    assert await w.money() == ((USD, 0),) * 3
    assert await w.fill("max_requests") == (1, 0)
    assert await w.fill("token_limits.daily") == (7, 0)
    assert await answer(w.counters.locate("", "leaf", "r", w.now)) == "settled"
    assert await answer(w.counters.locate("", "team", "r", w.now)) == "new"


async def test_a_report_for_a_request_that_is_held_settles_the_hold(world: MakeWorld) -> None:
    w = world(root={"max_requests": 10})
    await w.check(5 * USD, request_id="r")
    assert await w.charge("r", USD)
    assert (await w.money())[2] == (USD, 0)
    assert await w.fill("max_requests") == (1, 0)


async def test_a_request_id_can_be_used_again_after_its_hold(world: MakeWorld) -> None:
    w = world()
    first = w.hold(USD, request_id="r")
    await w.reserve(first)
    await w.settle(first, USD)
    second = w.hold(2 * USD, request_id="r")
    await w.reserve(second)
    assert await w.find_open("leaf", "r") == second
    assert await w.settle(second, 2 * USD)
    assert (await w.money())[2] == (3 * USD, 0)


async def test_two_holds_of_one_request_are_settled_each_by_its_id(world: MakeWorld) -> None:
    w = world()
    first, second = w.hold(USD, request_id="r"), w.hold(2 * USD, request_id="r")
    await w.reserve(first)
    await w.reserve(second)
    assert await w.find_open("leaf", "r") == second
    assert await w.settle(first, USD)
    assert await w.find_open("leaf", "r") == second
    assert await w.settle(second, 2 * USD)
    assert (await w.money())[2] == (3 * USD, 0)


async def test_more_may_be_used_than_was_held(world: MakeWorld) -> None:
    w = world(root={"budget_limits": {"total": 1.0}})
    hold = w.hold(USD)
    await w.reserve(hold)
    await w.settle(hold, 3 * USD)
    assert await w.fill("budget_limits.total") == (3 * USD, 0)
    assert isinstance(await w.check(0), Refused)


async def test_a_hold_is_due_when_its_time_is_over_and_until_it_is_settled(
    world: MakeWorld,
) -> None:
    w = world()
    hold = w.hold(USD)
    await w.reserve(hold)
    assert await w.due(NOON + TTL - 1) == []
    assert await w.due(NOON + TTL) == [hold]
    assert await w.due(NOON + TTL) == [hold]
    assert await w.settle(hold, USD, expired=True)
    assert await w.due(NOON + TTL) == []
    assert not await w.settle(hold, USD, expired=True)


async def test_a_heartbeat_puts_the_end_off_and_never_brings_it_forward(world: MakeWorld) -> None:
    w = world()
    hold = w.hold(USD, request_id="r")
    await w.reserve(hold)
    assert await w.extend(hold.reservation_id, NOON + 2 * TTL)
    assert await w.extend(hold.reservation_id, NOON)
    assert await w.due(NOON + 2 * TTL - 1) == []
    (due,) = await w.due(NOON + 2 * TTL)
    assert due.expires_at == NOON + 2 * TTL
    assert await w.find_open("leaf", "r") == due
    await w.settle(due)
    assert not await w.extend(hold.reservation_id, NOON + 3 * TTL)


async def test_one_late_report_corrects_an_expired_hold(world: MakeWorld) -> None:
    w = world(leaf={"token_limits": {"total": 1000}})
    hold = w.hold(5 * USD, 50, "r")
    await w.reserve(hold)
    w.now += TTL
    assert await w.settle(hold, 5 * USD, 50, expired=True)
    assert await w.find_open("leaf", "r") is None
    assert await w.money() == ((5 * USD, 0),) * 3
    w.now += 47 * HOUR
    assert await answer(w.counters.locate("", "leaf", "r", w.now)) == hold
    assert await answer(w.counters.locate(hold.reservation_id, "", "", w.now)) == hold
    assert await w.settle(hold, USD, 10)
    assert (await w.money())[2] == (USD, 0)
    assert await w.fill("token_limits.total") == (10, 0)
    assert not await w.settle(hold, USD, 10)
    assert await answer(w.counters.locate(hold.reservation_id, "", "", w.now)) == "settled"
    assert await answer(w.counters.locate("", "leaf", "r", w.now)) == "settled"


async def test_a_hold_is_given_back_by_the_last_who_relies_on_it(world: MakeWorld) -> None:
    w = world()
    hold = w.hold(USD, request_id="r")
    await w.reserve(hold)
    assert await w.find_open("leaf", "r") == hold
    assert await w.find_open("leaf", "r") == hold
    assert [await w.withdraw(hold) for _ in range(3)] == [False, False, True]
    assert await w.settle(hold, 0)
    assert (await w.money())[2] == (0, 0)
    assert not await w.withdraw(hold)


async def test_what_is_over_or_never_was_is_nobodys_to_give_back(world: MakeWorld) -> None:
    w = world()
    settled, expired = w.hold(USD), w.hold(USD)
    for hold in (settled, expired):
        await w.reserve(hold)
    await w.settle(settled, USD)
    w.now += TTL
    await w.settle(expired, USD, expired=True)
    for hold in (settled, expired, w.hold(USD)):
        assert not await w.withdraw(hold)
    assert (await w.money())[2] == (2 * USD, 0)
