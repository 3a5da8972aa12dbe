"""How much of an organization's log and usage a reader may see. Never another organization's."""

from typing import Any

import sqlalchemy as sa
from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.elements import ColumnElement

from pdp.store.schema import api_keys


class Sight(Struct, frozen=True):
    """The whole organization, or a part of it: what is given narrows it.

    `team_id`: what the team's keys did while they were its; `key_id`: one key,
    and with `below` those below it too.
    """

    organization_id: str
    team_id: str = ""
    key_id: str = ""
    below: bool = False


def is_seen(sight: Sight, keys: Any, key_id: Any) -> list[ColumnElement[bool]]:
    """Return conditions for a table with `organization_id` and `team_id`, and its key's id."""
    found: list[ColumnElement[bool]] = [keys.c.organization_id == sight.organization_id]
    if sight.team_id:
        found.append(keys.c.team_id == sight.team_id)
    if sight.key_id:
        found.append(is_below(sight, key_id) if sight.below else key_id == sight.key_id)
    return found


async def sees_key(connection: AsyncConnection, sight: Sight, key_id: str) -> bool:
    """Tell whether there is a key and it is in sight."""
    query = sa.select(api_keys.c.id).where(
        api_keys.c.id == key_id, *is_seen(sight, api_keys, api_keys.c.id)
    )
    return (await connection.execute(query)).first() is not None


def is_below(sight: Sight, key_id: Any) -> ColumnElement[bool]:
    """Return the condition that a key is the one of a sight or below it."""
    first = sa.select(api_keys.c.id).where(
        api_keys.c.organization_id == sight.organization_id, api_keys.c.id == sight.key_id
    )
    walk = first.cte(recursive=True)
    walk = walk.union_all(sa.select(api_keys.c.id).where(api_keys.c.parent_key_id == walk.c.id))
    condition: ColumnElement[bool] = key_id.in_(sa.select(walk.c.id))
    return condition
