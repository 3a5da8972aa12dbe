"""At which revision a database is. Without Alembic, which takes long to import."""

from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

NEWEST: Final = "0008"
"""The schema of this version."""


async def revision_of(connection: AsyncConnection) -> str | None:
    """Return the revision of a database, None if it has no schema yet."""
    if not await connection.run_sync(lambda sync: sa.inspect(sync).has_table("alembic_version")):
        return None
    found = await connection.exec_driver_sql("SELECT version_num FROM alembic_version")
    revision: str | None = found.scalar_one_or_none()
    return revision
