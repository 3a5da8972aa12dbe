"""What holds for all tests."""

from collections.abc import Iterator

import pytest

from tests.examples import load_profile
from tests.postgres import Postgres, running_postgres
from tests.redis import RedisCluster, RedisServer, running_cluster, running_redis
from tests.store import PostgresStore, SqliteStore, Store

load_profile()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server for all tests that want databases of it."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    """A Redis server for all tests that want counters; each forgets what was there."""
    with running_redis() as server:
        yield server


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[RedisCluster]:
    """A Redis Cluster of three nodes."""
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def sqlite_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Databases of SQLite."""
    return SqliteStore(tmp_path_factory.mktemp("sqlite"))


@pytest.fixture(scope="session")
def postgresql_store(postgres: Postgres) -> Store:
    """Databases of PostgreSQL."""
    return PostgresStore(postgres)


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest) -> Store:
    """Databases of each kind: what uses the control plane's SQL runs on both."""
    found: Store = request.getfixturevalue(f"{request.param}_store")
    return found
