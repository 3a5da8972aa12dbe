"""The life of a key: suspended, resumed, revoked. Each within an open change."""

from typing import Any

import msgspec

from pdp.control.change import Change
from pdp.control.reach import has_granted, managed
from pdp.control.resource import resource_of, status_of
from pdp.errors import Conflict, Forbidden
from pdp.problems import Problems
from pdp.secret import holds_key
from pdp.store import keys as store
from pdp.wording import named, printable

_LONGEST_REASON = 500


async def suspend(change: Change, key_id: str, action: str, reason: str = "") -> dict[str, Any]:
    """Stop a key's own secrets; again changes nothing."""
    row = await managed(change.connection, change.actor, key_id)
    _refuse_revoked(row)
    return await _with_status(change, row, "suspended", action, reason)


async def resume(change: Change, key_id: str) -> dict[str, Any]:
    """Let a suspended key go on; one that is not suspended stays as it is."""
    row = await managed(change.connection, change.actor, key_id)
    _refuse_revoked(row)
    return await _with_status(change, row, "active", "keys.resume")


async def _with_status(
    change: Change, row: store.KeyRow, status: str, action: str, reason: str = ""
) -> dict[str, Any]:
    if row.status != status:
        after = msgspec.structs.replace(row, status=status)
        row = await change.update(action, row, after, reason=reason)
    elif reason:  # Whoever resumes it is to find what is said of it.
        await change.tell(action, [row], [row], reason=reason)
    return resource_of(row, change.now)


async def check_rotation(change: Change, row: store.KeyRow) -> None:
    """Raise where a key cannot have a new secret.

    A secret is the key itself: it is given to the key, and to those whose own rights bind
    it. Whoever else manages it would get rights by it that they do not have.
    """
    who = named(row.name, row.id)
    if (status := status_of(row, change.now)) in ("revoked", "expired"):
        raise Conflict(f"{who} is {status}: it needs no new secret")
    if row.id == change.actor.key_id and change.actor.outgoing:
        raise Forbidden(f"this secret of {who} is being rotated out: use the new one")
    if not await has_granted(change.connection, change.actor, row):
        raise Forbidden(
            f"{who} was granted by another key: rotate it with that one, or take the grant over "
            'first by a PATCH of `{"granted_by": "' + change.actor.key_id + '"}`'
        )


def reason_of(body: object) -> str:
    """Return why a key is reported, empty if nobody says. Raises `InvalidDocument`."""
    problems = Problems()
    fields: dict[str, Any] = body if isinstance(body, dict) else {}
    if not isinstance(body, dict):
        problems.add("body", "not a JSON object")
    for name in fields:
        if name != "reason":
            problems.add(printable(str(name)), "unknown field: use reason")
    reason = fields.get("reason", "")
    if not isinstance(reason, str) or len(reason) > _LONGEST_REASON or not reason.isprintable():
        problems.add("reason", f"not printable text of {_LONGEST_REASON} characters or fewer")
    elif holds_key(reason):
        problems.add("reason", "has an API key in it, and is written down: leave that out")
    problems.raise_if_any()
    return str(reason)


async def revoke(change: Change, key_id: str, *, cascade: bool) -> dict[str, Any]:
    """Kill a key, its temporary descendants, and with `cascade` all of them."""
    row = await managed(change.connection, change.actor, key_id)
    if cascade:
        change.actor.require("manage_keys")
    below = await store.below(change.connection, key_id)
    doomed = [
        each
        for each in (row, *below)
        if each.status != "revoked" and (each is row or cascade or each.temporary)
    ]
    if doomed:
        await _revoke(change, doomed)
        row = await managed(change.connection, change.actor, key_id)
    gone = {each.id for each in doomed}
    live = sum(each.id not in gone and status_of(each, change.now) == "active" for each in below)
    return {**resource_of(row, change.now), "live_children": live}


async def _revoke(change: Change, doomed: list[store.KeyRow]) -> None:
    number = await change.number()
    await store.revoke(change.connection, [each.id for each in doomed], number, change.now)
    revoked = [msgspec.structs.replace(each, status="revoked") for each in doomed]
    await change.tell("keys.revoke", revoked, doomed)


def _refuse_revoked(row: store.KeyRow) -> None:
    if row.status == "revoked":
        raise Conflict(f"{named(row.name, row.id)} is revoked, for good: make a new one")
