"""What only the memory backend does: bounds on what it keeps, and odd records."""

from typing import Any

import msgspec
import pytest

from pdp.counters.memory import EXPIRED_KEPT, MemoryCounters
from pdp.ids import IdSource
from pdp.quota.hold import Hold
from pdp.records import Denied, Expired
from tests.contract.world import HOUR, NOON, TTL, USD, World
from tests.unit.spool.desk import held, settled, totals


@pytest.fixture
def w() -> World:
    return World(MemoryCounters(most_expired=3), IdSource("boot"))


def counters_of(w: World) -> MemoryCounters:
    assert isinstance(w.counters, MemoryCounters)
    return w.counters


async def expired(w: World, request_id: str) -> Hold:
    hold = w.hold(USD, request_id=request_id)
    await w.reserve(hold)
    await w.settle(hold, USD, expired=True)
    return hold


async def test_an_expired_hold_is_a_duplicate_after_its_time(w: World) -> None:
    hold = await expired(w, "r")
    counters_of(w).prune(NOON + 48 * HOUR)
    assert w.counters.locate(hold.reservation_id, "", "", NOON) == hold
    counters_of(w).prune(NOON + EXPIRED_KEPT + 1)
    assert w.counters.locate(hold.reservation_id, "", "", NOON) == "settled"
    assert w.counters.locate("", "leaf", "r", NOON) == "settled"
    assert not await w.settle(hold, 0)
    assert (await w.money())[2] == (USD, 0)


async def test_of_too_many_expired_holds_the_oldest_are_duplicates(w: World) -> None:
    holds = [await expired(w, f"r{number}") for number in range(5)]
    assert [w.counters.locate(hold.reservation_id, "", "", NOON) == hold for hold in holds] == [
        False,
        False,
        True,
        True,
        True,
    ]


def checkpoint(day: list[Any]) -> bytes:
    """Return the state of one account as it is on disk."""
    total, past = [0, 9, 1, 40, 2, 6], {0: [0, 4, 0, 20, 0]}
    account = ["k", day, [0, 9, 1, 40, 2], total, {7: 8}, past, None]
    return msgspec.msgpack.encode([[account], [], [], [], {}])


def test_a_checkpoint_is_what_it_was_when_accounts_were_kept_otherwise() -> None:
    counters, kept = MemoryCounters(), checkpoint([86400, 5, 1, 20, 2])
    counters.restore(kept)
    assert totals(counters) == {"k": (9, 1, 6)}
    assert counters.snapshot() == kept
    for damaged in (["0"], [0, None], [0] * 7):
        with pytest.raises(msgspec.DecodeError):
            MemoryCounters().restore(checkpoint(damaged))


async def test_settled_traffic_leaves_nothing_behind(w: World) -> None:
    for _ in range(100):
        hold = w.hold(USD)
        await w.reserve(hold)
        await w.settle(hold, USD)
    counters = counters_of(w)
    holds = counters._holds
    assert not any((holds.live, holds.expired, holds._by_request, holds._ends))


async def test_old_windows_are_dropped_once_nothing_is_held_in_them(w: World) -> None:
    kept = w.hold(USD)
    await w.reserve(kept)
    for _ in range(100):
        w.now += 24 * HOUR
        await w.check()
    account = counters_of(w)._accounts["leaf"]
    assert account.past_days is not None
    assert account.past_months is not None
    assert len(account.past_days) <= 6
    assert len(account.past_months) <= 3
    await w.settle(kept, USD)
    w.now += 24 * HOUR
    await w.check()
    w.now = NOON
    assert (await w.money())[2] == (USD, 0)


def test_a_settlement_whose_hold_met_a_full_disk_is_charged_in_its_windows() -> None:
    counters = MemoryCounters()
    lost = held(7, cost=100)
    counters.apply(settled(lost, cost=40))
    assert totals(counters) == {"leaf": (40, 0, 1), "root": (40, 0, 1)}
    assert counters.locate(lost.hold.reservation_id, "", "", NOON) == "settled"
    assert counters.locate("", "leaf", "r7", NOON) == "settled"


def test_an_expiry_whose_hold_met_a_full_disk_can_still_be_corrected() -> None:
    counters = MemoryCounters()
    lost = held(7, cost=100)
    hold = lost.hold
    counters.apply(
        Expired(
            NOON,
            hold.decision_id,
            hold.reservation_id,
            "leaf",
            "r7",
            100,
            10,
            hold.windows,
        )
    )
    assert totals(counters)["root"] == (100, 0, 1)
    found = counters.locate("", "leaf", "r7", NOON)
    assert isinstance(found, Hold)
    assert found.reservation_id == hold.reservation_id
    counters.apply(settled(lost, cost=40))
    assert totals(counters)["root"] == (40, 0, 1)
    assert counters.locate(hold.reservation_id, "", "", NOON) == "settled"


def test_a_record_twice_and_a_denial_move_nothing() -> None:
    counters = MemoryCounters()
    record = held(1, cost=5)
    counters.apply(record)
    counters.apply(record)
    counters.apply(Denied(NOON, record.facts, "budget_exceeded", 403, ("leaf",)))
    assert totals(counters) == {"leaf": (0, 5, 1), "root": (0, 5, 1)}


async def test_a_correction_that_comes_much_too_late_is_refused(w: World) -> None:
    hold = await expired(w, "r")
    w.now += TTL
    for _ in range(10):
        w.now += 24 * HOUR
        await w.check()
    before = (await w.money())[2]
    assert not await w.settle(hold, 0)
    assert (await w.money())[2] == before
