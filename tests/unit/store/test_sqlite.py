"""What only a file of SQLite does."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from pdp.errors import Unavailable
from pdp.store.database import Database
from pdp.store.migrate import migrate
from pdp.store.organizations import remember
from pdp.store.sqlite import default_url
from tests.unit.store.test_database import names


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    made = Database(default_url(tmp_path))
    await migrate(made)
    yield made
    await made.close()


async def test_writers_queue_and_lose_nothing(database: Database) -> None:
    async with database.writing() as connection:
        await remember(connection, "count", "0")

    async def add() -> None:
        async with database.writing() as connection:
            read = await connection.exec_driver_sql("SELECT value FROM meta")
            number = int(read.scalar_one()) + 1
            await connection.exec_driver_sql("UPDATE meta SET value = ?", (str(number),))

    await asyncio.gather(*(add() for _ in range(20)))
    async with database.reading() as connection:
        assert await remember(connection, "count", "never") == "20"


async def test_what_is_acknowledged_survives_a_power_cut(database: Database) -> None:
    async with database.reading() as connection:
        for name, value in (("synchronous", 2), ("journal_mode", "wal"), ("foreign_keys", 1)):
            found = await connection.exec_driver_sql(f"PRAGMA {name}")
            assert found.scalar_one() == value


async def test_a_locked_database_is_away_and_comes_back(database: Database, tmp_path: Path) -> None:
    async with database.reading() as connection:
        await connection.exec_driver_sql("PRAGMA busy_timeout = 1")
    with closing(sqlite3.connect(tmp_path / "pdp.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="locked"):
            async with database.writing() as connection:
                await remember(connection, "x", "x")
    async with database.writing() as connection:
        await remember(connection, "y", "y")
    assert await names(database) == ["y"]


async def test_a_plain_sqlite_address_will_do(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/other.db")
    try:
        assert (await migrate(database))[0] is None
        assert await names(database) == []
    finally:
        await database.close()
