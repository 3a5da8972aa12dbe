"""Changes of keys and their secrets in SQL."""

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from pdp.store.keys import KeyRow, SecretRow, columns_of
from pdp.store.schema import api_keys, secrets


async def update_key(connection: AsyncConnection, row: KeyRow) -> None:
    """Store a key that is there already, but for `last_used_at`: see `touch_keys`."""
    values = columns_of(row)
    # Another transaction may have set it since the row was read.
    del values["last_used_at"]
    # SQLite would look through all keys for those that refer to an id which is set.
    del values["id"]
    await connection.execute(sa.update(api_keys).where(api_keys.c.id == row.id).values(**values))


async def live_secrets(connection: AsyncConnection, key_id: str, now: int) -> list[SecretRow]:
    """Return a key's secrets that are not dead at `now`, newest first."""
    query = (
        sa.select(secrets)
        .where(
            secrets.c.key_id == key_id,
            secrets.c.revoked_at.is_(None),
            sa.or_(secrets.c.expires_at.is_(None), secrets.c.expires_at > now),
        )
        .order_by(secrets.c.created_at.desc(), secrets.c.hash)
    )
    return [SecretRow(**row) for row in (await connection.execute(query)).mappings()]


async def end_secret(connection: AsyncConnection, secret: SecretRow, at: int) -> None:
    """Have a secret die at `at` (ns), or when it does already if that is sooner."""
    if secret.expires_at is None or secret.expires_at > at:
        await connection.execute(
            sa.update(secrets).where(secrets.c.hash == secret.hash).values(expires_at=at)
        )


_TOUCH = (
    sa.update(api_keys)
    .where(
        api_keys.c.id == sa.bindparam("key_id"),
        sa.func.coalesce(api_keys.c.last_used_at, 0) < sa.bindparam("at"),
    )
    .values(last_used_at=sa.bindparam("at"))
)


async def touch_keys(connection: AsyncConnection, used: dict[str, int]) -> None:
    """Note when keys were used last (ns by key id), where that is news.

    That is no change of a key: it gets no new version, and nobody is told.
    """
    if used:
        # In one order everywhere, so that two writers cannot lock each other out.
        rows = [{"key_id": key_id, "at": at} for key_id, at in sorted(used.items())]
        await connection.execute(_TOUCH, rows)
