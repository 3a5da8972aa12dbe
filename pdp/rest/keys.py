"""Endpoints of keys."""

from typing import Any

from pdp.control.keys import KeyFilter
from pdp.problems import Problems
from pdp.rest.answer import Answer, etag_of
from pdp.rest.operation import Call
from pdp.rest.preconditions import versions_of
from pdp.wording import printable

_FILTERS = ("status", "key_type", "team_id", "user_id", "older_than", "limit")


async def create(call: Call) -> Answer:
    """Make a key."""
    keys = call.plane.keys
    return _created(await keys.create(call.actor, call.body, call.now, call.once))


async def create_temporary(call: Call) -> Answer:
    """Make a key that dies soon."""
    keys = call.plane.keys
    return _created(await keys.create_temporary(call.actor, call.body, call.now, call.once))


async def list_keys(call: Call) -> Answer:
    """Return a page of keys."""
    given = {name: call.query[name] for name in _FILTERS if name in call.query}
    cursor = call.query.get("cursor")
    return Answer(await call.plane.keys.list(call.actor, call.now, KeyFilter(**given), cursor))


async def get(call: Call) -> Answer:
    """Return one key."""
    return _shown(await call.plane.keys.get(call.actor, call.key_id, call.now))


async def update(call: Call) -> Answer:
    """Change a key."""
    if_match = versions_of(call.if_match)
    return _shown(
        await call.plane.keys.update(call.actor, call.key_id, call.body, call.now, if_match)
    )


async def revoke(call: Call) -> Answer:
    """Revoke a key."""
    cascade, if_match = call.query.get("cascade", False), versions_of(call.if_match)
    return _shown(
        await call.plane.keys.revoke(
            call.actor, call.key_id, call.now, cascade=cascade, if_match=if_match
        )
    )


async def rotate(call: Call) -> Answer:
    """Give a key a new secret."""
    if_match = versions_of(call.if_match)
    return _shown(
        await call.plane.keys.rotate(
            call.actor, call.key_id, call.body, call.now, call.once, if_match
        )
    )


async def suspend(call: Call) -> Answer:
    """Stop a key."""
    _refuse_fields(call)
    if_match = versions_of(call.if_match)
    return _shown(await call.plane.keys.suspend(call.actor, call.key_id, call.now, if_match))


async def resume(call: Call) -> Answer:
    """Let a key go on."""
    _refuse_fields(call)
    if_match = versions_of(call.if_match)
    return _shown(await call.plane.keys.resume(call.actor, call.key_id, call.now, if_match))


async def report_compromised(call: Call) -> Answer:
    """Stop a key that somebody has seen."""
    if_match = versions_of(call.if_match)
    return _shown(
        await call.plane.keys.report_compromised(
            call.actor, call.key_id, call.body, call.now, if_match
        )
    )


def _refuse_fields(call: Call) -> None:
    problems = Problems()
    for name in call.body:
        problems.add(printable(name), "unknown field: this takes none")
    problems.raise_if_any()


def _created(key: dict[str, Any]) -> Answer:
    headers = {"location": f"/v1/api-keys/{key['id']}", "etag": etag_of(key["version"])}
    return Answer(key, 201, headers)


def _shown(key: dict[str, Any]) -> Answer:
    return Answer(key, headers={"etag": etag_of(key["version"])})
