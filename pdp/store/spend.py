"""What keys have spent and hold, from the ledger's sums, as accounts of counters."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from pdp.counters.account import Account, Bucket, Total
from pdp.spend import SpendRow
from pdp.store.schema import api_keys, audit, key_spend, spools

_LOT: Final = 5000
_CHUNK: Final = 500
DAYS, MONTHS = 5 * 86400, 66 * 86400
"""Seconds for which a window that began is still counted in: a late report, a clock put back."""


async def accounts_in(
    connection: AsyncConnection, key_ids: Sequence[str], day: int, month: int
) -> list[Account]:
    """Return the accounts of keys in the windows that start at `day` and `month` (s).

    Rates are not in the ledger: theirs are untouched.
    """
    accounts = {
        key_id: Account(key_id, Bucket(day), Bucket(month), Total(), {}) for key_id in key_ids
    }
    query = sa.select(key_spend).where(
        key_spend.c.key_id.in_(key_ids), key_spend.c.start.in_((day, month, 0))
    )
    starts = {"day": day, "month": month, "total": 0}
    for row in (await connection.execute(query)).mappings():
        if starts[row["period"]] != row["start"]:
            continue
        bucket: Bucket = getattr(accounts[row["key_id"]], row["period"])
        bucket.spent, bucket.held = row["cost"], row["held_cost"]
        bucket.tokens_spent, bucket.tokens_held = row["tokens"], row["held_tokens"]
        if isinstance(bucket, Total):
            bucket.requests = row["requests"]
    return list(accounts.values())


async def spools_in(connection: AsyncConnection) -> dict[str, int]:
    """Return, by spool, the first record that is not in the ledger."""
    found = await connection.execute(sa.select(spools.c.spool_id, spools.c.next_sequence))
    return {row.spool_id: row.next_sequence for row in found}


async def rows_below(
    connection: AsyncConnection, root_key_id: str, now: int
) -> AsyncIterator[list[SpendRow]]:
    """Yield the sums of all keys of a root's organization that counters use at `now` (s)."""
    root = sa.select(api_keys.c.organization_id).where(api_keys.c.id == root_key_id)
    spend = key_spend.c
    query = (
        sa.select(spend.key_id, spend.period, spend.start, spend.cost, spend.tokens, spend.requests)
        .join(api_keys, api_keys.c.id == spend.key_id)
        .where(
            api_keys.c.organization_id == root.scalar_subquery(),
            sa.or_(
                spend.period == "total",
                sa.and_(spend.period == "day", spend.start > now - DAYS),
                sa.and_(spend.period == "month", spend.start > now - MONTHS),
            ),
        )
    )
    async with connection.stream(query) as found:
        async for lot in found.partitions(_LOT):
            yield [SpendRow(*row) for row in lot]


async def pending_below(
    connection: AsyncConnection, organization_id: str, after: int
) -> AsyncIterator[Sequence[Mapping[str, Any]]]:
    """Yield the entries of an organization that were allowed after `after` (ns) and are pending."""
    query = sa.select(audit).where(
        audit.c.organization_id == organization_id,
        audit.c.status == "pending",
        audit.c.at > after,
    )
    async with connection.stream(query) as found:
        async for lot in found.mappings().partitions(_LOT):
            yield [dict(row) for row in lot]


async def settled_among(connection: AsyncConnection, decision_ids: Sequence[str]) -> list[str]:
    """Return those of some decisions that are in the ledger and not pending."""
    found: list[str] = []
    for start in range(0, len(decision_ids), _CHUNK):
        query = sa.select(audit.c.decision_id).where(
            audit.c.decision_id.in_(decision_ids[start : start + _CHUNK]),
            audit.c.status != "pending",
        )
        found += (await connection.execute(query)).scalars()
    return found
