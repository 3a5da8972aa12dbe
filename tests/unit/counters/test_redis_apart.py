"""A data plane whose Redis is not that of the others, though the address is the same."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from pdp.counters.redis.apart import SURE, Apart
from pdp.counters.redis.tender import Tender
from pdp.errors import Unavailable
from pdp.quota.hold import Admitted
from pdp.records import Held
from tests.contract.world import NOON, SECOND, USD
from tests.counting import Fleet, Plane
from tests.property.counters.machine import _facts, _settled
from tests.redis import RedisServer
from tests.unit.counters.test_redis_trouble import is_away

BUDGET = {"budget_limits": {"total": 9.0}}


async def tend(tender: Tender, plane: Plane, seconds: int) -> list[str]:
    """Let time pass; return what is logged of it."""
    with capture_logs() as logs:
        for _ in range(seconds // 5):
            plane.ticks += 5 * SECOND
            await tender.tend()
    said = [each["event"] for each in logs]
    return [each for each in said if "redis" in each and "clocks" not in each]


async def test_its_budgets_deny_and_the_others_go_on_until_it_counts_where_all_do(
    fleet: Fleet, own_redis: RedisServer, tmp_path: Path
) -> None:
    own_redis.flush()
    address = tmp_path / "redis"
    address.symlink_to(own_redis.socket)
    plane = Plane(f"unix://{address}", books=fleet.books, now=lambda: NOON)
    fleet.planes.append(plane)
    tender, w, free = fleet.tender(plane), fleet.world(plane, root=BUDGET), fleet.world(plane)
    hold = w.hold(USD)
    assert isinstance(await w.reserve(hold), Admitted)
    plane.spool.append(Held(NOON, _facts(hold), hold, ()))
    assert not await tend(tender, plane, 110)

    tender.told_apart(True)
    (said,) = await tend(tender, plane, 30)
    assert "not the one in which the other data planes count" in said
    assert is_away(plane)
    with pytest.raises(Unavailable, match=r"budget_limits.total.*another Redis here"):
        await w.check(USD)
    assert isinstance(await free.check(0), Admitted)
    assert await w.settle(hold, USD // 4), "a report is taken"
    plane.spool.append(_settled(NOON, hold, hold.reservation_id, USD // 4, 0))

    tender.told_apart(None)
    assert not await tend(tender, plane, 10)
    assert is_away(plane), "as long as nobody says better"
    address.unlink()
    address.symlink_to(fleet.server.socket)
    await tend(tender, plane, 10)
    with fleet.server.client() as client:
        assert client.zscore("pdp:planes", "spool1"), "now all hear of it"
    tender.told_apart(False)
    assert "count in one redis again" in (await tend(tender, plane, 5))[0]
    assert not is_away(plane)
    assert await w.fill("budget_limits.total") == (USD // 4, 0)


async def test_who_was_cut_off_a_moment_ago_is_not_taken_for_one(fleet: Fleet) -> None:
    plane = fleet.plane()
    tender, w = fleet.tender(plane), fleet.world(plane, root=BUDGET)
    tender.told_apart(True)
    assert not await tend(tender, plane, 95)
    plane.ticks += 60 * SECOND  # It stood still.
    assert not await tend(tender, plane, 95)
    tender.told_apart(None)
    assert not await tend(tender, plane, 95)
    assert isinstance(await w.check(USD), Admitted)


def test_only_who_has_reached_a_redis_all_the_time_is_sure() -> None:
    apart = Apart()
    apart.said = True
    assert not apart.is_sure(SURE)
    for second in range(0, 101, 5):
        apart.reached(second * SECOND)
    assert apart.is_sure(100 * SECOND)
    apart.lost()
    apart.reached(105 * SECOND)
    assert not apart.is_sure(105 * SECOND)
    apart.said = False
    assert not apart.is_sure(1000 * SECOND)
