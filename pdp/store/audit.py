"""Reading the audit log."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncConnection

from pdp.store.schema import audit
from pdp.store.text import is_storable


class AuditFilter(Struct, frozen=True):
    """Which entries; None: any. `before` is the (at, decision_id) of the last one seen."""

    organization_id: str
    key_id: str | None = None
    status: str | None = None
    action: str | None = None
    model: str | None = None
    provider: str | None = None
    request_id: str | None = None
    before: tuple[int, str] | None = None
    limit: int = 100


async def read(connection: AsyncConnection, wanted: AuditFilter) -> list[Mapping[str, Any]]:
    """Return rows, newest first."""
    query = sa.select(audit).where(audit.c.organization_id == wanted.organization_id)
    for name in ("key_id", "status", "action", "model", "provider", "request_id"):
        value = getattr(wanted, name)
        if value is not None:
            if not is_storable(value):
                return []
            query = query.where(audit.c[name] == value)
    if wanted.before is not None:
        query = query.where(sa.tuple_(audit.c.at, audit.c.decision_id) < wanted.before)
    query = query.order_by(audit.c.at.desc(), audit.c.decision_id.desc()).limit(wanted.limit)
    return [dict(row) for row in (await connection.execute(query)).mappings()]
