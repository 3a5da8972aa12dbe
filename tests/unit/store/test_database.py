"""Transactions, and errors of SQL in our words."""

from collections.abc import AsyncIterator

import pytest

from pdp.errors import Conflict, StartRefused, Unavailable
from pdp.store.database import Database
from pdp.store.migrate import migrate
from pdp.store.organizations import Organization, insert_organization, remember
from tests.store import Store


@pytest.fixture
async def database(store: Store) -> AsyncIterator[Database]:
    async with store.empty() as url:
        made = Database(url)
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


async def test_a_fact_is_remembered_once(database: Database) -> None:
    async with database.writing() as connection:
        assert await remember(connection, "pepper", "first") == "first"
        assert await remember(connection, "pepper", "second") == "first"


async def test_an_error_of_sql_is_one_line_without_statement_and_values(
    database: Database,
) -> None:
    with pytest.raises(
        Unavailable, match=r"^the database does not answer: .*(no such table|does not exist)"
    ) as caught:
        async with database.reading() as connection:
            await connection.exec_driver_sql("SELECT 'secret' FROM nowhere")
    for word in ("secret", "\n", "asyncpg"):
        assert word not in str(caught.value)


async def add_organization(database: Database, name: str, created_at: int = 0) -> None:
    async with database.writing() as connection:
        await insert_organization(connection, Organization("org", name, "UTC", created_at))


async def test_what_is_there_already_is_a_conflict_and_no_outage(database: Database) -> None:
    await add_organization(database, "first")
    with pytest.raises(Conflict, match=r"^the database refuses: (?i:.*unique)") as caught:
        await add_organization(database, "secret")
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "created_at"), [("secret", 2**63), ("secret", -(2**70)), ("secret \ud800", 0)]
)
async def test_a_value_that_cannot_be_stored_is_a_conflict_and_no_outage(
    database: Database, name: str, created_at: int
) -> None:
    with pytest.raises(Conflict, match=r"^the database refuses: a value") as caught:
        await add_organization(database, name, created_at)
    assert "secret" not in str(caught.value)
    await add_organization(database, "goes on")


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
        "postgresql+psycopg2://nobody@127.0.0.1/x",
        "postgresql://nobody:secret@127.0.0.1:secret/x",
        "mysql://x/y",
    ],
)
def test_an_address_that_is_not_for_us_is_refused_in_one_line(url: str) -> None:
    with pytest.raises(StartRefused, match="PDP_DATABASE_URL: ") as caught:
        Database(url)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
