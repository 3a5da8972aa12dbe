"""PostgreSQL: a database of its own, that may be away, be restarted, or hang."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

import asyncpg
from sqlalchemy import event
from sqlalchemy.engine import URL
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from pdp.store.schema import name_partial_indices

name_partial_indices()

CONNECTIONS: Final = 10
"""How many a process has at most: those who write queue for each other anyway."""

_MIGRATION_LOCK: Final = 0x7064_7001
_IDLE_IN_TRANSACTION: Final = "60s"
_RECYCLE: Final = 1800


class Postgresql:
    """A server's database. No answer within `patience` seconds is an `OSError`.

    Writing has row locks: who reads what it is going to change locks it first.
    """

    begin_reading = begin_writing = None  # The driver begins with the first statement.

    def __init__(self, url: URL, patience: float) -> None:
        self._url = url
        self.patience = patience
        host = url.host or url.query.get("host") or "localhost"
        self.place = f"{host}:{url.port or url.query.get('port') or 5432}/{url.database or ''}"
        self.engine = self._engine(
            patience,
            pool_size=CONNECTIONS,
            max_overflow=0,
            pool_timeout=patience,
            pool_recycle=_RECYCLE,
        )
        event.listen(self.engine.sync_engine, "checkout", _refuse_broken)
        self.reader = self.engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )

    @contextlib.asynccontextmanager
    async def migrating(self) -> AsyncIterator[AsyncConnection]:
        """Give a connection in a transaction beside which nobody else migrates.

        Its statements take as long as they take.
        """
        engine = self._engine(None, poolclass=NullPool)
        try:
            async with engine.begin() as connection:
                lock = f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"
                await connection.exec_driver_sql(lock)
                yield connection
        finally:
            await engine.dispose()

    def explained(self, reason: str) -> str:
        """Return the reason: PostgreSQL's words are good."""
        return reason

    def _engine(self, command_timeout: float | None, **options: Any) -> AsyncEngine:
        # The driver reads the address itself: it knows `sslmode` and all else that libpq does.
        address = self._url.set(drivername="postgresql").render_as_string(hide_password=False)

        async def connected(*_arguments: Any, **_options: Any) -> Any:
            return await asyncpg.connect(
                address,
                timeout=self.patience,
                command_timeout=command_timeout,
                server_settings={
                    "application_name": "pdp",
                    # A process that is cut off must not keep its locks.
                    "idle_in_transaction_session_timeout": _IDLE_IN_TRANSACTION,
                },
            )

        return create_async_engine(
            self._url.set(drivername="postgresql+asyncpg", query={}),
            connect_args={"async_creator_fn": connected},
            **options,
        )


def _refuse_broken(connection: Any, _record: object, _proxy: object) -> None:
    """Have new connections made where the server has closed this one: it was restarted.

    A question to the server would tell as well, and cost three ways there and back.
    """
    if connection.driver_connection.is_closed():
        raise InvalidatePoolError
