"""Transactions, and errors of SQL in our words."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from pdp.errors import StartRefused, Unavailable
from pdp.store.database import Database, default_url
from pdp.store.migrate import migrate
from pdp.store.organizations import remember


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    made = Database(default_url(tmp_path))
    await migrate(made)
    yield made
    await made.close()


async def names(database: Database) -> list[str]:
    async with database.reading() as connection:
        return list((await connection.exec_driver_sql("SELECT name FROM meta")).scalars())


async def test_what_was_written_is_there_after_an_exception_only_if_it_was_committed(
    database: Database,
) -> None:
    async def fail() -> None:
        async with database.writing() as connection:
            await remember(connection, "lost", "x")
            raise ZeroDivisionError

    async with database.writing() as connection:
        await remember(connection, "kept", "x")
    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await names(database) == ["kept"]


async def test_a_reader_sees_one_state_while_another_writes(database: Database) -> None:
    async with database.reading() as reader:
        before = list((await reader.exec_driver_sql("SELECT name FROM meta")).scalars())
        async with database.writing() as writer:
            await remember(writer, "new", "x")
        after = list((await reader.exec_driver_sql("SELECT name FROM meta")).scalars())
    assert before == after == []
    assert await names(database) == ["new"]


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


async def test_a_fact_is_remembered_once(database: Database) -> None:
    async with database.writing() as connection:
        assert await remember(connection, "pepper", "first") == "first"
        assert await remember(connection, "pepper", "second") == "first"


async def test_what_is_acknowledged_survives_a_power_cut(database: Database) -> None:
    async with database.reading() as connection:
        for name, value in (("synchronous", 2), ("journal_mode", "wal"), ("foreign_keys", 1)):
            found = await connection.exec_driver_sql(f"PRAGMA {name}")
            assert found.scalar_one() == value


async def test_an_error_of_sql_is_one_line_without_statement_and_values(
    database: Database,
) -> None:
    with pytest.raises(Unavailable, match="the database does not answer: no such table") as caught:
        async with database.reading() as connection:
            await connection.exec_driver_sql("SELECT 'secret' FROM nowhere")
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


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


@pytest.mark.parametrize(
    "url",
    [
        "",
        "no url",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///file:x?mode=memory&uri=true",
        "sqlite+nothing://x",
        "postgresql://nobody@127.0.0.1:1/x",
        "mysql://x/y",
    ],
)
def test_an_address_that_is_not_for_us_is_refused_in_one_line(url: str) -> None:
    with pytest.raises(StartRefused, match="PDP_DATABASE_URL: ") as caught:
        Database(url)
    assert "\n" not in str(caught.value)


async def test_a_plain_sqlite_address_will_do(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/other.db")
    try:
        assert (await migrate(database))[0] is None
        assert await names(database) == []
    finally:
        await database.close()
