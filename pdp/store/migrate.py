"""Bring a database to the schema of this version."""

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from pdp.errors import Conflict, StartRefused, Unavailable
from pdp.store.database import Database
from pdp.store.revision import NEWEST, revision_of

SCRIPTS: Final = Path(__file__).parent / "migrations"


async def migrate(database: Database, to: str = NEWEST) -> tuple[str | None, str]:
    """Migrate to a revision; return (revision before, revision now).

    Raises `StartRefused` with one line when the database cannot be used, or
    knows no such revision. Two processes at once are fine: the second waits for
    the first. Where there is nothing to do, nobody is waited for.
    """
    try:
        async with database.reading() as connection:
            if (before := await revision_of(connection)) == to:
                return before, to
        async with database.migrating() as connection:
            return await connection.run_sync(_migrate, database, to)
    except (Unavailable, Conflict) as error:
        raise database.refusal(str(error)) from error


async def check_newest(database: Database) -> None:
    """Raise `StartRefused` unless the database has the schema of this version."""
    try:
        async with database.reading() as connection:
            revision = await revision_of(connection)
    except (Unavailable, Conflict) as error:
        raise database.refusal(str(error)) from error
    if revision is None:
        raise database.refusal("has no schema yet: run `pdp migrate` first")
    if revision != NEWEST:
        raise refusal_of(database, revision)


def config_of(connection: Connection | None = None) -> Config:
    """Return Alembic's configuration; there is no file for it."""
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    config.attributes["connection"] = connection
    return config


def refusal_of(database: Database, revision: str) -> StartRefused:
    """Return what to raise where another revision than the newest cannot be used."""
    known = ScriptDirectory.from_config(config_of()).walk_revisions()
    if revision in {each.revision for each in known}:
        return database.refusal(f"at revision {revision}, not {NEWEST}: run `pdp migrate` first")
    return database.refusal(
        f"at revision {revision}, which this version does not know: use the version that made "
        "it, or a newer one"
    )


def _migrate(connection: Connection, database: Database, to: str) -> tuple[str | None, str]:
    config = config_of(connection)
    before = MigrationContext.configure(connection).get_current_revision()
    # Newest first.
    known = [each.revision for each in ScriptDirectory.from_config(config).walk_revisions()]
    if before is not None and before not in known:
        raise refusal_of(database, before)
    if to not in known:
        raise StartRefused(f"there is no revision `{to}`: use one of {', '.join(reversed(known))}")
    if before is None or known.index(to) < known.index(before):
        command.upgrade(config, to)
    elif before != to:
        command.downgrade(config, to)
    return before, to
