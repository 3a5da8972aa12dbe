"""Changes by administrators are entries of the audit log too."""

import secrets as random
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from pdp.control.access import Actor
from pdp.control.fold import Row
from pdp.control.resource import resource_of
from pdp.store import ledger
from pdp.store.keys import KeyRow, get_key
from pdp.store.schema import audit
from pdp.store.text import fit, lengths_of

ADMIN_ACTIONS: Final = (
    "keys.create",
    "keys.update",
    "keys.rotate",
    "keys.suspend",
    "keys.resume",
    "keys.revoke",
    "keys.report_compromised",
    "organizations.create",
    "organizations.update",
    "prices.create",
    "prices.update",
    "prices.remove",
    "counters.reconcile",
)
"""What administrators do, as the log names it."""

Settings = tuple[dict[str, Any], dict[str, Any]]
"""What changed of what is not a key's own, before and after."""

_LENGTHS: Final = lengths_of(audit)
_CREATING: Final = ("keys.create", "organizations.create")
_NOT_TOLD: Final = ("id", "effective_limits", "version", "rotation_age_days")
"""Fields that are said elsewhere, follow from others, or change by themselves."""


async def log_change(
    connection: AsyncConnection,
    actor: Actor,
    action: str,
    targets: Sequence[KeyRow],
    now: int,
    before: Sequence[KeyRow] | None = None,
    reason: str = "",
    settings: Settings | None = None,
) -> None:
    """Note who changed which keys, an entry for each, in the transaction of the change.

    Its `metadata` says which key it was and, of the fields that changed, what they were
    `before` and are `after`, without secrets; of a new key, all that it has. `action` is
    one of `ADMIN_ACTIONS`, `reason` what the administrator said, `settings` what is told in
    place of the key's fields.
    """
    assert action in ADMIN_ACTIONS, "the log can be asked for it"
    by = await get_key(connection, actor.key_id)
    assert by is not None, "who changes a key is a key"
    old = {row.id: row for row in before or ()}
    rows = []
    for target in targets:
        changed = settings or _difference(action, old.get(target.id), target, now)
        entry = _entry(actor, by, action, now, _metadata(target, reason, changed))
        entry |= {"team_id": target.team_id, "user_id": target.user_id}
        rows.append(Row(organization_id=target.organization_id, **entry))
    await ledger.save(connection, rows)


async def log_price(
    connection: AsyncConnection,
    actor: Actor,
    action: str,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any],
    now: int,
) -> None:
    """Note who changed which price, in the transaction of the change.

    `before` and `after` are the resource; of a new one there is no before.
    """
    assert action in ADMIN_ACTIONS, "the log can be asked for it"
    row = await get_key(connection, actor.key_id)
    assert row is not None, "who changes a price is a key"
    was = dict.fromkeys(after) if before is None else before
    changed = [name for name in after if name != "version" and was[name] != after[name]]
    facts = {
        "target_price_id": after["id"],
        "before": {} if before is None else {name: was[name] for name in changed},
        "after": {name: after[name] for name in changed},
    }
    entry = _entry(actor, row, action, now, msgspec.json.encode(facts).decode())
    entry |= {"model": after["model"], "provider": after["provider"]}
    await ledger.save(connection, [Row(organization_id=row.organization_id, **entry)])


def _entry(actor: Actor, by: KeyRow, action: str, now: int, metadata: str) -> dict[str, Any]:
    """Return what every entry says: who has done what, and when."""
    return {
        "decision_id": "adm_" + random.token_hex(12),
        "at": now,
        "key_id": by.id,
        "key_name": by.name,
        **_origin(actor),
        "action": action,
        "status": "success",
        "http_status": 200,
        "metadata": metadata,
    }


def _origin(actor: Actor) -> dict[str, Any]:
    told = msgspec.structs.asdict(actor.origin)
    return {name: fit(text, _LENGTHS[name]) for name, text in told.items()}


def _metadata(target: KeyRow, reason: str, changed: Settings) -> str:
    facts: dict[str, Any] = {
        "target_key_id": target.id,
        "target_key_name": target.name,
        "target_status": target.status,
        **({"reason": reason} if reason else {}),
        "before": changed[0],
        "after": changed[1],
    }
    return msgspec.json.encode(facts).decode()


def _difference(action: str, old: KeyRow | None, target: KeyRow, now: int) -> Settings:
    became = resource_of(target, now)
    was = dict.fromkeys(became) if old is None else resource_of(old, now)
    changed: list[str] = []
    if old is not None or action in _CREATING:
        changed = [name for name in became if name not in _NOT_TOLD and was[name] != became[name]]
    # Two secrets look the same from here, and that one took the other's place must be told.
    if old is not None and old.document.webhooks != target.document.webhooks:
        changed = [*(name for name in changed if name != "webhooks"), "webhooks"]
    before = {} if old is None else {name: was[name] for name in changed}
    return before, {name: became[name] for name in changed}
