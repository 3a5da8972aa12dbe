"""The connection to SQL: one engine a process, library errors translated on the way out."""

import asyncio
import contextlib
import os
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiosqlite
from sqlalchemy import event
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from pdp.errors import StartRefused, Unavailable

_BUSY_TIMEOUT_MS = 5_000


def default_url(data_dir: Path) -> str:
    """Return the address of the embedded database."""
    return f"sqlite+aiosqlite:///{data_dir.absolute() / 'pdp.db'}"


class Database:
    """Opens transactions. Raises `Unavailable` when SQL does not answer.

    `setting` is what the address comes from, for messages.
    """

    def __init__(self, url: str, setting: str = "PDP_DATABASE_URL") -> None:
        self._engine = _make_engine(url)
        self._setting = setting

    @property
    def path(self) -> Path:
        """The file that the database is in."""
        return Path(self._engine.url.database or "")

    def refusal(self, reason: str) -> StartRefused:
        """Return what to raise where the database cannot be used."""
        if "disk I/O error" in reason and _is_full(self.path.parent):
            reason = "no space left on device"  # SQLite does not say so of its -shm file.
        return StartRefused(f"{self._setting}: `{self.path}`: {reason}")

    @property
    def engine(self) -> AsyncEngine:
        """The engine, for migrations."""
        return self._engine

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """Give a connection in a transaction that commits at the end.

        It takes the write lock at once: a read that turned into a write later
        could find that the database has moved on.
        """
        with _translated():
            async with self._engine.begin() as connection:
                if connection.dialect.name == "sqlite":
                    await connection.exec_driver_sql("BEGIN IMMEDIATE")
                yield connection

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Give a connection in a transaction that sees one state."""
        with _translated():
            async with self._engine.begin() as connection:
                if connection.dialect.name == "sqlite":
                    await connection.exec_driver_sql("BEGIN")
                yield connection

    async def close(self) -> None:
        """Close all connections."""
        await self._engine.dispose()


class _translated:  # noqa: N801  A context manager reads as a verb.
    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, SQLAlchemyError):
            raise Unavailable(f"the database does not answer: {reason_of(error)}") from error


def reason_of(error: SQLAlchemyError) -> str:
    """Return a library error in one line, without statement and parameters."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    return str(cause).partition("\n")[0][:200]


def insert_into(connection: AsyncConnection, table: Any) -> Any:
    """Return an INSERT that can say ON CONFLICT; both dialects spell it alike."""
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql  # noqa: PLC0415  30 ms and 3 MB.

        return postgresql.insert(table)
    return sqlite.insert(table)


def _make_engine(url: str) -> AsyncEngine:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise StartRefused("PDP_DATABASE_URL: not a database address") from error
    if parsed.get_backend_name() != "sqlite":
        raise StartRefused("PDP_DATABASE_URL: only SQLite is supported by this version")
    if _is_no_file(parsed):
        raise StartRefused("PDP_DATABASE_URL: needs a file: use `sqlite:////path/to/pdp.db`")
    if parsed.get_driver_name() != "aiosqlite":
        parsed = parsed.set(drivername="sqlite+aiosqlite")
    try:
        engine = create_async_engine(parsed, connect_args={"async_creator_fn": _connected})
    except (ArgumentError, NoSuchModuleError) as error:
        raise StartRefused("PDP_DATABASE_URL: not a database address") from error
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    return engine


def _is_no_file(url: URL) -> bool:
    """Tell whether a database of SQLite would be gone with the process, or is a URI to SQLite."""
    name = url.database or ":memory:"
    return name.startswith((":memory:", "file:")) or "uri" in url.query


async def _connected(name: str, **options: Any) -> aiosqlite.Connection:
    immutable = _is_immutable(Path(name))
    if immutable:
        name, options = f"{Path(name).as_uri()}?immutable=1", {**options, "uri": True}
    else:
        _make_private(Path(name))
    connection = aiosqlite.connect(name, **options)
    thread = connection._thread  # noqa: SLF001  As SQLAlchemy does where it makes the connection.
    thread.daemon = True
    try:
        await connection
        if not immutable:
            await _use_wal(connection)
    except BaseException:
        await connection.close()
        # The thread is ending, but not without a word to the event loop: a command
        # that has closed the loop by then would show a traceback.
        thread.join()
        raise
    return connection


def _is_immutable(path: Path) -> bool:
    """Tell whether nobody can write: then SQLite must not look for the files it writes to.

    With a WAL beside it, somebody elsewhere can.
    """
    try:
        read_only = os.statvfs(path).f_flag & os.ST_RDONLY
        return bool(read_only) and not path.with_name(f"{path.name}-wal").exists()
    except OSError:
        return False


def _make_private(path: Path) -> None:
    """Make a file that is for its owner alone; SQLite gives the ones beside it the same rights."""
    # What cannot be made, SQLite says.
    with contextlib.suppress(OSError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


async def _use_wal(connection: aiosqlite.Connection) -> None:
    """Switch a new database to WAL; where another connection is at it, wait for that.

    SQLite does not wait by itself here: the switch asks for a lock in a way that could
    deadlock.
    """
    end = time.monotonic() + _BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            await connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            await asyncio.sleep(0.01)
        else:
            return


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # Transactions are begun by hand (see `writing`), not by the driver's guess.
    connection.isolation_level = None
    cursor = connection.cursor()
    try:
        cursor.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
        # What Ingest has acknowledged may be dropped from the spool: it must
        # survive a power cut too, and with WAL only FULL promises that.
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
    finally:
        cursor.close()


def _is_full(folder: Path) -> bool:
    try:
        return os.statvfs(folder).f_bavail == 0
    except OSError:
        return False
