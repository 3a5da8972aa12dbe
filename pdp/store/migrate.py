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


async def migrate(database: Database) -> tuple[str | None, str]:
    """Migrate to the newest schema; return (revision before, revision now).

    Raises `StartRefused` with one line when the database cannot be used. Two
    processes at once are fine: the second waits for the write lock.
    """
    try:
        async with database.engine.begin() as connection:
            if connection.dialect.name == "sqlite":
                await connection.exec_driver_sql("BEGIN IMMEDIATE")
            return await connection.run_sync(_migrate)
    except SQLAlchemyError as error:
        name = database.engine.url.database
        raise StartRefused(f"PDP_DATABASE_URL: `{name}`: {reason_of(error)}") from error
    except OSError as error:
        raise StartRefused(f"PDP_DATABASE_URL: {error}") from error


def config_of(connection: Connection | None = None) -> Config:
    """Return Alembic's configuration; there is no file for it."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config


def _migrate(connection: Connection) -> tuple[str | None, str]:
    config = config_of(connection)
    scripts = ScriptDirectory.from_config(config)
    newest = scripts.get_current_head() or ""
    before = MigrationContext.configure(connection).get_current_revision()
    if before is not None and before not in {each.revision for each in scripts.walk_revisions()}:
        raise StartRefused(
            f"PDP_DATABASE_URL: the database is at revision {before}, which this version does "
            "not know: use the version that made it, or a newer one"
        )
    if before != newest:
        command.upgrade(config, "head")
    return before, newest
