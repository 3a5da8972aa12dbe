"""What data planes ask of the ledger where Redis has lost its counters."""

from collections.abc import AsyncIterator, Mapping, Sequence

from pdp.spend import SpendRow
from pdp.store import spend
from pdp.store.database import Database


async def spend_below(
    database: Database, root_key_id: str, now: int
) -> AsyncIterator[Mapping[str, int] | Sequence[SpendRow]]:
    """Yield how far each spool is in the ledger, then the sums of a root's keys, of one moment.

    `now` in seconds. Raises `Unavailable` when SQL does not answer.
    """
    async with database.reading() as connection:
        yield await spend.spools_in(connection)
        async for rows in spend.rows_below(connection, root_key_id, now):
            yield rows


async def settled_among(database: Database, decision_ids: Sequence[str]) -> Sequence[str]:
    """Return those of some decisions whose outcome is known. Raises `Unavailable`."""
    async with database.reading() as connection:
        return await spend.settled_among(connection, decision_ids)
