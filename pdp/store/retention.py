"""Deleting old entries of the audit log, a few at a time."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from pdp.store.audit import Position
from pdp.store.schema import audit, organizations


async def organization_ids(connection: AsyncConnection) -> list[str]:
    """Return the organizations that entries can be of; one that nobody could name is ''."""
    found = await connection.execute(sa.select(organizations.c.id).order_by(organizations.c.id))
    return ["", *found.scalars()]


async def delete_some(
    connection: AsyncConnection,
    organization_id: str,
    before: int,
    expired_before: int,
    after: Position | None,
    limit: int,
) -> tuple[int, Position | None]:
    """Delete what is done and older than `before` (ns) of the oldest `limit` entries.

    Pending ones stay, and expired ones until `expired_before`. Returns how many are
    gone, and the position after which to go on; None: that was all.
    """
    found = await _oldest(connection, organization_id, before, after, limit)
    gone = [
        row.decision_id
        for row in found
        if row.status != "pending" and (row.status != "expired" or row.at < expired_before)
    ]
    if gone:
        await connection.execute(sa.delete(audit).where(audit.c.decision_id.in_(gone)))
    last = found[-1] if len(found) == limit else None
    return len(gone), None if last is None else (last.at, last.decision_id)


async def _oldest(
    connection: AsyncConnection,
    organization_id: str,
    before: int,
    after: Position | None,
    limit: int,
) -> Sequence[Any]:
    query = sa.select(audit.c.at, audit.c.decision_id, audit.c.status).where(
        audit.c.organization_id == organization_id, audit.c.at < before
    )
    if after is not None:
        at, decision_id = after
        query = query.where(
            audit.c.at >= at, sa.or_(audit.c.at > at, audit.c.decision_id > decision_id)
        )
    query = query.order_by(audit.c.at, audit.c.decision_id).limit(limit)
    return (await connection.execute(query)).all()
