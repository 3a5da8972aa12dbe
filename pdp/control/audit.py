"""The audit log as people read it: the seed's shape and more."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from pdp.actions import ACTIONS
from pdp.control.admin_log import ADMIN_ACTIONS
from pdp.control.audit_query import checked, cursor_of, position_of
from pdp.control.sight import check_asked, check_known
from pdp.quota.money import number_of_usd
from pdp.store.audit import AuditFilter, read
from pdp.store.database import Database
from pdp.store.sight import Sight

__all__ = ["AuditFilter", "audit_log", "entry_of"]

_UNCHARGED = ("pending", "denied")
"""States in which a request has cost nothing, or nothing yet."""

_EVERYTHING = AuditFilter()


async def audit_log(
    database: Database,
    sight: Sight,
    wanted: AuditFilter = _EVERYTHING,
    cursor: str | None = None,
) -> dict[str, Any]:
    """Return {"logs": [...], "next_cursor"}, newest first; `action` in either spelling.

    The log is at its end when `next_cursor` is None. A page may be shorter than
    `limit`, even empty, before that: one call looks at a bounded number of entries.
    Raises `InvalidDocument` with every fault, `Forbidden` for a key that is not
    the only one in sight, `NotFound` for one that is not there.
    """
    wanted = checked(wanted)
    before = position_of(cursor) if cursor else None
    check_asked(sight, wanted.key_id)
    async with database.reading() as connection:
        page = await read(connection, sight, wanted, before)
    if wanted.key_id is not None and not page.rows and before is None:
        await check_known(database, sight, wanted.key_id)
    return {
        "logs": [entry_of(row) for row in page.rows],
        "next_cursor": cursor_of(page.older) if page.older else None,
    }


def entry_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return one entry; its cost is None where it is known to nobody."""
    action = ACTIONS.get(row["action"])
    cost = row["cost"]
    if cost is None and (row["status"] in _UNCHARGED or row["action"] in ADMIN_ACTIONS):
        cost = 0
    return {
        "timestamp": _instant(row["at"]),
        "api_key_id": row["key_id"],
        "api_key_name": row["key_name"],
        "request_id": row["request_id"],
        "action": action.audit_name if action else row["action"],
        "model": row["model"],
        "provider": row["provider"],
        "status": row["status"],
        "latency_ms": row["latency_ms"],
        "tokens": {
            "prompt": row["prompt_tokens"],
            "completion": row["completion_tokens"],
            "total": row["prompt_tokens"] + row["completion_tokens"],
        },
        "cost_usd": None if cost is None else number_of_usd(cost),
        "metadata": msgspec.json.decode(row["metadata"]),
        "ip_address": row["client_ip"],
        "user_agent": row["user_agent"],
        "reason": row["reason"],
        "decision_id": row["decision_id"],
        "reservation_id": row["reservation_id"],
        "organization_id": row["organization_id"],
        "team_id": row["team_id"],
        "user_id": row["user_id"],
        "usage_source": row["usage_source"] or None,
    }


def _instant(ns: int) -> str:
    moment = datetime.fromtimestamp(ns / 1e9, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
