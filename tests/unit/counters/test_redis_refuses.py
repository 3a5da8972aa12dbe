"""A Redis that answers and writes nothing: no memory, no replicas, a replica, a slot on its way."""

from pathlib import Path

import pytest

from pdp.counters.redis.layout import prefix_of
from pdp.errors import Unavailable
from pdp.ids import IdSource
from pdp.quota.hold import Admitted
from tests.contract.world import NOON, SECOND, USD, World
from tests.counting import Fleet, Plane
from tests.redis import RedisCluster, RedisServer, running_redis
from tests.unit.counters.test_redis_trouble import is_away, spooled

BUDGET = {"budget_limits": {"total": 9.0}}


@pytest.fixture
def server(own_redis: RedisServer) -> RedisServer:
    """Return one to be mistreated."""
    return own_redis


@pytest.mark.parametrize(
    ("setting", "value", "why"),
    [("maxmemory", "1", "OOM"), ("min-replicas-to-write", "1", "NOREPLICAS")],
)
async def test_budgets_deny_the_others_go_on_and_nothing_is_half_done(
    fleet: Fleet, setting: str, value: str, why: str
) -> None:
    plane = fleet.plane(rest=SECOND)
    w, free = fleet.world(plane, root=BUDGET), fleet.world(plane)
    choice = fleet.world(plane, leaf={"budget_limits": {"daily": 5.0, "on_backend_error": "allow"}})
    hold = w.hold(USD)
    await w.reserve(hold)
    spooled(plane, hold)
    with fleet.server.client() as client:
        client.config_set(setting, value)
        try:
            with pytest.raises(Unavailable, match=f"budget_limits.total.*Root.*{why}"):
                await w.check(USD)
            assert is_away(plane), "it can be seen"
            calls = dict(plane.stats.calls)
            for _ in range(20):
                with pytest.raises(Unavailable):
                    await w.check(USD)
            assert isinstance(await free.check(0), Admitted), "nothing limits it"
            chosen = choice.hold(USD)
            assert isinstance(await choice.reserve(chosen), Admitted)
            spooled(plane, chosen)
            assert plane.stats.calls == calls, "nobody asks in vain"
            assert not plane.roots.taken_back, "what was refused need not be taken back"
            assert await w.settle(hold, USD // 2), "a report is taken"
            spooled(plane, hold, USD // 2)
            plane.ticks += 2 * SECOND
            with pytest.raises(Unavailable, match=why):
                await w.check(USD)
        finally:
            client.config_set(setting, "0")
    plane.ticks += 2 * SECOND
    await fleet.tender(plane).tend()
    assert not is_away(plane)
    assert await w.fill("budget_limits.total") == (USD // 2, USD)


async def test_a_primary_that_was_demoted_is_left_for_the_new_one(
    fleet: Fleet, tmp_path: Path
) -> None:
    address = tmp_path / "redis"
    address.symlink_to(fleet.server.socket)
    plane = Plane(f"unix://{address}", books=fleet.books, now=lambda: NOON)
    fleet.planes.append(plane)
    w = fleet.world(plane, root=BUDGET)
    hold = w.hold(USD)
    await w.reserve(hold)
    spooled(plane, hold)
    with running_redis() as other, fleet.server.client() as client:
        address.unlink()
        address.symlink_to(other.socket)
        client.replicaof("127.0.0.1", str(other.port))
        try:
            with pytest.raises(Unavailable, match="READONLY"):
                await w.check(USD)
            # The old connection still answers, and would go on refusing.
            assert isinstance(await w.check(USD), Admitted)
            assert await w.fill("budget_limits.total") == (0, 2 * USD)
        finally:
            client.replicaof("NO", "ONE")
            await plane.close()
            fleet.planes.remove(plane)


async def test_a_slot_on_its_way_to_another_node_is_counted_on_by_neither(
    redis_cluster: RedisCluster,
) -> None:
    redis_cluster.flush()
    plane = Plane(redis_cluster.url, now=lambda: NOON)
    w = World(plane.counters, IdSource("boot"), suffix=".root", root=BUDGET)
    for _ in range(2):
        hold = w.hold(USD)
        await w.reserve(hold)
        spooled(plane, hold)
    before = await w.money()
    clients = [node.client() for node in redis_cluster.nodes]
    slot = clients[0].cluster("KEYSLOT", prefix_of("root"))
    source = next(each for each in clients if each.cluster("GETKEYSINSLOT", slot, 1))
    target, port = next(
        (each, node.port)
        for each, node in zip(clients, redis_cluster.nodes, strict=True)
        if each is not source
    )
    target.cluster("SETSLOT", slot, "IMPORTING", source.cluster("MYID"))
    source.cluster("SETSLOT", slot, "MIGRATING", target.cluster("MYID"))
    names = sorted(source.cluster("GETKEYSINSLOT", slot, 1000))
    try:
        for some in ([], names[::2], names[1::2]):
            for name in some:
                source.execute_command("MIGRATE", "127.0.0.1", port, name, 0, 30_000)
            with pytest.raises(Unavailable, match=r"budget_limits.total.*Root"):
                await w.check(USD)
            assert is_away(plane)
            held = {name for each in clients for name in each.cluster("GETKEYSINSLOT", slot, 1000)}
            assert held == set(names), "nothing was written anywhere"
    finally:
        for each in (target, source, *clients):
            each.cluster("SETSLOT", slot, "NODE", target.cluster("MYID"))
    assert await w.money() == before == ((0, 2 * USD),) * 3
    assert isinstance(await w.check(USD), Admitted)
    assert not is_away(plane)
    await plane.close()
    for each in clients:
        each.close()
