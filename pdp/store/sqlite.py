"""SQLite: the embedded database, in a file of its own."""

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
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from pdp.errors import Conflict, StartRefused

_BUSY_TIMEOUT_MS = 5_000


def default_url(data_dir: Path) -> str:
    """Return the address of the embedded database."""
    return f"sqlite+aiosqlite:///{data_dir.absolute() / 'pdp.db'}"


class Sqlite:
    """A database in a file. Raises `StartRefused` for an address that is none.

    Writing takes the write lock at once: a read that turned into a write later
    could find that the database has moved on.
    """

    patience = None
    begin_reading = "BEGIN"
    begin_writing = "BEGIN IMMEDIATE"

    def __init__(self, url: URL) -> None:
        if _is_no_file(url):
            raise StartRefused("PDP_DATABASE_URL: needs a file: use `sqlite:////path/to/pdp.db`")
        self.place = url.database or ""
        self.engine = self.reader = create_async_engine(
            url.set(drivername="sqlite+aiosqlite"), connect_args={"async_creator_fn": _connected}
        )
        event.listen(self.engine.sync_engine, "connect", _prepare)

    @contextlib.asynccontextmanager
    async def migrating(self) -> AsyncIterator[AsyncConnection]:
        """Give a connection in a transaction beside which nobody else migrates.

        SQLite changes a table by making it anew; while the old one is dropped, what
        refers to it is not looked at, but at the end.
        """
        async with self.engine.connect() as connection:
            await connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
            try:
                await connection.exec_driver_sql(self.begin_writing)
                yield connection
                broken = (await connection.exec_driver_sql("PRAGMA foreign_key_check")).first()
                if broken is not None:
                    raise Conflict(f"table `{broken[0]}` refers to rows that are not there")
                await connection.commit()
            finally:
                await connection.rollback()
                await connection.exec_driver_sql("PRAGMA foreign_keys = ON")

    def explained(self, reason: str) -> str:
        """Return a reason in better words, where SQLite's own mislead."""
        if "disk I/O error" in reason and _is_full(Path(self.place).parent):
            return "no space left on device"  # SQLite does not say so of its -shm file.
        return reason


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


def _prepare(connection: Any, _record: object) -> None:
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
    """Tell whether a disk has no room."""
    try:
        return os.statvfs(folder).f_bavail == 0
    except OSError:
        return False
