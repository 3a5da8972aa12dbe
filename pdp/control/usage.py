"""What was spent and what is held, per key or by other groups, from the ledger's own sums."""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncConnection

from pdp.errors import InvalidDocument, Problem
from pdp.quota.calendar import Calendar
from pdp.store.database import Database
from pdp.store.organizations import get_organization
from pdp.store.usage import GROUPS, SUMS, spend_of_keys, usage_of_groups


async def usage_by_key(database: Database, organization_id: str, now: int) -> dict[str, Any]:
    """Return {"usage": [...]}: one row a key, its descendants included, as its limits count."""
    async with database.reading() as connection:
        starts = await _starts(connection, organization_id, now)
        rows = await spend_of_keys(connection, organization_id, starts)
    entries: dict[str, dict[str, Any]] = {}
    for row in rows:
        entry = entries.setdefault(row["id"], _empty(row))
        if row["period"]:
            _fill(entry, row)
    return {"usage": list(entries.values())}


async def _starts(connection: AsyncConnection, organization_id: str, now: int) -> dict[str, int]:
    organization = await get_organization(connection, organization_id)
    assert organization is not None, "an actor's organization exists"
    calendar = Calendar(organization.timezone)
    return {"day": calendar.day(now)[0], "month": calendar.month(now)[0], "total": 0}


def _empty(row: Any) -> dict[str, Any]:
    return {
        "api_key_id": row["id"],
        "api_key_name": row["name"],
        "parent_key_id": row["parent_key_id"],
        "requests": 0,
        "tokens": 0,
        "spent_usd": 0.0,
        "held_usd": 0.0,
        "held_tokens": 0,
        "today": {"requests": 0, "tokens": 0, "spent_usd": 0.0, "held_usd": 0.0},
        "month": {"requests": 0, "tokens": 0, "spent_usd": 0.0, "held_usd": 0.0},
    }


def _fill(entry: dict[str, Any], row: Any) -> None:
    part = {"day": entry["today"], "month": entry["month"], "total": entry}[row["period"]]
    part["requests"] = row["requests"]
    part["tokens"] = row["tokens"]
    part["spent_usd"] = row["cost"] / 1e9
    part["held_usd"] = row["held_cost"] / 1e9
    if part is entry:
        entry["held_tokens"] = row["held_tokens"]


async def usage_by_group(database: Database, organization_id: str, group: str) -> dict[str, Any]:
    """Return {"usage": [...]} by one of `GROUPS`: what was settled, each usage once."""
    if group not in GROUPS:
        problem = Problem("group_by", f"`{group[:40]}` is not one of {', '.join(GROUPS)}")
        raise InvalidDocument([problem])
    async with database.reading() as connection:
        organization = await get_organization(connection, organization_id)
        assert organization is not None, "an actor's organization exists"
        rows = await usage_of_groups(connection, organization_id, group)
    zone = ZoneInfo(organization.timezone)
    return {
        "usage": [
            {
                group: _date(row["group"], zone) if group == "day" else row["group"],
                **{name: int(row[name]) for name in SUMS if name != "cost"},
                "cost_usd": int(row["cost"]) / 1e9,
            }
            for row in rows
        ]
    }


def _date(day: int, zone: ZoneInfo) -> str:
    return datetime.fromtimestamp(day, zone).date().isoformat()
