"""Endpoint of the audit log."""

import re
from typing import Final

from pdp.control.audit import AuditFilter, audit_log
from pdp.control.export import export_log, media_type_of
from pdp.control.sight import sight_of
from pdp.errors import InvalidDocument, Problem
from pdp.rest.answer import Answer, Stream
from pdp.rest.operation import Call

KEY_HEADER: Final = "X-API-Key-ID"

_ID: Final = re.compile("[A-Za-z0-9_-]{1,64}")
_FILTERS: Final = ("model", "provider", "status", "action", "request_id", "start", "end")


async def read(call: Call) -> Answer | Stream:
    """Return a page of entries, or all of them as a stream."""
    database, sight, query = call.plane.database, sight_of(call.actor), call.query
    given = {name: query[name] for name in _FILTERS if name in query}
    wanted = AuditFilter(key_id=key_id_of(call), **given)
    limit, cursor, form = query.get("limit"), query.get("cursor"), query.get("format")
    if form is not None:
        chunks = await export_log(database, sight, wanted, form, cursor, limit)
        return Stream(chunks, media_type_of(form))
    if limit is not None:
        wanted = AuditFilter(key_id=wanted.key_id, limit=limit, **given)
    return Answer(await audit_log(database, sight, wanted, cursor))


def key_id_of(call: Call) -> str | None:
    """Return the key whose entries are asked for, by parameter or header; None: any.

    Raises `InvalidDocument` where they differ, or cannot be one.
    """
    asked = set(call.request.headers.getlist(KEY_HEADER))
    if any(not _ID.fullmatch(each) or "vsk_" in each for each in asked):
        message = "not the id of a key: use `id` of the key"
        raise InvalidDocument([Problem(KEY_HEADER, message)])
    if "api_key_id" in call.query:
        asked.add(call.query["api_key_id"])
    if len(asked) > 1:
        message = f"differs from `{KEY_HEADER}`: send one of them"
        raise InvalidDocument([Problem("api_key_id", message)])
    return asked.pop() if asked else None
