"""What happens between two calls, or instead of one, is made good."""

from collections.abc import AsyncIterator, Iterator

import pytest

from pdp.quota.hold import Admitted
from tests.contract.world import USD
from tests.counting import Fleet
from tests.redis import RedisServer, running_redis


@pytest.fixture(scope="module")
def own_redis() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


@pytest.fixture
async def fleet(own_redis: RedisServer) -> AsyncIterator[Fleet]:
    own_redis.flush()
    fleet = Fleet(own_redis)
    yield fleet
    for plane in fleet.planes:
        await plane.close()


async def test_a_hold_that_a_retry_was_given_is_not_taken_back(fleet: Fleet) -> None:
    one, other = fleet.plane("spool1"), fleet.plane("spool2")
    for plane in (one, other):
        await fleet.world(plane).check(0)
    w, v = fleet.world(one), fleet.world(other)
    hold = w.hold(USD, request_id="r")
    verdict = await w.reserve(hold)
    assert isinstance(verdict, Admitted)
    one.roots.own.drop(hold.reservation_id)
    one.roots.taken_back[hold.reservation_id] = "root"  # Its caller is gone.
    assert await v.find_open("leaf", "r") == hold, "a retry relies on it"
    await fleet.tender(one).tend()
    assert await v.settle(hold, USD // 2)
    assert (await v.money())[2] == (USD // 2, 0)
