"""What was spent and what is held, per key or by other groups, from the ledger's own sums."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from pdp.control.bookmark import Number, Text, bookmark, place_of
from pdp.control.sight import check_asked, check_known
from pdp.errors import InvalidDocument, Problem
from pdp.problems import Problems
from pdp.quota.calendar import Calendar
from pdp.quota.money import number_of_usd
from pdp.store import usage as store
from pdp.store.database import Database
from pdp.store.organizations import Organization, get_organization
from pdp.store.sight import Sight
from pdp.wording import shown

GROUPS: Final = tuple(store.GROUPS)
MOST_ROWS: Final = 1000
"""Rows in a page."""

_NOON: Final = timedelta(hours=12)
"""After the start of a day. Its date is that of its middle: days that began before the
organization's timezone changed keep their start (docs/adr/0005)."""


async def usage_by_key(
    database: Database,
    sight: Sight,
    now: int,
    key_id: str | None = None,
    limit: int = MOST_ROWS,
    cursor: str | None = None,
) -> dict[str, Any]:
    """Return {"usage": [...], "next_cursor"}: one row a key, oldest first.

    A row has what its limits count, so what its descendants used is in it. Raises
    `InvalidDocument`, and `Forbidden` or `NotFound` for a key that is not in sight.
    """
    _check_limit(limit)
    after = place_of(cursor, "usage", Number, Text) if cursor else None
    sight = await _narrowed(database, sight, key_id)
    async with database.reading() as connection:
        organization = await _organization(connection, sight)
        calendar = organization.calendar
        starts = {"day": calendar.day(now)[0], "month": calendar.month(now)[0], "total": 0}
        rows = await store.spent(connection, sight, starts, after, limit + 1)
    more = len(rows) > limit
    last = rows[limit - 1] if more else None
    return {
        "usage": [_spent(row) for row in rows[:limit]],
        "next_cursor": last and bookmark("usage", last["created_at"], last["id"]),
    }


def _spent(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "api_key_id": row["id"],
        "api_key_name": row["name"],
        "parent_key_id": row["parent_key_id"],
        **_part(row, "total"),
        "held_tokens": row["total_held_tokens"] or 0,
        "today": _part(row, "day"),
        "month": _part(row, "month"),
    }


def _part(row: Mapping[str, Any], period: str) -> dict[str, Any]:
    return {
        "requests": row[f"{period}_requests"] or 0,
        "tokens": row[f"{period}_tokens"] or 0,
        "spent_usd": number_of_usd(int(row[f"{period}_cost"] or 0)),
        "held_usd": number_of_usd(int(row[f"{period}_held_cost"] or 0)),
    }


async def usage_by_group(
    database: Database,
    sight: Sight,
    group: str,
    start: str | None = None,
    end: str | None = None,
    key_id: str | None = None,
    limit: int = MOST_ROWS,
    cursor: str | None = None,
) -> dict[str, Any]:
    """Return {"usage": [...], "next_cursor"} by one of `GROUPS`: what was settled, each usage once.

    `start` and `end` are dates of the organization's timezone, both included. A row
    has the group's value under its name (None: a team or user of nobody), keys their
    `key_name`. Raises as `usage_by_key` does.
    """
    if group not in GROUPS:
        problem = Problem("group_by", f"{shown(group)} is not one of {', '.join(GROUPS)}")
        raise InvalidDocument([problem])
    _check_limit(limit)
    first, last = _dates(start, end)
    kind = Number if group == "day" else Text
    after = place_of(cursor, f"usage by {group}", kind)[0] if cursor else None
    sight = await _narrowed(database, sight, key_id)
    async with database.reading() as connection:
        zone = ZoneInfo((await _organization(connection, sight)).timezone)
        days = _from(first, zone), _from(last and last + timedelta(days=1), zone)
        rows = await store.used(connection, sight, group, days, after, limit + 1)
    page: Sequence[Mapping[str, Any]] = rows[:limit]
    if len(rows) > limit and group == "day":
        page = _whole_dates(rows, zone)
    found = [_used(row, group, zone) for row in page]
    # Summed first, as integers.
    whole = _by_date(found) if group == "day" else found
    return {
        "usage": [{**row, "cost_usd": number_of_usd(row["cost_usd"])} for row in whole],
        "next_cursor": (
            bookmark(f"usage by {group}", page[-1]["group"]) if len(rows) > limit else None
        ),
    }


def _whole_dates(rows: Sequence[Mapping[str, Any]], zone: ZoneInfo) -> Sequence[Mapping[str, Any]]:
    """Return all rows but the last and those of its date; at least one."""
    following = _date_named(rows[-1]["group"], zone)
    page = [row for row in rows if _date_named(row["group"], zone) != following]
    return page or rows[:-1]


def _by_date(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add up days of one date: where the timezone changed, two may have begun in it."""
    dates: dict[str, dict[str, Any]] = {}
    for row in found:
        before = dates.setdefault(row["day"], row)
        if before is not row:
            before |= {name: before[name] + row[name] for name in row if name != "day"}
    return list(dates.values())


def _date_named(start: int, zone: ZoneInfo) -> str:
    return (datetime.fromtimestamp(start, UTC) + _NOON).astimezone(zone).date().isoformat()


def _used(row: Mapping[str, Any], group: str, zone: ZoneInfo) -> dict[str, Any]:
    """Return a row as it is shown, but for its cost in nano-USD."""
    value = row["group"]
    if group == "day":
        value = _date_named(value, zone)
    return {
        group: value or None,
        **({"key_name": row["name"]} if group == "key" else {}),
        **{name: int(row[name]) for name in store.SUMS if name != "cost"},
        "cost_usd": int(row["cost"]),
    }


async def _organization(connection: AsyncConnection, sight: Sight) -> Organization:
    organization = await get_organization(connection, sight.organization_id)
    assert organization is not None, "who sees something of an organization is in it"
    return organization


async def _narrowed(database: Database, sight: Sight, key_id: str | None) -> Sight:
    """Return the sight of one key in it, where one is asked for."""
    if key_id is None:
        return sight
    check_asked(sight, key_id)
    await check_known(database, sight, key_id)
    return msgspec.structs.replace(sight, key_id=key_id, below=False)


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= MOST_ROWS:
        raise InvalidDocument([Problem("limit", f"`{limit}` is not from 1 to {MOST_ROWS}")])


def _dates(start: str | None, end: str | None) -> tuple[date | None, date | None]:
    problems = Problems()
    for name, text in (("start", start), ("end", end)):
        if text is not None and _date_of(text) is None:
            problems.add(name, f"{shown(text)} is no day: write it like `2030-12-31`")
    problems.raise_if_any()
    return _date_of(start or ""), _date_of(end or "")


def _date_of(text: str) -> date | None:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    # The ends of time have no room for a timezone.
    return day if 1970 <= day.year < 9999 else None


def _from(day: date | None, zone: ZoneInfo) -> int | None:
    """Return the second from which on a day may have begun that has this date, or a later one."""
    if day is None:
        return None
    noon = (datetime(day.year, day.month, day.day, tzinfo=zone) + _NOON).timestamp()
    midnight = Calendar(zone.key).day(int(noon) * 1_000_000_000)[0]
    return midnight - int(_NOON.total_seconds())
