"""Lists of keys: filters, reach, and a position that inserts do not move."""

import sqlalchemy as sa
from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncConnection

from pdp.store.keys import KeyRow, row_of, select_keys
from pdp.store.schema import api_keys


class Reach(Struct, frozen=True):
    """Keys of an organization; with `below`, that key and those below it, else of one team."""

    organization_id: str
    below: str = ""
    team_id: str = ""


class Wanted(Struct, frozen=True):
    """Which keys; empty or None: any.

    `status` as it is shown at `now` (`expired` is not stored). `secret_before` (ns): the
    newest secret is from before that. `after` is (created_at, id) of the last one seen.
    """

    now: int
    status: str = ""
    key_type: str = ""
    team_id: str = ""
    user_id: str = ""
    secret_before: int | None = None
    after: tuple[int, str] | None = None
    limit: int = 1000


async def list_keys(connection: AsyncConnection, reach: Reach, wanted: Wanted) -> list[KeyRow]:
    """Return keys by (created_at, id)."""
    query = select_keys().where(_within(reach))
    for name in ("key_type", "team_id", "user_id"):
        if value := getattr(wanted, name):
            query = query.where(api_keys.c[name] == value)
    if wanted.status:
        query = query.where(
            _has_status(wanted, few=bool(reach.team_id or wanted.team_id or wanted.user_id))
        )
    if wanted.secret_before is not None:
        newest = sa.func.coalesce(api_keys.c.rotated_at, api_keys.c.created_at)
        # No secret is older than its key: what is younger is not even looked at.
        query = query.where(
            newest < wanted.secret_before, api_keys.c.created_at < wanted.secret_before
        )
    if wanted.after is not None:
        query = query.where(sa.tuple_(api_keys.c.created_at, api_keys.c.id) > wanted.after)
    query = query.order_by(api_keys.c.created_at, api_keys.c.id).limit(wanted.limit)
    return [row_of(row) for row in (await connection.execute(query)).mappings()]


def _within(reach: Reach) -> sa.ColumnElement[bool]:
    mine = api_keys.c.organization_id == reach.organization_id
    if reach.team_id:
        return sa.and_(mine, api_keys.c.team_id == reach.team_id)
    if not reach.below:
        return mine
    walk = sa.select(api_keys.c.id).where(api_keys.c.id == reach.below).cte("walk", recursive=True)
    walk = walk.union(sa.select(api_keys.c.id).where(api_keys.c.parent_key_id == walk.c.id))
    return sa.and_(mine, api_keys.c.id.in_(sa.select(walk.c.id)))


def _has_status(wanted: Wanted, *, few: bool) -> sa.ColumnElement[bool]:
    """Return the condition of a status; of a `few` keys the index of those goes first."""
    # What is computed has no index that the database could take instead.
    stored = api_keys.c.status.concat("") if few else api_keys.c.status
    end: sa.ColumnElement[int] = api_keys.c.expires_at
    has_end = sa.true() if few else end.is_not(None)
    over = sa.and_(has_end, sa.func.coalesce(end, wanted.now + 1) <= wanted.now)
    if wanted.status == "expired":
        return sa.and_(stored == "active", over)
    if wanted.status == "active":
        return sa.and_(stored == "active", sa.not_(over))
    return stored == wanted.status
