"""Two control planes on one PostgreSQL: a change at one is known at the data planes of both.

How soon: `python -m bench.revoke`.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator

import grpc
import pytest
import sqlalchemy as sa

from pdp.store.database import Database
from pdp.store.schema import data_planes
from tests.plant import Plant, reasons
from tests.postgres import Postgres
from tests.redis import RedisServer
from tests.stack import eventually_async


@pytest.fixture(scope="module")
def plant(
    postgres: Postgres, redis: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Plant]:
    redis.flush()  # What other tests hold there would run out here, and be shipped.
    asyncio.run(postgres.make("two-control-planes"))
    made = Plant(tmp_path_factory.mktemp("two"), postgres.url("two-control-planes"), redis.url)
    try:
        made.start()
        yield made
    finally:
        made.stop()
        asyncio.run(postgres.drop("two-control-planes"))


@pytest.fixture
async def channels(plant: Plant) -> AsyncIterator[list[grpc.aio.Channel]]:
    lines = plant.channels()
    yield lines
    for line in lines:
        await line.close(None)


async def told(channels: list[grpc.aio.Channel], secret: str, reason: str) -> None:
    async def everywhere() -> bool:
        return await reasons(channels, secret) == {reason}

    await eventually_async(everywhere, reason)


async def test_each_data_plane_is_known_to_both(plant: Plant, postgres: Postgres) -> None:
    """How it is used: tests/unit/control/test_registry.py."""
    database = Database(postgres.url("two-control-planes"))

    async def all_are_there() -> bool:
        async with database.reading() as connection:
            found = await connection.execute(sa.select(data_planes))
            rows = {row.spool_id: (row.control_plane, row.counters) for row in found}
        at = [rows.get((each.data_dir / "spool" / "spool_id").read_text()) for each in plant.data]
        first, second, third = (each or ("", "") for each in at)
        return first == second != third and first[1] == third[1] != ""

    await eventually_async(all_are_there, "each has a row, by its control plane")
    await database.close()


async def test_deleted_keys_are_denied_everywhere(
    plant: Plant, channels: list[grpc.aio.Channel]
) -> None:
    made = [plant.ask(n % 2, "POST", "", json={"name": f"k{n}"}) for n in range(10)]
    for key in made:
        await told(channels, key["api_key"], "ok")
    for number, key in enumerate(made):
        plant.ask(number // 5, "DELETE", f"/{key['id']}")
    for key in made:
        await told(channels, key["api_key"], "key_revoked")


async def test_every_kind_of_change_by_one_control_plane_reaches_the_other_s_data_planes(
    plant: Plant, channels: list[grpc.aio.Channel]
) -> None:
    key = plant.ask(0, "POST", "", json={"name": "changing"})
    path, secret = f"/{key['id']}", key["api_key"]
    await told(channels, secret, "ok")
    plant.ask(1, "POST", f"{path}/suspend")
    await told(channels, secret, "key_suspended")
    plant.ask(0, "POST", f"{path}/resume")
    await told(channels, secret, "ok")
    plant.ask(1, "PATCH", path, json={"permissions": {"models": ["gpt-4"]}})
    await told(channels, secret, "model_not_allowed")
    plant.ask(0, "PATCH", path, json={"permissions": None})
    await told(channels, secret, "ok")
    rotated = plant.ask(1, "POST", f"{path}/rotate", json={})
    await told(channels, rotated["api_key"], "ok")
    await told(channels, secret, "key_revoked")
    plant.ask(0, "POST", f"{path}/report-compromised", json={"reason": "seen"})
    await told(channels, rotated["api_key"], "key_suspended")
