"""Data planes that count in one Redis."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.counting import Fleet
from tests.redis import RedisServer, running_redis


@pytest.fixture(scope="module")
def own_redis() -> Iterator[RedisServer]:
    """A server to be mistreated; what it has acknowledged it has when it starts again."""
    with running_redis("--appendonly", "yes", "--appendfsync", "always") as server:
        yield server


@pytest.fixture
def server(redis: RedisServer) -> RedisServer:
    """The server of `fleet`; a module that mistreats it puts its own here."""
    return redis


@pytest.fixture
async def fleet(server: RedisServer) -> AsyncIterator[Fleet]:
    """Data planes, once they are asked for; Redis has forgotten all before."""
    server.flush()
    fleet = Fleet(server)
    yield fleet
    for plane in fleet.planes:
        await plane.close()
