"""Bring a database to the schema of this version."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from pdp.errors import StartRefused
from pdp.store.database import Database, reason_of
from pdp.store.revision import NEWEST, revision_of


async def migrate(database: Database) -> tuple[str | None, str]:
    """Migrate to the newest schema; return (revision before, revision now).

    Raises `StartRefused` with one line when the database cannot be used. Two
    processes at once are fine: the second waits for the write lock. Where there
    is nothing to do, nobody is waited for.
    """
    try:
        async with database.engine.connect() as connection:
            if (before := await revision_of(connection)) == NEWEST:
                return before, NEWEST
            await connection.rollback()
            if connection.dialect.name == "sqlite":
                await connection.exec_driver_sql("BEGIN IMMEDIATE")
            found = await connection.run_sync(_migrate, database)
            await connection.commit()
            return found
    except SQLAlchemyError as error:
        raise database.refusal(reason_of(error)) from error
    except OSError as error:
        raise database.refusal(str(error)) from error


def config_of(connection: Connection | None = None) -> Config:
    """Return Alembic's configuration; there is no file for it."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
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


def _migrate(connection: Connection, database: Database) -> tuple[str | None, str]:
    config = config_of(connection)
    before = MigrationContext.configure(connection).get_current_revision()
    known = {each.revision for each in ScriptDirectory.from_config(config).walk_revisions()}
    if before is not None and before not in known:
        raise refusal_of(database, before)
    if before != NEWEST:
        command.upgrade(config, "head")
    return before, NEWEST
