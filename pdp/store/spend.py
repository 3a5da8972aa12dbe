"""What keys have spent and hold, from the ledger's sums, as accounts of counters."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from pdp.counters.account import Account, Bucket, Total
from pdp.store.schema import key_spend


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
