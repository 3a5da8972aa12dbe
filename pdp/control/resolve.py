"""From a secret's hash, or a key's id, to everything that decides for it."""

from collections.abc import Mapping

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
        return await resolve_within(connection, secret_hash, key_id)


async def resolve_within(
    connection: AsyncConnection, secret_hash: bytes | None, key_id: str
) -> tuple[int, Resolved | None]:
    """As `resolve`, within a transaction that is open."""
    number = await changes.current(connection)
    secret = None
    if secret_hash is not None:
        secret = await store.get_secret(connection, secret_hash)
        if secret is None:
            return number, None
        key_id = secret.key_id
    rows = await store.with_ancestors(connection, key_id)
    if not rows:
        return number, None
    organization = await get_organization(connection, rows[key_id].organization_id)
    assert organization is not None, "a key has its organization"
    parents = _chain(rows, key_id, "parent_key_id")
    granters = _chain(rows, key_id, "granted_by")
    return number, Resolved(
        key_id=key_id,
        parents=parents,
        granters=granters,
        records=tuple(rows[each].record() for each in dict.fromkeys((*parents, *granters))),
        timezone=organization.timezone,
        revision=number,
        secret_expires_at=secret.expires_at if secret else None,
        secret_revoked=secret is not None and secret.revoked_at is not None,
    )


def _chain(rows: Mapping[str, store.KeyRow], key_id: str, upwards: str) -> tuple[str, ...]:
    """Return ids from a key up to its root, along `parent_key_id` or `granted_by`.

    Raises `Conflict` for a chain beyond the bound, or a circle: whoever went on
    without those above would leave out their limits.
    """
    found: list[str] = []
    above: str | None = key_id
    while above is not None:
        if len(found) == store.MOST_LEVELS:
            raise store.too_long(key_id)
        found.append(above)
        above = getattr(rows[above], upwards)
    return tuple(found)
