"""Changes by administrators are entries of the audit log too."""

import secrets as random

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from pdp.control.fold import Row
from pdp.store import ledger
from pdp.store.keys import KeyRow, get_key


async def log_change(
    connection: AsyncConnection, actor_key_id: str, action: str, target: KeyRow, now: int
) -> None:
    """Note who changed which key, in the transaction of the change. No secrets."""
    facts = {
        "target_key_id": target.id,
        "target_key_name": target.name,
        "target_status": target.status,
    }
    actor = await get_key(connection, actor_key_id)
    assert actor is not None, "who changes a key is a key"
    row = Row(
        decision_id="adm_" + random.token_hex(12),
        at=now,
        key_id=actor_key_id,
        key_name=actor.name,
        organization_id=target.organization_id,
        action=action,
        status="success",
        http_status=200,
        metadata=msgspec.json.encode(facts).decode(),
    )
    await ledger.save(connection, [row])
