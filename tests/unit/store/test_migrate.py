"""Migrations: from nothing to the schema, once, and never from a future."""

import asyncio
import shutil
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

from pdp.control.price_book import PriceBook
from pdp.errors import Conflict, StartRefused
from pdp.store import data_planes
from pdp.store.database import Database
from pdp.store.migrate import SCRIPTS, config_of, migrate, refusal_of
from pdp.store.revision import NEWEST
from pdp.store.schema import idempotency, metadata
from pdp.store.sqlite import default_url
from tests.store import Store
from tests.unit.control.desk import NOON, Desk, denied, held, opened_desk, settled

HEAD = NEWEST


@pytest.fixture
async def url(store: Store) -> AsyncIterator[str]:
    async with store.empty() as made:
        yield made


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    made = Database(url)
    yield made
    await made.close()


@pytest.fixture
async def file(tmp_path: Path) -> AsyncIterator[Database]:
    """A database of SQLite that is `pdp.db` in the test's folder."""
    made = Database(default_url(tmp_path))
    yield made
    await made.close()


def schema_of(path: Path) -> list[tuple[Any, ...]]:
    """Return every table and index as SQLite wrote it down."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall()


async def shape(database: Database) -> dict[str, list[str]]:
    """Return the columns, with types and defaults, keys and indexes of every table."""

    def look(sync: sa.Connection) -> dict[str, list[str]]:
        found = sa.inspect(sync)
        return {
            name: sorted(
                repr(each)
                for each in (
                    *(
                        {**column, "type": str(column["type"])}
                        for column in found.get_columns(name)
                    ),
                    found.get_pk_constraint(name),
                    *found.get_foreign_keys(name),
                    *map(_plain, found.get_indexes(name)),
                )
            )
            for name in found.get_table_names()
        }

    async with database.reading() as connection:
        return await connection.run_sync(look)


def _plain(index: Any) -> dict[str, Any]:
    """Return an index with the condition of a partial one as text."""
    options = index.get("dialect_options") or {}
    return {**index, "dialect_options": {name: str(value) for name, value in options.items()}}


async def set_revision(database: Database, revision: str) -> None:
    async with database.writing() as connection:
        await connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{revision}'")


async def differences(connection: AsyncConnection) -> list[Any]:
    """Return what Alembic would change to come from the database to the schema."""

    def compare(sync: sa.Connection) -> list[Any]:
        context = MigrationContext.configure(sync, opts={"compare_type": True})
        return list(compare_metadata(context, metadata))

    return await connection.run_sync(compare)


async def test_a_fresh_database_gets_every_table(database: Database) -> None:
    assert await migrate(database) == (None, HEAD)
    assert set(await shape(database)) == {*metadata.tables, "alembic_version"}


async def test_migrations_and_schema_do_not_differ(database: Database) -> None:
    await migrate(database)
    async with database.reading() as connection:
        assert await differences(connection) == []


async def test_migrations_and_schema_have_the_same_defaults_too(
    database: Database, store: Store
) -> None:
    await migrate(database)
    async with store.empty() as url:
        other = Database(url)
        async with other.writing() as connection:
            await connection.run_sync(metadata.create_all)
        expected = await shape(other)
        await other.close()
    found = await shape(database)
    del found["alembic_version"]
    assert found == expected


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE meta ADD COLUMN more TEXT",
        "ALTER TABLE api_keys DROP COLUMN description",
        "DROP TABLE usage_daily",
        "DROP INDEX ix_audit_organization_id_audit_at",
        "CREATE TABLE other (id INTEGER)",
    ],
)
async def test_a_difference_would_be_seen(database: Database, change: str) -> None:
    await migrate(database)
    async with database.writing() as connection:
        await connection.exec_driver_sql(change)
        assert await differences(connection) != []


async def test_the_way_down_leaves_nothing_and_the_way_up_is_the_same_again(
    store: Store,
) -> None:
    async with store.initialized() as url, opened_desk(url) as desk:
        await fill(desk)
        before = await shape(desk.database)
        async with desk.database.writing() as connection:
            await connection.run_sync(lambda sync: command.downgrade(config_of(sync), "base"))
        assert set(await shape(desk.database)) == {"alembic_version"}
        assert await migrate(desk.database) == (None, HEAD)
        assert await shape(desk.database) == before


async def fill(desk: Desk) -> None:
    """Put something into every table."""
    await desk.create(key_type="team", team_id="a")
    made = await desk.create(key_type="user", team_id="a", user_id="u")
    hold = held("d1", chain=(made["id"], desk.root.key_id), team_id="a", user_id="u")
    await desk.take(hold, settled(hold), denied("d2"))
    async with desk.database.writing() as connection:
        request = {"actor_key_id": "a", "name": "b", "fingerprint": b"c", "target_key_id": "d"}
        await connection.execute(sa.insert(idempotency).values(**request, created_at=NOON))
        await data_planes.put(connection, "control", "spool", "")
    body = {"provider": "openai", "model": "gpt-*", "prompt": 1, "completion": 2}
    await PriceBook(desk.database).add(desk.actor, body, NOON)
    assert all((await desk.dump()).values())


async def test_the_way_to_the_oldest_revision_and_back_keeps_keys_and_ledger(
    store: Store,
) -> None:
    async with store.initialized() as url, opened_desk(url) as desk:
        await fill(desk)
        data, before = await desk.dump(), await shape(desk.database)
        assert await migrate(desk.database, "0001") == (HEAD, "0001")
        assert await migrate(desk.database) == ("0001", HEAD)
        assert await shape(desk.database) == before
        assert await desk.dump() == data | {"idempotency": [], "prices": [], "data_planes": []}


NEXT = f"""
import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{HEAD}"

