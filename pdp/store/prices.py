"""The operator's prices in SQL. An entry that has begun never changes but for its end."""

from typing import Final

import msgspec
import sqlalchemy as sa
from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncConnection

from pdp.store.schema import prices
from pdp.store.text import is_storable


class PriceRow(Struct, frozen=True, kw_only=True):
    """A price of the models that `model` stands for, in force from `effective_from` on.

    `document` is JSON as `pdp.control.price_document` writes it. `removed_at`: somebody ended
    it, or took it back before it began; then it ends where it began. Times in ns.
    """

    id: str
    provider: str
    model: str
    document: str
    effective_from: int
    effective_until: int | None
    created_at: int
    created_by: str
    removed_at: int | None
    version: int


class PriceFilter(Struct, frozen=True):
    """Which prices; empty or None: any. `status` as shown at `now`; `after`: (created_at, id)."""

    now: int
    provider: str = ""
    model: str = ""
    status: str = ""
    after: tuple[int, str] | None = None
    limit: int = 100


STATUSES: Final = ("current", "scheduled", "ended", "removed")


async def insert_price(connection: AsyncConnection, row: PriceRow) -> None:
    """Store a new entry."""
    await connection.execute(sa.insert(prices).values(**msgspec.structs.asdict(row)))


async def update_price(connection: AsyncConnection, row: PriceRow) -> None:
    """Store an entry that is there already."""
    values = msgspec.structs.asdict(row)
    await connection.execute(sa.update(prices).where(prices.c.id == row.id).values(**values))


async def get_price(connection: AsyncConnection, price_id: str) -> PriceRow | None:
    """Return an entry."""
    if not is_storable(price_id):
        return None
    found = await connection.execute(sa.select(prices).where(prices.c.id == price_id))
    row = found.mappings().one_or_none()
    return None if row is None else PriceRow(**row)


async def list_prices(connection: AsyncConnection, wanted: PriceFilter) -> list[PriceRow]:
    """Return entries by (created_at, id)."""
    query = sa.select(prices)
    for name in ("provider", "model"):
        if value := getattr(wanted, name):
            query = query.where(prices.c[name] == value)
    if wanted.status:
        query = query.where(_has_status(wanted.status, wanted.now))
    if wanted.after is not None:
        query = query.where(sa.tuple_(prices.c.created_at, prices.c.id) > wanted.after)
    query = query.order_by(prices.c.created_at, prices.c.id).limit(wanted.limit)
    return [PriceRow(**row) for row in (await connection.execute(query)).mappings()]


async def living_prices(connection: AsyncConnection, now: int) -> list[PriceRow]:
    """Return the entries that are in force at `now`, or will be."""
    query = sa.select(prices).where(*_counts(now))
    return [PriceRow(**row) for row in (await connection.execute(query)).mappings()]


async def count_living(connection: AsyncConnection, now: int) -> int:
    """Return how many entries are in force at `now`, or will be."""
    query = sa.select(sa.func.count()).select_from(prices).where(*_counts(now))
    count: int = (await connection.execute(query)).scalar_one()
    return count


def _counts(now: int) -> tuple[sa.ColumnElement[bool], ...]:
    """Return the conditions of what `living_prices` returns."""
    return _lives(now), prices.c.removed_at.is_(None)


def _lives(now: int) -> sa.ColumnElement[bool]:
    until = prices.c.effective_until
    return sa.or_(until.is_(None), until > now)


def _has_status(status: str, now: int) -> sa.ColumnElement[bool]:
    removed = prices.c.removed_at.is_not(None)
    if status == "removed":
        return removed
    if status == "ended":
        return sa.and_(sa.not_(removed), sa.not_(_lives(now)))
    begun = prices.c.effective_from <= now
    return sa.and_(sa.not_(removed), _lives(now), begun if status == "current" else sa.not_(begun))
