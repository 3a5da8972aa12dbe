"""What only a server does: it is away, comes back, hangs, and lets several in at once."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from pdp.errors import StartRefused, Unavailable
from pdp.store.database import Database
from pdp.store.migrate import migrate
from pdp.store.organizations import remember
from tests.postgres import Postgres, running_postgres
from tests.stack import eventually_async
from tests.store import Store


@pytest.fixture
async def url(postgresql_store: Store) -> AsyncIterator[str]:
    async with postgresql_store.empty() as made:
        yield made


@pytest.fixture(scope="module")
def own() -> Iterator[Postgres]:
    """A server that may be stopped."""
    with running_postgres() as server:
        yield server


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg"])
async def test_every_spelling_of_an_address_will_do(postgres: Postgres, scheme: str) -> None:
    url = postgres.url("postgres").replace("postgresql", scheme, 1)
    for address in (url, f"{url}?sslmode=prefer"):
        database = Database(address)
        async with database.reading() as connection:
            assert (await connection.exec_driver_sql("SELECT 1")).scalar_one() == 1
        await database.close()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("{port}", "1"), "127.0.0.1:1/postgres`: .*"),
        (("{password}", "not-the-password"), "password authentication failed"),
        (("/postgres", "/nowhere"), 'nowhere`: .*database "nowhere" does not exist'),
        (("127.0.0.1", "no-such-host.invalid"), "no-such-host.invalid:"),
        (("/postgres", "/postgres?sslmode=require"), "SSL"),
        (("/postgres", "/postgres?sslmode=perhaps"), "sslmode"),
        (("/postgres", "/postgres?colour=red"), "colour"),
    ],
)
async def test_an_address_where_nobody_opens_is_refused_in_one_line_without_its_password(
    postgres: Postgres, change: tuple[str, str], words: str
) -> None:
    before = change[0].format(port=postgres.port, password=postgres.password)
    database = Database(postgres.url("postgres").replace(before, change[1]))
    with pytest.raises(StartRefused, match=rf"^PDP_DATABASE_URL: `.*{words}") as caught:
        await migrate(database)
    await database.close()
    for word in ("\n", postgres.password, "not-the-password"):
        assert word not in str(caught.value)


async def ask(database: Database) -> None:
    async with database.reading() as connection:
        await connection.exec_driver_sql("SELECT 1")


async def test_a_server_that_is_away_is_used_again_when_it_is_back(own: Postgres) -> None:
    database = Database(own.url("postgres"))
    await asyncio.gather(ask(database), ask(database))
    own.stop()
    try:
        for _ in range(3):
            with pytest.raises(Unavailable, match="the database does not answer: "):
                await ask(database)
    finally:
        own.start()
    await asyncio.gather(ask(database), ask(database), ask(database))
    await database.close()


async def test_a_server_that_was_restarted_between_two_uses_costs_no_error(own: Postgres) -> None:
    database = Database(own.url("postgres"))
    await asyncio.gather(ask(database), ask(database))
    own.stop()
    own.start()
    # The loop hears that the lines are closed, as it does when it has nothing else to do.
    await (await asyncpg.connect(own.url("postgres"))).close()
    await asyncio.gather(ask(database), ask(database))
    await database.close()


async def test_a_server_that_hangs_is_waited_for_so_long_and_then_used_again(
    own: Postgres,
) -> None:
    database = Database(own.url("postgres"), patience=1.0)

    async def answers() -> bool:
        with contextlib.suppress(Unavailable):  # A busy machine may take as long.
            await ask(database)
            return True
        return False

    await eventually_async(answers, "it answers")
    own.freeze()
    try:
        for _ in range(2):  # On a connection that is there, and on a new one.
            begun = time.monotonic()
            with pytest.raises(Unavailable, match="no answer in time"):
                async with database.writing() as connection:
                    await connection.exec_driver_sql("SELECT 1")
            assert time.monotonic() - begun < 30
    finally:
        own.thaw()
    await eventually_async(answers, "it answers again")
    await database.close()


async def test_a_statement_that_takes_too_long_is_given_up(postgres: Postgres) -> None:
    database = Database(postgres.url("postgres"), patience=1.0)
    with pytest.raises(Unavailable, match="no answer in time"):
        async with database.writing() as connection:
            await connection.exec_driver_sql("SELECT pg_sleep(60)")
    await database.close()


async def test_who_finds_every_connection_in_use_waits_so_long(url: str) -> None:
    database = Database(url, patience=0.5)
    database._backend.patience = 60  # type: ignore[misc]  # To connect, on a busy machine.
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(10):
            await stack.enter_async_context(database.reading())
        with pytest.raises(Unavailable, match="the database does not answer: "):
            async with database.reading():
                pass
    async with database.reading():
        pass
    await database.close()


async def test_who_only_reads_cannot_write(url: str) -> None:
    database = Database(url)
    await migrate(database)
    with pytest.raises(Unavailable, match="read-only transaction"):
        async with database.reading() as connection:
            await remember(connection, "x", "y")
    await database.close()


async def test_a_migration_may_take_longer_than_a_statement(url: str) -> None:
    database = Database(url, patience=1.0)

    async def migrates() -> bool:
        with contextlib.suppress(Unavailable):  # A busy machine may take as long to connect.
            async with database.migrating() as connection:
                await connection.exec_driver_sql("SELECT pg_sleep(1.2)")
                return True
        return False

    await eventually_async(migrates, "it takes its time")
    await database.close()