def upgrade():
    with op.batch_alter_table("api_keys") as table:
        table.add_column(sa.Column("colour", sa.String(8), nullable=False, server_default="red"))
        table.create_index("ix_colour", ["colour"])

def downgrade():
    with op.batch_alter_table("api_keys") as table:
        table.drop_index("ix_colour")
        table.drop_column("colour")
"""


async def test_data_stays_on_the_way_up_and_down(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = tmp_path / "migrations"
    shutil.copytree(SCRIPTS, scripts)
    (scripts / "versions" / "9999.py").write_text(NEXT)
    monkeypatch.setattr("pdp.store.migrate.SCRIPTS", scripts)
    async with store.initialized() as url, opened_desk(url) as desk:
        await fill(desk)
        data, before = await desk.dump(), await shape(desk.database)
        assert await migrate(desk.database, "9999") == (HEAD, "9999")
        async with desk.database.reading() as connection:
            found = await connection.exec_driver_sql("SELECT DISTINCT colour FROM api_keys")
            assert found.scalar_one() == "red"
        assert await desk.dump() == data
        assert await migrate(desk.database) == ("9999", HEAD)
        assert await shape(desk.database) == before
        assert await desk.dump() == data


async def test_a_migration_that_leaves_a_key_without_its_parent_is_undone(tmp_path: Path) -> None:
    url = default_url(tmp_path)
    async with opened_desk(url) as desk:
        await desk.create()
        before = await desk.dump()
        with pytest.raises(Conflict, match="table `api_keys` refers to rows that are not there"):
            async with desk.database.migrating() as connection:
                await connection.exec_driver_sql("DELETE FROM organizations")
        assert await desk.dump() == before
        with pytest.raises(Conflict, match="FOREIGN KEY"):
            async with desk.database.writing() as connection:
                await connection.exec_driver_sql("DELETE FROM organizations")


@pytest.mark.parametrize("revision", ["base", "9999", "head", "", "0001x"])
async def test_a_revision_that_is_none_is_refused_with_those_that_are(
    database: Database, revision: str
) -> None:
    await migrate(database)
    before = await shape(database)
    with pytest.raises(
        StartRefused,
        match=f"^there is no revision `{revision}`: use one of 0001, .*, {NEWEST}$",
    ):
        await migrate(database, revision)
    assert await shape(database) == before


def test_the_newest_revision_is_the_last_migration() -> None:
    assert ScriptDirectory.from_config(config_of()).get_current_head() == NEWEST


async def test_an_older_revision_is_told_how_to_become_newer(database: Database) -> None:
    assert str(refusal_of(database, "0001")).endswith("run `pdp migrate` first")
    assert str(refusal_of(database, "f00dfeed")).endswith("or a newer one")


async def test_where_there_is_nothing_to_do_no_writer_is_waited_for(database: Database) -> None:
    await migrate(database)
    async with database.writing():
        assert await migrate(database) == (HEAD, HEAD)


async def test_a_second_upgrade_changes_nothing(database: Database) -> None:
    await migrate(database)
    async with database.writing() as connection:
        await connection.exec_driver_sql("INSERT INTO meta VALUES ('name', 'value')")
    before = await shape(database)
    assert await migrate(database) == (HEAD, HEAD)
    assert await shape(database) == before
    async with database.reading() as connection:
        kept = await connection.exec_driver_sql("SELECT name, value FROM meta")
        assert [tuple(row) for row in kept] == [("name", "value")]


async def test_upgrades_at_once_wait_for_each_other(url: str) -> None:
    databases = [Database(url) for _ in range(4)]
    try:
        found = await asyncio.gather(*map(migrate, databases))
    finally:
        for each in databases:
            await each.close()
    assert sorted(found, key=str) == [(HEAD, HEAD)] * 3 + [(None, HEAD)]


@pytest.mark.parametrize("lock", ["IMMEDIATE", "EXCLUSIVE"])
async def test_a_new_database_that_another_program_uses_is_waited_for(
    file: Database, tmp_path: Path, lock: str
) -> None:
    with closing(sqlite3.connect(tmp_path / "pdp.db", isolation_level=None)) as other:
        other.execute("CREATE TABLE other (id INTEGER)")
        other.execute(f"BEGIN {lock}")
        waiting = asyncio.create_task(migrate(file))
        done, _ = await asyncio.wait([waiting], timeout=0.2)
        assert not done
        other.execute("COMMIT")
        assert await waiting == (None, HEAD)


async def test_a_database_from_the_future_is_refused_in_one_line_and_left_alone(
    database: Database,
) -> None:
    await migrate(database)
    await set_revision(database, "f00dfeed")
    before = await shape(database)
    with pytest.raises(StartRefused, match="at revision f00dfeed, which this version") as caught:
        await migrate(database)
    assert str(caught.value).startswith("PDP_DATABASE_URL: ")
    assert "\n" not in str(caught.value)
    assert await shape(database) == before


async def test_a_file_that_is_no_database_is_refused_in_one_line_and_left_alone(
    file: Database, tmp_path: Path
) -> None:
    path = tmp_path / "pdp.db"
    path.write_bytes(b"this is my diary\n" * 100)
    with pytest.raises(StartRefused, match=r"PDP_DATABASE_URL: .*not a database") as caught:
        await migrate(file)
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


async def test_an_upgrade_that_fails_leaves_the_database_as_it_was(database: Database) -> None:
    async with database.writing() as connection:
        await connection.exec_driver_sql("CREATE TABLE spools (mine TEXT)")
    before = await shape(database)
    with pytest.raises(StartRefused, match=r"(table|relation) \S*spools\S* already exists"):
        await migrate(database)
    assert await shape(database) == before
