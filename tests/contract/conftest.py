"""Every backend of the `Counters` port; a new one is added here and nowhere else."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from pdp.counters.memory import MemoryCounters
from pdp.counters.seen import SqliteSeen
from pdp.ids import IdSource
from tests.contract.world import NOON, World
from tests.counting import Plane
from tests.redis import RedisServer
from tests.store import Store
from tests.till import Till, opened_till
from tests.unit.control.desk import opened_desk

MakeWorld = Callable[..., World]


@pytest.fixture(params=["memory", "memory+file", "redis", "redis-cluster"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[MakeWorld]:
    """Make worlds over a fresh backend."""
    kind, ids = request.param, IdSource("boot")
    if kind.startswith("redis"):
        server = request.getfixturevalue(kind.replace("-", "_"))
        server.flush()
        plane = Plane(server.url, now=lambda: NOON)
        yield lambda **fields: World(plane.counters, ids, suffix=".root", **fields)
        await plane.close()
        return
    counters = MemoryCounters(SqliteSeen(tmp_path / "seen.db") if "file" in kind else None)
    yield lambda **fields: World(counters, ids, **fields)
    counters.seen.close()


@pytest.fixture
async def till(store: Store, redis: RedisServer) -> AsyncIterator[Till]:
    """One data plane's till over a database of each kind."""
    async with store.initialized() as url, opened_desk(url) as desk, opened_till(redis, desk) as it:
        yield it


@pytest.fixture
async def light_till(sqlite_store: Store, redis: RedisServer) -> AsyncIterator[Till]:
    """One for what has nothing to do with SQL."""
    async with (
        sqlite_store.initialized() as url,
        opened_desk(url) as desk,
        opened_till(redis, desk) as it,
    ):
        yield it
