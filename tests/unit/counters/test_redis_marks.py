"""How far a spool is counted is said only of what Redis has answered for."""

import asyncio
from typing import Any

import pytest

from pdp.counters.redis.away import Away
from tests.contract.world import NOON, SECOND, USD
from tests.counting import Fleet, Plane
from tests.property.counters.machine import _settled
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
