"""How far a spool is counted is said only of what Redis has answered for."""

import asyncio
from typing import Any

import pytest

from pdp.counters.redis.away import Away
from pdp.records import Held
from pdp.spend import Snapshot
from tests.contract.world import NOON, SECOND, USD
from tests.counting import Fleet, Plane
from tests.property.counters.machine import _facts, _settled
from tests.redis import RedisServer


@pytest.fixture
def server(own_redis: RedisServer) -> RedisServer:
    """Return one to be mistreated."""
    return own_redis


def hold_back(patch: pytest.MonkeyPatch, plane: Plane) -> tuple[asyncio.Event, asyncio.Event]:
    """Let the next call fail that settles, once the second event is set; the first: it is out."""
    run, out, end = plane.line.run_script, asyncio.Event(), asyncio.Event()

    async def held(prefix: str, argument: bytes, **options: Any) -> Any:
        if b"\xa1S" not in argument or out.is_set():
            return await run(prefix, argument, **options)
        out.set()
        await end.wait()
        raise Away("nobody answers")

    patch.setattr(plane.line, "run_script", held)
    return out, end


async def test_a_report_whose_call_takes_long_and_fails_is_counted_from_the_spool(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane = fleet.plane()
    w, tender = fleet.world(plane), fleet.tender(plane)
    hold = w.hold(USD)
    await w.reserve(hold)
    out, end = hold_back(monkeypatch, plane)
    plane.spool.append(_settled(NOON, hold, hold.reservation_id, USD // 4, 0))
    settling = asyncio.create_task(w.settle(hold, USD // 4))
    await out.wait()
    for _ in range(8):
        plane.ticks += SECOND
        await tender.tend()
        assert (await plane.line.spools("pdp:{root}:")).get("spool1", 0) == 0, "it is not counted"
    end.set()
    assert await settling, "it is taken"
    assert await w.money() == ((USD // 4, 0),) * 3
    for _ in range(8):
        plane.ticks += SECOND
        await tender.tend()
    assert await plane.line.spools("pdp:{root}:") == {"spool1": 1}


async def test_the_ledger_may_get_what_a_spool_has_only_after_others_have_opened_the_root(
    fleet: Fleet,
) -> None:
    first = fleet.plane()
    hold = fleet.world(first).hold(USD)
    await fleet.world(first).reserve(hold)
    first.spool.append(Held(NOON, _facts(hold), hold, ()))
    first.spool.append(_settled(NOON, hold, hold.reservation_id, USD // 4, 0))
    fleet.server.flush()
    again, other = fleet.plane(), fleet.plane("spool2")
    tender = fleet.tender(again)
    await tender.tend()
    assert not again.roots.lanes, "nobody has told it of the root yet"
    fleet.books.taken["spool1"] = 0
    w = fleet.world(other)
    assert await w.money() == ((0, 0),) * 3, "the ledger lacks it"
    fleet.books.taken["spool1"] = 2
    assert tender.needed() == 0, "it has to be counted from the spool"
    for _ in range(15):
        again.ticks += SECOND
        await tender.tend()
    assert await w.money() == ((USD // 4, 0),) * 3
    for _ in range(15):
        again.ticks += SECOND
        await tender.tend()
    assert tender.needed() == 2


async def test_a_root_is_known_to_others_before_the_ledger_is_asked_for_it(fleet: Fleet) -> None:
    plane, known = fleet.plane(), []
    snapshot = fleet.books.snapshot

    async def look_first(root: str) -> Snapshot:
        known.append(await plane.line.roots())
        return await snapshot(root)

    fleet.books.snapshot = look_first  # type: ignore[method-assign]
    await plane.roots.join(plane.roots.lane("root"))
    assert known == [{"root"}]
