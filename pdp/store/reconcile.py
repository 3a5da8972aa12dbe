"""What the ledger is asked where counters are compared with it."""

from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from pdp.reconcile.flight import Name
from pdp.reconcile.sums import Entry, Place, Sums
from pdp.store.organizations import Organization
from pdp.store.schema import api_keys, audit, key_spend, organizations
from pdp.store.spend import DAYS, MONTHS

_CHUNK: Final = 500

_SUMS: Final = tuple(
    key_spend.c[name] for name in ("cost", "held_cost", "tokens", "held_tokens", "requests")
)
_ENTRY: Final = tuple(
    audit.c[name]
    for name in ("status", "charged_cost", "held_cost", "charged_tokens", "held_tokens")
)


async def roots(connection: AsyncConnection) -> list[tuple[Organization, str]]:
    """Return the organizations, the oldest first, each with its root key."""
    query = (
        sa.select(organizations, api_keys.c.id.label("root_key_id"))
        .join(api_keys, api_keys.c.organization_id == organizations.c.id)
        .where(api_keys.c.parent_key_id.is_(None))
        .order_by(organizations.c.created_at)
    )
    found = []
    for row in (await connection.execute(query)).mappings():
        values = dict(row)
        root = values.pop("root_key_id")
        found.append((Organization(**values), root))
    return found


async def key_ids(
    connection: AsyncConnection, organization_id: str, after: str, limit: int
) -> list[str]:
    """Return ids of an organization's keys, those behind `after`, in their order."""
    query = (
        sa.select(api_keys.c.id)
        .where(api_keys.c.organization_id == organization_id, api_keys.c.id > after)
        .order_by(api_keys.c.id)
        .limit(limit)
    )
    return list((await connection.execute(query)).scalars())


async def used(
    connection: AsyncConnection, some: Sequence[str], now: int
) -> list[tuple[Place, Sums]]:
    """Return the sums of keys in the windows that counters still have at `now` (s)."""
    spend = key_spend.c
    query = sa.select(spend.key_id, spend.period, spend.start, *_SUMS).where(
        spend.key_id.in_(some),
        sa.or_(
            spend.period == "total",
            sa.and_(spend.period == "day", spend.start > now - DAYS),
            sa.and_(spend.period == "month", spend.start > now - MONTHS),
        ),
    )
    return [_row(row) for row in await connection.execute(query)]


async def sums(connection: AsyncConnection, places: Collection[Place]) -> dict[Place, Sums]:
    """Return what is counted at some places; not what has no row."""
    wanted, found = set(places), {}
    spend = key_spend.c
    for some in _chunks(sorted({place.key_id for place in places})):
        query = sa.select(spend.key_id, spend.period, spend.start, *_SUMS).where(
            spend.key_id.in_(some), spend.start.in_(sorted({place.start for place in places}))
        )
        for row in await connection.execute(query):
            place, counted = _row(row)
            if place in wanted:
                found[place] = counted
    return found


async def entries(connection: AsyncConnection, decision_ids: Sequence[str]) -> dict[Name, Entry]:
    """Return the entries of decisions that were allowed."""
    found: dict[Name, Entry] = {}
    for some in _chunks(decision_ids):
        query = sa.select(audit.c.decision_id, *_ENTRY).where(audit.c.decision_id.in_(some))
        for name, *values in await connection.execute(query):
            found[name] = _entry(values)
    return found


async def unchecked(
    connection: AsyncConnection, organization_id: str, request_ids: Sequence[str]
) -> dict[Name, Entry]:
    """Return, by key and request, the latest entries of usages that were never checked."""
    found: dict[Name, Entry] = {}
    for some in _chunks(request_ids):
        query = (
            sa.select(audit.c.key_id, audit.c.request_id, *_ENTRY)
            .where(
                audit.c.organization_id == organization_id,
                audit.c.request_id.in_(some),
                audit.c.reservation_id == "",
                audit.c.status != "denied",
                # Changes by administrators have the request ids of calls of the admin API.
                ~audit.c.decision_id.startswith("adm_"),
            )
            .order_by(audit.c.at)
        )
        for key_id, request_id, *values in await connection.execute(query):
            found[key_id, request_id] = _entry(values)
    return found


def _row(row: Any) -> tuple[Place, Sums]:
    place, counted = Place(*row[:3]), Sums(*row[3:])
    return place, counted if place.period == "total" else counted._replace(requests=0)


def _entry(values: Sequence[Any]) -> Entry:
    status, *counted = values
    return Entry(status, Sums(*counted)._replace(requests=int(status != "denied")))


def _chunks(items: Sequence[Any]) -> Iterator[list[Any]]:
    left = iter(items)
    while some := list(islice(left, _CHUNK)):
        yield some
