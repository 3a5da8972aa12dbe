"""Endpoints of keys."""

from typing import Any

from pdp.control.keys import KeyFilter
from pdp.errors import PreconditionFailed
from pdp.problems import Problems
from pdp.rest.answer import Answer, etag_of
from pdp.rest.operation import Call
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
    return _shown(
        await call.plane.keys.update(call.actor, call.key_id, call.body, call.now, call.if_match)
    )


async def revoke(call: Call) -> Answer:
    """Revoke a key."""
    await _match(call)
    cascade = call.query.get("cascade", False)
    return _shown(await call.plane.keys.revoke(call.actor, call.key_id, call.now, cascade=cascade))


async def rotate(call: Call) -> Answer:
    """Give a key a new secret."""
    return _shown(
        await call.plane.keys.rotate(call.actor, call.key_id, call.body, call.now, call.once)
    )


async def suspend(call: Call) -> Answer:
    """Stop a key."""
    _refuse_fields(call)
    return _shown(await call.plane.keys.suspend(call.actor, call.key_id, call.now))


async def resume(call: Call) -> Answer:
    """Let a key go on."""
    _refuse_fields(call)
    return _shown(await call.plane.keys.resume(call.actor, call.key_id, call.now))


async def report_compromised(call: Call) -> Answer:
    """Stop a key that somebody has seen."""
    keys = call.plane.keys
    return _shown(await keys.report_compromised(call.actor, call.key_id, call.body, call.now))


async def _match(call: Call) -> None:
    """Hold `If-Match` against what is to be revoked.

    Looked at before, not within: whoever changes the key in between is not overwritten by
    its end, for a revocation keeps all fields.
    """
    if call.if_match is None:
        return
    found = await call.plane.keys.get(call.actor, call.key_id, call.now)
    if found["version"] != call.if_match:
        raise PreconditionFailed(
            f"the key has changed meanwhile, to version {found['version']}: get it again"
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
