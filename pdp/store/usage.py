"""Reading the ledger's sums: of keys as their limits count, and of what was used by groups."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.elements import ColumnElement

from pdp.store.schema import api_keys, key_spend, usage_daily
from pdp.store.sight import Sight, is_seen

_SPENT: Final = ("requests", "tokens", "cost", "held_cost", "held_tokens")
SUMS: Final = ("requests", "prompt_tokens", "completion_tokens", "cached_tokens", "cost")

GROUPS: Final[Mapping[str, sa.Column[Any]]] = {
    "day": usage_daily.c.day,
    "model": usage_daily.c.model,
    "provider": usage_daily.c.provider,
    "key": usage_daily.c.key_id,
    "team": usage_daily.c.team_id,
    "user": usage_daily.c.user_id,
}


async def spent(
    connection: AsyncConnection,
    sight: Sight,
    starts: Mapping[str, int],
    after: tuple[int, str] | None,
    limit: int,
) -> list[dict[str, Any]]:
    """Return keys by (created_at, id), those after a position, with what is counted of them.

    `starts` has the start of the window for each period, and a row `<period>_<sum>`
    columns: None where nothing is counted. Each window is looked up by its own key.
    """
    query = spent_query(sight, starts, after, limit)
    return [dict(row) for row in (await connection.execute(query)).mappings()]


def spent_query(
    sight: Sight, starts: Mapping[str, int], after: tuple[int, str] | None, limit: int
) -> Any:
    """Return the query of `spent`."""
    columns: list[Any] = [
        api_keys.c[name] for name in ("id", "name", "parent_key_id", "created_at")
    ]
    tables: Any = api_keys
    for period, start in starts.items():
        window = key_spend.alias(period)
        tables = tables.outerjoin(
            window,
            sa.and_(
                window.c.key_id == api_keys.c.id,
                window.c.period == period,
                window.c.start == start,
            ),
        )
        columns += [window.c[name].label(f"{period}_{name}") for name in _SPENT]
    query = sa.select(*columns).select_from(tables).where(*is_seen(sight, api_keys, api_keys.c.id))
    if after is not None:
        created_at, key_id = after
        query = query.where(
            api_keys.c.created_at >= created_at,
            sa.or_(api_keys.c.created_at > created_at, api_keys.c.id > key_id),
        )
    return query.order_by(api_keys.c.created_at, api_keys.c.id).limit(limit)


async def used(
    connection: AsyncConnection,
    sight: Sight,
    group: str,
    days: tuple[int | None, int | None],
    after: str | int | None,
    limit: int,
) -> list[dict[str, Any]]:
    """Return groups by their value, those after one, with `SUMS` of the days [start, end).

    `group` is one of `GROUPS`; its value is `group`, and that of keys has a `name`.
    """
    column = GROUPS[group]
    start, end = days
    span: list[ColumnElement[bool]] = []
    if start is not None:
        span.append(usage_daily.c.day >= start)
    if end is not None:
        span.append(usage_daily.c.day < end)
    sums = [sa.func.sum(usage_daily.c[name]).label(name) for name in SUMS]
    query = (
        sa.select(column.label("group"), *sums)
        .where(*is_seen(sight, usage_daily, usage_daily.c.key_id), *span)
        .group_by(column)
        # Late reports of another model leave nothing but zeros of the Check's.
        .having(sa.or_(*(sa.func.sum(usage_daily.c[name]) > 0 for name in ("requests", "cost"))))
    )
    if after is not None:
        query = query.where(column > after)
    if group == "key":
        query = query.join(api_keys, api_keys.c.id == usage_daily.c.key_id)
        query = query.add_columns(sa.func.min(api_keys.c.name).label("name"))
        # There may be any number of keys: only those of the page are added up.
        page = _keys_used(sight, span, after).limit(limit).subquery()
        query = query.where(column.in_(sa.select(page.c.id)))
    query = query.order_by(column).limit(limit)
    return [dict(row) for row in (await connection.execute(query)).mappings()]


def _keys_used(
    sight: Sight, span: Sequence[ColumnElement[bool]], after: str | int | None
) -> sa.Select[Any]:
    """Return the query for the keys that have used something, by their id."""
    used_any = sa.exists().where(usage_daily.c.key_id == api_keys.c.id, *span)
    query = sa.select(api_keys.c.id).where(*is_seen(sight, api_keys, api_keys.c.id), used_any)
    if after is not None:
        query = query.where(api_keys.c.id > after)
    return query.order_by(api_keys.c.id)
