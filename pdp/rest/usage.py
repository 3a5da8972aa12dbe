"""Endpoint of usage."""

from typing import Final

from pdp.control.sight import sight_of
from pdp.control.usage import MOST_ROWS, usage_by_group, usage_by_key
from pdp.errors import InvalidDocument, Problem
from pdp.rest.answer import Answer
from pdp.rest.audit import key_id_of
from pdp.rest.operation import Call

_DAYS: Final = ("start", "end")


async def read(call: Call) -> Answer:
    """Return what was used: by key as limits count it, or by a group as it was settled."""
    database, sight, query = call.plane.database, sight_of(call.actor), call.query
    key_id, cursor = key_id_of(call), query.get("cursor")
    limit = query.get("limit", MOST_ROWS)
    group = query.get("group_by")
    if group is None:
        if wrong := [name for name in _DAYS if name in query]:
            message = "only with `group_by`: without, it is today, this month and in all"
            raise InvalidDocument([Problem(name, message) for name in wrong])
        return Answer(await usage_by_key(database, sight, call.now, key_id, limit, cursor))
    start, end = (query.get(name) for name in _DAYS)
    return Answer(await usage_by_group(database, sight, group, start, end, key_id, limit, cursor))
