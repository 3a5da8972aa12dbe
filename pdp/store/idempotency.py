"""Requests that were done already, by the key that asked and the name it gave them."""

import sqlalchemy as sa
from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncConnection

from pdp.store.database import insert_into
from pdp.store.schema import idempotency


class Known(Struct, frozen=True):
    """A request that came before."""

    fingerprint: bytes
    target_key_id: str


async def claim(
    connection: AsyncConnection,
    actor_key_id: str,
    name: str,
    fingerprint: bytes,
    now: int,
    *,
    forget: int,
) -> Known | None:
    """Take a name for a new request; return what has it already. Older than `forget` is gone.

    Another transaction that is about to take it is waited for.
    """
    await connection.execute(sa.delete(idempotency).where(idempotency.c.created_at < forget))
    statement = insert_into(connection, idempotency).values(
        actor_key_id=actor_key_id,
        name=name,
        fingerprint=fingerprint,
        target_key_id="",
        created_at=now,
    )
    taken = await connection.execute(
        statement.on_conflict_do_nothing().returning(idempotency.c.name)
    )
    if taken.scalar_one_or_none() is not None:
        return None
    found = await connection.execute(
        sa.select(idempotency.c.fingerprint, idempotency.c.target_key_id).where(
            idempotency.c.actor_key_id == actor_key_id, idempotency.c.name == name
        )
    )
    return Known(*found.one())


async def settle(
    connection: AsyncConnection, actor_key_id: str, name: str, target_key_id: str
) -> None:
    """Note which key the request was about."""
    await connection.execute(
        sa.update(idempotency)
        .where(idempotency.c.actor_key_id == actor_key_id, idempotency.c.name == name)
        .values(target_key_id=target_key_id)
    )
