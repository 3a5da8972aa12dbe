"""The control plane, joined: what the CLI and the internal service work with."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct

from pdp.control.keys import Keys
from pdp.control.pepper import bound_fingerprint, check_pepper
from pdp.control.price_book import PriceBook
from pdp.datadir import make_data_dir
from pdp.errors import Conflict, NotFound, StartRefused, Unavailable
from pdp.pepper import check_has_own, load_pepper, make_pepper, pepper_file
from pdp.settings import Settings
from pdp.store.database import Database
from pdp.store.revision import NEWEST, revision_of
from pdp.store.sqlite import default_url


class ControlPlane(Struct, frozen=True):
    """A migrated database with the use cases over it."""

    database: Database
    pepper: bytes
    keys: Keys
    prices: PriceBook

    def __repr__(self) -> str:
        """Say nothing of the pepper: a repr may end up anywhere."""
        return f"ControlPlane(database={self.database.place!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """As `repr`: rich would look at the fields."""
        return [("database", self.database.place)]


def open_database(settings: Settings, *, make: bool) -> Database:
    """Return the database of the settings; with `make`, its data dir is made.

    Raises `StartRefused` for an address that is none, `NotFound` when there is
    no database and it is not to be made.
    """
    if settings.database_url:
        database = Database(settings.database_url.reveal())
    else:
        if make:
            make_data_dir(settings.data_dir)
        database = Database(default_url(settings.data_dir), "PDP_DATA_DIR")
    if not make and settings.is_embedded:
        try:
            Path(database.place).stat()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFound(
                f"there is no database `{database.place}`: run `pdp init` first"
            ) from error
        except OSError as error:
            raise database.refusal((error.strerror or "cannot be used").lower()) from error
    return database


@asynccontextmanager
async def open_control(settings: Settings, *, make: bool = True) -> AsyncIterator[ControlPlane]:
    """Open the control plane; with `make`, what it needs is made and migrated.

    Without, nothing is written before it is used: readers work beside a writer
    and on a disk that cannot be written. Raises `StartRefused` or `NotFound`
    with one line when that cannot be.
    """
    database = open_database(settings, make=make)
    try:
        check_has_own(settings)
        revision, bound = await _look(database)
        if make:
            if bound is None:
                make_pepper(settings)
        elif bound is None:
            raise NotFound("there is no organization: run `pdp init` first")
        elif revision != NEWEST:
            raise _outdated(database, revision or "")
        pepper = load_pepper(settings)
        if bound is not None:
            file = "" if settings.key_pepper else str(pepper_file(settings))
            check_pepper(bound, pepper, file)
        if revision != NEWEST:
            await _migrate(database)
        yield ControlPlane(database, pepper, Keys(database, pepper), PriceBook(database))
    finally:
        await database.close()


async def _look(database: Database) -> tuple[str | None, str | None]:
    """Return (revision, fingerprint of the pepper that keys were made with)."""
    try:
        async with database.reading() as connection:
            revision = await revision_of(connection)
            return revision, None if revision is None else await bound_fingerprint(connection)
    except (Unavailable, Conflict) as error:
        raise database.refusal(str(error)) from error


# Alembic takes long to import, and nearly always there is nothing for it to do.


def _outdated(database: Database, revision: str) -> StartRefused:
    from pdp.store.migrate import refusal_of  # noqa: PLC0415

    return refusal_of(database, revision)


async def _migrate(database: Database) -> None:
    from pdp.store.migrate import migrate  # noqa: PLC0415

    await migrate(database)
