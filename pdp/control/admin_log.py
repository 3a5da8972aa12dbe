"""Changes by administrators are entries of the audit log too."""

import secrets as random
from collections.abc import Sequence

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from pdp.control.fold import Row
from pdp.store import ledger
from pdp.store.keys import KeyRow, get_key


async def log_change(
    connection: AsyncConnection, actor_key_id: str, action: str, targets: Sequence[KeyRow], now: int
) -> None:
    """Note who changed which keys, an entry for each, in the transaction of the change.

    No secrets.
    """
    actor = await get_key(connection, actor_key_id)
    assert actor is not None, "who changes a key is a key"
    rows = [
        Row(
            decision_id="adm_" + random.token_hex(12),
            at=now,
            key_id=actor.id,
            key_name=actor.name,
            organization_id=target.organization_id,
            action=action,
            status="success",
            http_status=200,
            metadata=_facts(target),
        )
        for target in targets
    ]
    await ledger.save(connection, rows)


def _facts(target: KeyRow) -> str:
    facts = {
        "target_key_id": target.id,
        "target_key_name": target.name,
        "target_status": target.status,
    }
    return msgspec.json.encode(facts).decode()
