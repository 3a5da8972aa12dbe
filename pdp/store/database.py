"""The connection to SQL: one engine a process, library errors translated on the way out."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final, Protocol

from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from pdp.errors import StartRefused
from pdp.store.sqlite import Sqlite
from pdp.store.trouble import translated

PATIENCE: Final = 10.0
"""Seconds that a server may take to connect, and for each statement."""

_SQLITE = ("sqlite", "sqlite+aiosqlite")
_POSTGRESQL = ("postgresql", "postgres", "postgresql+asyncpg")


class Backend(Protocol):
    """What a kind of database does its own way."""

    place: str
    """Where it is, for people; no credentials."""
    engine: AsyncEngine
    reader: AsyncEngine
    """The same connections; a transaction sees one state."""

    @property
    def patience(self) -> float | None:
        """Seconds to wait for it."""
        ...

    @property
    def begin_reading(self) -> str | None:
        """What begins a transaction, unless the driver does."""
        ...

    @property
    def begin_writing(self) -> str | None:
        """The same for one that writes."""
        ...

    def migrating(self) -> contextlib.AbstractAsyncContextManager[AsyncConnection]:
        """Give a connection in a transaction beside which nobody else migrates."""
        ...

    def explained(self, reason: str) -> str:
        """Return why it cannot be used in better words, where there are some."""
        ...


class Database:
    """Opens transactions. Raises `Unavailable` when SQL does not answer, `Conflict` for a refusal.

    `setting` is what the address comes from, for messages; `patience` in seconds.
    Raises `StartRefused` for an address that is none.
    """

    def __init__(
        self, url: str, setting: str = "PDP_DATABASE_URL", *, patience: float = PATIENCE
    ) -> None:
        self._backend = _backend(url, patience)
        self._setting = setting
        self.changed = asyncio.Event()
        """Set when a change of keys has been committed here: nobody need poll for it."""

    @property
    def place(self) -> str:
        """Where the database is, for people: a path, or host, port and name."""
        return self._backend.place

    def refusal(self, reason: str) -> StartRefused:
        """Return what to raise where the database cannot be used."""
        reason = self._backend.explained(reason)
        return StartRefused(f"{self._setting}: `{self.place}`: {reason}")

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """Give a connection in a transaction that commits at the end."""
        backend = self._backend
        async with self._transaction(backend.engine, backend.begin_writing) as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Give a connection in a transaction that sees one state."""
        backend = self._backend
        async with self._transaction(backend.reader, backend.begin_reading) as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def migrating(self) -> AsyncIterator[AsyncConnection]:
        """Give a connection in a transaction beside which nobody else migrates."""
        with translated():
            async with self._backend.migrating() as connection:
                yield connection

    async def close(self) -> None:
        """Close all connections."""
        await self._backend.engine.dispose()

    @contextlib.asynccontextmanager
    async def _transaction(
        self, engine: AsyncEngine, begin: str | None
    ) -> AsyncIterator[AsyncConnection]:
        patience = self._backend.patience
        with translated():
            connection = engine.connect()
            async with asyncio.timeout(patience):
                await connection.start()
            try:
                if begin is not None:
                    await connection.exec_driver_sql(begin)
                yield connection
                async with asyncio.timeout(patience):
                    await connection.commit()
            except OSError:
                # Nobody answers on this line: a rollback would wait there as well.
                await connection.invalidate()
                raise
            finally:
                async with asyncio.timeout(patience):
                    await connection.close()


def insert_into(connection: AsyncConnection, table: Any) -> Any:
    """Return an INSERT that can say ON CONFLICT; both dialects spell it alike."""
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql  # noqa: PLC0415  30 ms and 3 MB.

        return postgresql.insert(table)
    return sqlite.insert(table)


def _backend(text: str, patience: float) -> Backend:
    url = _parsed(text)
    if url.drivername in _SQLITE:
        return Sqlite(url)
    if url.drivername in _POSTGRESQL:
        # Imported late: a command on the embedded database has no use for its driver.
        from pdp.store.postgresql import Postgresql  # noqa: PLC0415

        return Postgresql(url, patience)
    raise StartRefused(f"PDP_DATABASE_URL: neither SQLite nor PostgreSQL: {_USE}")


def _parsed(text: str) -> URL:
    try:
        return make_url(text)
    except (ArgumentError, ValueError) as error:
        raise StartRefused(f"PDP_DATABASE_URL: not a database address: {_USE}") from error


_USE = "use `sqlite:////path/to/pdp.db` or `postgresql://user:password@host/db`"
