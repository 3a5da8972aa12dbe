"""What data planes ask of the ledger where Redis has lost its counters."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from pdp.quota.calendar import Calendar
from pdp.quota.hold import Hold, Window
from pdp.spend import Lot
from pdp.store import spend
from pdp.store.database import Database
from pdp.store.keys import get_keys
from pdp.store.organizations import organization_of

_SECOND: Final = 1_000_000_000
LONGEST_HELD: Final = 49 * 3600
"""Seconds: what has been pending for longer is no data plane's any more."""


async def spend_below(
    database: Database, root_key_id: str, now: int
) -> AsyncIterator[Mapping[str, int] | Lot]:
    """Yield how far each spool is in the ledger, then the sums of a root's keys, of one moment.

    Last come the holds that are pending. `now` in seconds. Raises `Unavailable` when SQL does
    not answer.
    """
    async with database.reading() as connection:
        yield await spend.spools_in(connection)
        async for rows in spend.rows_below(connection, root_key_id, now):
            yield rows
        root = (await get_keys(connection, [root_key_id])).get(root_key_id)
        if root is None:
            return
        organization = await organization_of(connection, root.organization_id)
        after = (now - LONGEST_HELD) * _SECOND
        async for entries in spend.pending_below(connection, organization.id, after):
            own = [each for each in entries if is_of(root_key_id, each)]
            yield [hold_of(each, organization.calendar) for each in own]


def is_of(root_key_id: str, entry: Mapping[str, Any]) -> bool:
    """Tell whether an entry was held in Redis: then its reservation names the root."""
    return str(entry["reservation_id"]).endswith("." + root_key_id)


def hold_of(entry: Mapping[str, Any], calendar: Calendar) -> Hold:
    """Return what an entry tells of its hold; of its prompt, nothing: it counts as all of it."""
    at, cost, tokens = entry["at"], entry["held_cost"], entry["held_tokens"]
    day, month = calendar.day(at)[0], calendar.month(at)[0]
    return Hold(
        reservation_id=entry["reservation_id"],
        decision_id=entry["decision_id"],
        key_id=entry["key_id"],
        request_id=entry["request_id"],
        fingerprint=0,
        action=entry["action"],
        model=entry["model"],
        provider=entry["provider"],
        cost=cost,
        input_cost=cost,
        tokens=tokens,
        prompt_tokens=tokens,
        windows=tuple(
            Window(key_id, day, month) for key_id in msgspec.json.decode(entry["ancestors"])
        ),
        admitted_at=at,
        expires_at=at,
    )


async def settled_among(database: Database, decision_ids: Sequence[str]) -> Sequence[str]:
    """Return those of some decisions whose outcome is known. Raises `Unavailable`."""
    async with database.reading() as connection:
        return await spend.settled_among(connection, decision_ids)
