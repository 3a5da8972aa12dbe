"""What was spent and what is held, per key or by other groups, from the ledger's own sums."""

from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from pdp.errors import InvalidDocument, Problem
from pdp.quota.calendar import Calendar
from pdp.store.database import Database
from pdp.store.organizations import get_organization
from pdp.store.schema import api_keys, key_spend, usage_daily

GROUPS: Final = ("day", "model", "provider", "key", "team", "user")


async def usage_by_key(database: Database, organization_id: str, now: int) -> dict[str, Any]:
    """Return {"usage": [...]}: one row a key, its descendants included, as its limits count."""
    async with database.reading() as connection:
        starts = await _starts(connection, organization_id, now)
        query = (
            sa.select(api_keys.c.id, api_keys.c.name, api_keys.c.parent_key_id, key_spend)
            .outerjoin(key_spend, key_spend.c.key_id == api_keys.c.id)
            .where(api_keys.c.organization_id == organization_id)
            .order_by(api_keys.c.created_at, api_keys.c.id)
        )
        rows: dict[str, dict[str, Any]] = {}
        for row in (await connection.execute(query)).mappings():
            entry = rows.setdefault(row["id"], _empty(row))
            if starts.get(row["period"] or "") == row["start"] and row["period"]:
                _fill(entry, row)
    return {"usage": list(rows.values())}


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
    column: Any = {
        "key": api_keys.c.id,
        "team": api_keys.c.team_id,
        "user": api_keys.c.user_id,
        "day": usage_daily.c.day,
        "model": usage_daily.c.model,
        "provider": usage_daily.c.provider,
    }[group]
    names = ("requests", "prompt_tokens", "completion_tokens", "cached_tokens", "cost")
    sums = [sa.func.sum(usage_daily.c[name]).label(name) for name in names]
    query = (
        sa.select(column.label("group"), *sums)
        .join(api_keys, api_keys.c.id == usage_daily.c.key_id)
        .where(api_keys.c.organization_id == organization_id)
        .group_by(column)
        .order_by(column)
    )
    async with database.reading() as connection:
        organization = await get_organization(connection, organization_id)
        assert organization is not None, "an actor's organization exists"
        rows = (await connection.execute(query)).mappings().all()
    zone = ZoneInfo(organization.timezone)
    return {
        "usage": [
            {
                group: _date(row["group"], zone) if group == "day" else row["group"],
                **{name: int(row[name]) for name in names if name != "cost"},
                "cost_usd": int(row["cost"]) / 1e9,
            }
            for row in rows
        ]
    }


def _date(day: int, zone: ZoneInfo) -> str:
    return datetime.fromtimestamp(day, zone).date().isoformat()
