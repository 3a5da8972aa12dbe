"""Migrations: from nothing to the schema, once, and never from a future."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import AsyncConnection

from pdp.errors import StartRefused
from pdp.store.database import Database, default_url
from pdp.store.migrate import config_of, migrate, refusal_of
from pdp.store.revision import NEWEST
from pdp.store.schema import metadata

HEAD = NEWEST


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    made = Database(default_url(tmp_path))
    yield made
    await made.close()


def schema_of(path: Path) -> list[tuple[Any, ...]]:
    """Return every table and index as SQLite wrote it down."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall()


def details_of(path: Path) -> dict[str, list[list[Any]]]:
    """Return the columns, with types and defaults, indexes and foreign keys of every table."""
    pragmas = ("table_xinfo", "index_list", "foreign_key_list")
    with closing(sqlite3.connect(path)) as connection:
        return {
            name: [
                sorted(row[1:] for row in connection.execute(f"PRAGMA {pragma}({name})"))
                for pragma in pragmas
            ]
            for name in metadata.tables
        }


def set_revision(path: Path, revision: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        connection.commit()


async def differences(connection: AsyncConnection) -> list[Any]:
    """Return what Alembic would change to come from the database to the schema."""

    def compare(sync: sa.Connection) -> list[Any]:
        context = MigrationContext.configure(sync, opts={"compare_type": True})
        return list(compare_metadata(context, metadata))

    return await connection.run_sync(compare)


async def test_a_fresh_database_gets_every_table(database: Database, tmp_path: Path) -> None:
    assert await migrate(database) == (None, HEAD)
    tables = {name for kind, name, _ in schema_of(tmp_path / "pdp.db") if kind == "table"}
    assert tables == {*metadata.tables, "alembic_version"}


async def test_migrations_and_schema_do_not_differ(database: Database) -> None:
    await migrate(database)
    async with database.reading() as connection:
        assert await differences(connection) == []


async def test_migrations_and_schema_have_the_same_defaults_too(
    database: Database, tmp_path: Path
) -> None:
    await migrate(database)
    other = tmp_path / "schema.db"
    engine = sa.create_engine(f"sqlite:///{other}")
    metadata.create_all(engine)
    engine.dispose()
    assert details_of(tmp_path / "pdp.db") == details_of(other)


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE meta ADD COLUMN more TEXT",
        "ALTER TABLE api_keys DROP COLUMN description",
        "DROP TABLE usage_daily",
        "DROP INDEX ix_audit_request_id",
        "CREATE TABLE other (id INTEGER)",
    ],
)
async def test_a_difference_would_be_seen(database: Database, change: str) -> None:
    await migrate(database)
    async with database.writing() as connection:
        await connection.exec_driver_sql(change)
        assert await differences(connection) != []


async def test_the_way_down_leaves_nothing_and_the_way_up_is_the_same_again(
    database: Database, tmp_path: Path
) -> None:
    await migrate(database)
    before = schema_of(tmp_path / "pdp.db")
    async with database.writing() as connection:
        await connection.run_sync(lambda sync: command.downgrade(config_of(sync), "base"))
    assert {name for _, name, _ in schema_of(tmp_path / "pdp.db")} <= {
        "alembic_version",
        "sqlite_autoindex_alembic_version_1",
    }
    assert await migrate(database) == (None, HEAD)
    assert sorted(map(str, schema_of(tmp_path / "pdp.db"))) == sorted(map(str, before))


def test_the_newest_revision_is_the_last_migration() -> None:
    assert ScriptDirectory.from_config(config_of()).get_current_head() == NEWEST


async def test_an_older_revision_is_told_how_to_become_newer(database: Database) -> None:
    assert str(refusal_of(database, "0001")).endswith("run `pdp migrate` first")
    assert str(refusal_of(database, "f00dfeed")).endswith("or a newer one")


async def test_where_there_is_nothing_to_do_no_writer_is_waited_for(database: Database) -> None:
    await migrate(database)
    async with database.writing():
        assert await migrate(database) == (HEAD, HEAD)


async def test_a_second_upgrade_changes_nothing(database: Database, tmp_path: Path) -> None:
    await migrate(database)
    async with database.writing() as connection:
        await connection.exec_driver_sql("INSERT INTO meta VALUES ('name', 'value')")
    before = schema_of(tmp_path / "pdp.db")
    assert await migrate(database) == (HEAD, HEAD)
    assert schema_of(tmp_path / "pdp.db") == before
    async with database.reading() as connection:
        kept = await connection.exec_driver_sql("SELECT name, value FROM meta")
        assert [tuple(row) for row in kept] == [("name", "value")]


async def test_upgrades_at_once_wait_for_each_other(tmp_path: Path) -> None:
    databases = [Database(default_url(tmp_path)) for _ in range(4)]
    try:
        found = await asyncio.gather(*map(migrate, databases))
    finally:
        for each in databases:
            await each.close()
    assert sorted(found, key=str) == [(HEAD, HEAD)] * 3 + [(None, HEAD)]


@pytest.mark.parametrize("lock", ["IMMEDIATE", "EXCLUSIVE"])
async def test_a_new_database_that_another_program_uses_is_waited_for(
    database: Database, tmp_path: Path, lock: str
) -> None:
    with closing(sqlite3.connect(tmp_path / "pdp.db", isolation_level=None)) as other:
        other.execute("CREATE TABLE other (id INTEGER)")
        other.execute(f"BEGIN {lock}")
        waiting = asyncio.create_task(migrate(database))
        done, _ = await asyncio.wait([waiting], timeout=0.2)
        assert not done
        other.execute("COMMIT")
        assert await waiting == (None, HEAD)


async def test_a_database_from_the_future_is_refused_in_one_line_and_left_alone(
    database: Database, tmp_path: Path
) -> None:
    await migrate(database)
    path = tmp_path / "pdp.db"
    set_revision(path, "f00dfeed")
    before = schema_of(path)
    with pytest.raises(StartRefused, match="at revision f00dfeed, which this version") as caught:
        await migrate(database)
    assert str(caught.value).startswith("PDP_DATABASE_URL: ")
    assert "\n" not in str(caught.value)
    assert schema_of(path) == before


async def test_a_file_that_is_no_database_is_refused_in_one_line_and_left_alone(
    database: Database, tmp_path: Path
) -> None:
    path = tmp_path / "pdp.db"
    path.write_bytes(b"this is my diary\n" * 100)
    with pytest.raises(StartRefused, match=r"PDP_DATABASE_URL: .*not a database") as caught:
        await migrate(database)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == b"this is my diary\n" * 100


async def test_a_folder_that_is_not_there_is_refused_in_one_line(tmp_path: Path) -> None:
    database = Database(default_url(tmp_path / "nowhere"))
    try:
        with pytest.raises(StartRefused, match=r"PDP_DATABASE_URL: .*nowhere/pdp.db`: ") as caught:
            await migrate(database)
    finally:
        await database.close()
    assert "\n" not in str(caught.value)


async def test_an_upgrade_that_fails_leaves_the_database_as_it_was(
    database: Database, tmp_path: Path
) -> None:
    path = tmp_path / "pdp.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE spools (mine TEXT)")
    before = schema_of(path)
    with pytest.raises(StartRefused, match="table spools already exists"):
        await migrate(database)
    assert schema_of(path) == before
