"""Reading the ledger's sums."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from pdp.store.schema import api_keys, key_spend, usage_daily

SUMS: Final = ("requests", "prompt_tokens", "completion_tokens", "cached_tokens", "cost")
GROUPS: Final[Mapping[str, Any]] = {
    "day": usage_daily.c.day,
    "model": usage_daily.c.model,
    "provider": usage_daily.c.provider,
    "key": api_keys.c.id,
    "team": api_keys.c.team_id,
    "user": api_keys.c.user_id,
}


async def spend_of_keys(
    connection: AsyncConnection, organization_id: str, windows: Mapping[str, int]
) -> Sequence[sa.RowMapping]:
    """Return a row a key and window, oldest key first; without spend one row of nulls.

    `windows`: where each period's current one starts (s).
    """
    current = sa.or_(
        *(
            sa.and_(key_spend.c.period == period, key_spend.c.start == start)
            for period, start in windows.items()
        )
    )
    query = (
        sa.select(api_keys.c.id, api_keys.c.name, api_keys.c.parent_key_id, key_spend)
        .outerjoin(key_spend, sa.and_(key_spend.c.key_id == api_keys.c.id, current))
        .where(api_keys.c.organization_id == organization_id)
        .order_by(api_keys.c.created_at, api_keys.c.id)
    )
    return (await connection.execute(query)).mappings().all()


async def usage_of_groups(
    connection: AsyncConnection, organization_id: str, group: str
) -> Sequence[sa.RowMapping]:
    """Return a row for each value of one of `GROUPS`: it, as `group`, and `SUMS`."""
    column = GROUPS[group]
    sums = [sa.func.sum(usage_daily.c[name]).label(name) for name in SUMS]
    query = (
        sa.select(column.label("group"), *sums)
        .join(api_keys, api_keys.c.id == usage_daily.c.key_id)
        .where(api_keys.c.organization_id == organization_id)
        .group_by(column)
        .order_by(column)
    )
    return (await connection.execute(query)).mappings().all()
