"""The audit log as people read it: the seed's shape and more."""

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from pdp.actions import ACTIONS, BY_AUDIT_NAME
from pdp.errors import InvalidDocument, Problem
from pdp.store.audit import AuditFilter, read
from pdp.store.database import Database


async def audit_log(
    database: Database, wanted: AuditFilter, cursor: str | None = None
) -> dict[str, Any]:
    """Return {"logs": [...], "next_cursor"}, newest first; `action` in either spelling."""
    action = BY_AUDIT_NAME.get(wanted.action or "")
    wanted = msgspec.structs.replace(
        wanted,
        action=action.name if action else wanted.action,
        before=_position(cursor) if cursor else None,
        limit=wanted.limit + 1,
    )
    async with database.reading() as connection:
        rows = await read(connection, wanted)
    page = rows[: wanted.limit - 1]
    more = len(rows) > len(page) and bool(page)
    return {
        "logs": [entry_of(row) for row in page],
        "next_cursor": _cursor(page[-1]) if more else None,
    }


def entry_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return one entry."""
    action = ACTIONS.get(row["action"])
    cost = row["cost"]
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
        "cost_usd": None if cost is None else cost / 1e9,
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


def _cursor(row: Mapping[str, Any]) -> str:
    text = f"{row['at']}:{row['decision_id']}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _position(cursor: str) -> tuple[int, str]:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        at, _, decision_id = text.partition(":")
        number = int(at)
        number.to_bytes(8, signed=True)  # The database has no room for more.
    except (ValueError, OverflowError, binascii.Error) as error:
        problem = Problem("cursor", "not one of ours: use next_cursor as it was given")
        raise InvalidDocument([problem]) from error
    return number, decision_id
