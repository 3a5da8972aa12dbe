"""Changes by administrators are entries of the audit log too."""

import secrets as random
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from pdp.control.fold import Row
from pdp.control.resource import resource_of
from pdp.store import ledger
from pdp.store.keys import KeyRow, get_key

_NOT_TOLD = ("version", "rotation_age_days")
"""Fields that change by themselves."""


async def log_change(
    connection: AsyncConnection,
    actor_key_id: str,
    action: str,
    targets: Sequence[KeyRow],
    now: int,
    before: Sequence[KeyRow] = (),
    reason: str = "",
) -> None:
    """Note who changed which keys, an entry for each, in the transaction of the change.

    With the keys as they were `before`, the entry has the fields that changed. No secrets.
    """
    actor = await get_key(connection, actor_key_id)
    assert actor is not None, "who changes a key is a key"
    old = {row.id: row for row in before}
    rows = [
        Row(
            decision_id="adm_" + random.token_hex(12),
            at=now,
            key_id=actor.id,
            key_name=actor.name,
            organization_id=target.organization_id,
            team_id=target.team_id,
            user_id=target.user_id,
            action=action,
            status="success",
            http_status=200,
            metadata=_facts(target, old.get(target.id), now, reason),
        )
        for target in targets
    ]
    await ledger.save(connection, rows)


def _facts(target: KeyRow, old: KeyRow | None, now: int, reason: str) -> str:
    facts: dict[str, Any] = {
        "target_key_id": target.id,
        "target_key_name": target.name,
        "target_status": target.status,
    }
    if reason:
        facts["reason"] = reason
    if old is not None:
        was, became = resource_of(old, now), resource_of(target, now)
        changed = [name for name in became if name not in _NOT_TOLD and was[name] != became[name]]
        facts["before"] = {name: was[name] for name in changed}
        facts["after"] = {name: became[name] for name in changed}
    return msgspec.json.encode(facts).decode()
