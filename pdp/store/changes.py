"""The change counter and the log of changes in SQL.

Every change of a key bumps one row in its own transaction. Writers queue on
that row, so numbers become visible in their order and none is lost.
"""

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa
from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncConnection

from pdp.store.database import insert_into
from pdp.store.schema import changes, revision

_LOCK: Final = 0x7064_7002
"""Number of PostgreSQL's advisory lock that one writer at a time has."""
KEEP = 100_000
"""How many changes a watcher may lag behind before it has to start afresh."""


class Changes(Struct, frozen=True):
    """What changed up to `revision`. `complete` is False where the log no longer reaches back."""

    revision: int
    key_ids: tuple[str, ...] = ()
    secret_hashes: tuple[bytes, ...] = ()
    complete: bool = True


async def bump(connection: AsyncConnection) -> int:
    """Take the next number; it belongs to this transaction."""
    statement = (
        insert_into(connection, revision)
        .values(id=1, number=1)
        .on_conflict_do_update(index_elements=["id"], set_={"number": revision.c.number + 1})
        .returning(revision.c.number)
    )
    number: int = (await connection.execute(statement)).scalar_one()
    return number


async def lock(connection: AsyncConnection) -> None:
    """Keep other changes out until the end of this transaction, without taking a number yet."""
    # SQLite has one writer at a time. A row could not be locked before the first change.
    if connection.dialect.name == "postgresql":
        await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")


async def note(
    connection: AsyncConnection,
    number: int,
    key_ids: Sequence[str],
    secret_hash: bytes | None = None,
) -> None:
    """Log which keys changed; `secret_hash` is that of a secret made for the first of them."""
    rows = [
        {"number": number, "key_id": key_id, "secret_hash": secret_hash if not index else None}
        for index, key_id in enumerate(key_ids)
    ]
    await connection.execute(sa.insert(changes), rows)
    await connection.execute(sa.delete(changes).where(changes.c.number <= number - KEEP))


async def current(connection: AsyncConnection) -> int:
    """Return the number of the last change, 0 before the first."""
    found = await connection.execute(sa.select(revision.c.number))
    return found.scalar_one_or_none() or 0


async def since(connection: AsyncConnection, after: int) -> Changes:
    """Return what changed after a number."""
    now = await current(connection)
    if after == now:
        return Changes(now)
    oldest = (await connection.execute(sa.select(sa.func.min(changes.c.number)))).scalar_one()
    if after > now or oldest is None or after + 1 < oldest:
        return Changes(now, complete=False)
    rows = await connection.execute(
        sa.select(changes.c.key_id, changes.c.secret_hash)
        .where(changes.c.number > after)
        .order_by(changes.c.number)
    )
    found = rows.all()
    return Changes(
        now,
        tuple(dict.fromkeys(row.key_id for row in found)),
        tuple(row.secret_hash for row in found if row.secret_hash is not None),
    )
