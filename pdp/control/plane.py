"""The control plane, joined: what the CLI and the internal service work with."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from msgspec import Struct

from pdp.control.keys import Keys
from pdp.control.pepper import check_pepper
from pdp.errors import StartRefused, Unavailable
from pdp.pepper import load_pepper
from pdp.settings import Settings
from pdp.store.database import Database, default_url
from pdp.store.migrate import migrate


class ControlPlane(Struct, frozen=True):
    """A migrated database with the use cases over it."""

    database: Database
    pepper: bytes
    keys: Keys


def open_database(settings: Settings) -> Database:
    """Return the database of the settings; the data dir is made if it is to lie there."""
    if settings.database_url:
        return Database(settings.database_url)
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = (error.strerror or "cannot be used").lower()
        raise StartRefused(f"PDP_DATA_DIR: `{settings.data_dir}`: {reason}") from error
    return Database(default_url(settings.data_dir))


@asynccontextmanager
async def open_control(settings: Settings) -> AsyncIterator[ControlPlane]:
    """Open the control plane. Raises `StartRefused` with one line when that cannot be."""
    pepper = load_pepper(settings)
    database = open_database(settings)
    try:
        await migrate(database)
        try:
            await check_pepper(database, pepper)
        except Unavailable as error:
            raise StartRefused(f"PDP_DATABASE_URL: {error}") from error
        yield ControlPlane(database, pepper, Keys(database, pepper))
    finally:
        await database.close()
