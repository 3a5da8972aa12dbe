"""A request that is sent again does its work once: `Idempotency-Key`, for a day."""

from typing import Final

from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncConnection

from pdp.control.access import Actor
from pdp.errors import Conflict
from pdp.store import idempotency as store
from pdp.wording import shown

_DAY: Final = 86_400 * 1_000_000_000


class Once(Struct, frozen=True):
    """The client's name for a request, and what tells another request under that name."""

    key: str
    fingerprint: bytes


async def begun(connection: AsyncConnection, actor: Actor, once: Once | None, now: int) -> str:
    """Return the id of the key that this request has made or changed before; empty: it is new.

    Raises `Conflict` for another request under the same name.
    """
    if once is None:
        return ""
    known = await store.claim(
        connection, actor.key_id, once.key, once.fingerprint, now, forget=now - _DAY
    )
    if known is None:
        return ""
    if known.fingerprint != once.fingerprint:
        raise Conflict(
            f"Idempotency-Key {shown(once.key)} was used for another request: use a new one"
        )
    return known.target_key_id


async def done(connection: AsyncConnection, actor: Actor, once: Once | None, key_id: str) -> None:
    """Note which key the request was about."""
    if once is not None:
        await store.settle(connection, actor.key_id, once.key, key_id)
