"""From a secret's hash, or a key's id, to everything that decides for it."""

from sqlalchemy.ext.asyncio import AsyncConnection

from pdp.model import Resolved
from pdp.store import changes
from pdp.store import keys as store
from pdp.store.database import Database
from pdp.store.organizations import get_organization


async def resolve(
    database: Database, secret_hash: bytes | None, key_id: str
) -> tuple[int, Resolved | None]:
    """Return (revision, the key with its chains; None if there is none), of one moment."""
    async with database.reading() as connection:
        number = await changes.current(connection)
        secret = None
        if secret_hash is not None:
            secret = await store.get_secret(connection, secret_hash)
            if secret is None:
                return number, None
            key_id = secret.key_id
        parents = await store.chain(connection, key_id, "parent_key_id")
        if not parents:
            return number, None
        return number, await _resolved(connection, secret, key_id, parents, number)


async def _resolved(
    connection: AsyncConnection,
    secret: store.SecretRow | None,
    key_id: str,
    parents: list[str],
    number: int,
) -> Resolved:
    granters = await store.chain(connection, key_id, "granted_by")
    rows = await store.get_keys(connection, list(dict.fromkeys((*parents, *granters))))
    organization = await get_organization(connection, rows[key_id].organization_id)
    assert organization is not None, "a key has its organization"
    return Resolved(
        key_id=key_id,
        parents=tuple(parents),
        granters=tuple(granters),
        records=tuple(row.record() for row in rows.values()),
        timezone=organization.timezone,
        revision=number,
        secret_expires_at=secret.expires_at if secret else None,
        secret_revoked=secret is not None and secret.revoked_at is not None,
    )
