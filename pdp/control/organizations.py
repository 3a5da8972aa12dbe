"""An organization's own settings: its name, and where its days and months begin."""

import hashlib
from collections.abc import Collection
from typing import Any

import msgspec

from pdp.control.access import Actor
from pdp.control.admin_log import Settings
from pdp.control.change import changing
from pdp.control.initialize import name_fault, timezone_fault
from pdp.errors import Forbidden, PreconditionFailed
from pdp.problems import Problems
from pdp.store import organizations as store
from pdp.store.database import Database
from pdp.store.keys import get_keys
from pdp.wording import instant, printable

_FIELDS = ("name", "timezone")
_FIXED = ("id", "created_at")
"""What a patch may repeat, as a client does that sends back what it got."""
_SECOND = 1_000_000_000


async def get_settings(database: Database, actor: Actor) -> dict[str, Any]:
    """Return {"id", "name", "timezone", "created_at"} of the actor's organization."""
    async with database.reading() as connection:
        return _shown(await store.organization_of(connection, actor.organization_id))


def tag_of(settings: dict[str, Any]) -> str:
    """Return what tells these settings from others."""
    return hashlib.blake2b(msgspec.json.encode(settings), digest_size=8).hexdigest()


async def update_settings(
    database: Database,
    actor: Actor,
    patch: object,
    now: int,
    if_match: Collection[str] | None = None,
) -> dict[str, Any]:
    """Change the settings by a JSON Merge Patch, if one of the tags `if_match` is theirs.

    The day and the month that are open keep their start (docs/adr/0005). Raises
    `InvalidDocument` with every fault, `PreconditionFailed` for other settings.
    """
    _check(actor)
    async with changing(database, actor, now) as change:
        _check(change.actor)
        before = await store.organization_of(change.connection, actor.organization_id)
        if if_match is not None and tag_of(_shown(before)) not in if_match:
            raise PreconditionFailed(
                "the settings have changed meanwhile: get them again and repeat what you want "
                "to change"
            )
        after = _changed(before, _fields_of(patch, _shown(before)), now)
        if after != before:
            await store.update_organization(change.connection, after)
            # Every key has the root above it: all of them are read again.
            root = await store.root_key_id(change.connection, after.id)
            rows = await get_keys(change.connection, [root])
            told = _difference(before, after)
            await change.tell("organizations.update", list(rows.values()), settings=told)
        return _shown(after)


def _changed(before: store.Organization, fields: dict[str, Any], now: int) -> store.Organization:
    after = msgspec.structs.replace(
        before,
        name=(fields["name"] or "") if "name" in fields else before.name,
        timezone=fields.get("timezone", before.timezone),
    )
    if after.timezone == before.timezone:
        return after
    day, month = before.calendar.day(now)[0], before.calendar.month(now)[0]
    return msgspec.structs.replace(after, moved_at=now // _SECOND, moved_day=day, moved_month=month)


def _fields_of(patch: object, shown_now: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a patch; raises `InvalidDocument` with every fault."""
    problems = Problems()
    fields: dict[str, Any] = patch if isinstance(patch, dict) else {}
    if not isinstance(patch, dict):
        problems.add("body", "not a JSON object")
    for field, value in fields.items():
        if field in _FIXED and value != shown_now[field]:
            problems.add(field, "cannot be changed: leave it out")
        elif field not in (*_FIELDS, *_FIXED):
            problems.add(printable(str(field)), f"unknown field: use one of {', '.join(_FIELDS)}")
    name = fields.get("name")
    if name is not None and (fault := name_fault(name)):
        problems.add("name", fault)
    if "timezone" in fields and (fault := timezone_fault(fields["timezone"])):
        problems.add("timezone", fault)
    problems.raise_if_any()
    return fields


def _check(actor: Actor) -> None:
    """Raise `Forbidden` for whom the whole organization is too much to change."""
    actor.require("manage_billing")
    if not actor.operator and actor.key_type != "organization":
        raise Forbidden("these settings are the whole organization's: use a key of its level")


def _difference(before: store.Organization, after: store.Organization) -> Settings:
    was, became = _shown(before), _shown(after)
    changed = [name for name in _FIELDS if was[name] != became[name]]
    return {name: was[name] for name in changed}, {name: became[name] for name in changed}


def _shown(organization: store.Organization) -> dict[str, Any]:
    return {
        "id": organization.id,
        "name": organization.name,
        "timezone": organization.timezone,
        "created_at": instant(organization.created_at),
    }
