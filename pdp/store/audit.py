"""Reading the audit log, newest first, a page at a time.

Every column that can be asked for has an index (organization, column, time). A page goes
along one of them, the one that reaches back furthest, and looks at `FAR` rows at most: a
question that few rows answer gets a short page and where to go on, never a scan of
millions.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.elements import ColumnElement

from pdp.store.rare import rare
from pdp.store.schema import audit
from pdp.store.sight import Sight, is_below

FAR: Final = 4000
"""Rows that one page looks at, about; each is another place of the disk at worst."""
_NEAR: Final = 200
"""Rows that are not worth a look for something better."""

Position = tuple[int, str]
"""(at, decision_id): entries below it are older."""


class AuditFilter(Struct, frozen=True, kw_only=True):
    """Which entries; None: any. `start` (included) and `end` (not included) are in ns."""

    key_id: str | None = None
    model: str | None = None
    provider: str | None = None
    status: str | None = None
    action: str | None = None
    request_id: str | None = None
    start: int | None = None
    end: int | None = None
    limit: int = 100


class AuditPage(Struct, frozen=True):
    """Rows, and below which position older ones may follow; None: there are none."""

    rows: Sequence[Mapping[str, Any]]
    older: Position | None


ASKED_BY: Final = ("request_id", "key_id", "team_id", "model", "status", "action", "provider")
"""Columns that have an index; the most telling first."""


async def read(
    connection: AsyncConnection, sight: Sight, wanted: AuditFilter, before: Position | None
) -> AuditPage:
    """Return a page of what is wanted and seen."""
    asked = _asked(sight, wanted)
    if asked is None:
        return AuditPage([], None)
    span = _span(sight, wanted, before)
    more = [is_below(sight, audit.c.key_id)] if sight.below else []
    path, floor = next(iter(asked), None), None
    if len(asked) + len(more) > 1 or (more and not asked):
        path, floor = await _furthest(connection, asked, span)
    query = page_query(asked, path, [*span, *more], floor, wanted.limit)
    rows = [dict(row) for row in (await connection.execute(query)).mappings()]
    if len(rows) > wanted.limit:
        del rows[wanted.limit :]
        return AuditPage(rows, (rows[-1]["at"], rows[-1]["decision_id"]))
    return AuditPage(rows, None if floor is None else (floor, ""))


def page_query(
    asked: Mapping[str, str],
    path: str | None,
    conditions: Sequence[ColumnElement[bool]],
    floor: int | None,
    limit: int,
) -> Any:
    """Return the query of a page and one row more, along the index of the column `path`."""
    query = sa.select(audit).where(*conditions)
    for name, value in asked.items():
        if name == path:
            query = query.where(rare(audit.c[name] == value))
        else:
            # What is no bare column offers itself to no index: the way is chosen already.
            query = query.where(audit.c[name].concat(sa.literal_column("''")) == value)
    if floor is not None:
        query = query.where(audit.c.at >= floor)
    return query.order_by(audit.c.at.desc(), audit.c.decision_id.desc()).limit(limit + 1)


def probe_query(
    path: str | None, value: str | None, conditions: Sequence[ColumnElement[bool]], far: int
) -> Any:
    """Return the query for the time of the row that is `far` down an index; it reads no rows."""
    query = sa.select(audit.c.at).where(*conditions)
    if path is not None:
        query = query.where(rare(audit.c[path] == value))
    return query.order_by(audit.c.at.desc()).offset(far).limit(1)


async def _furthest(
    connection: AsyncConnection, asked: Mapping[str, str], span: Sequence[ColumnElement[bool]]
) -> tuple[str | None, int | None]:
    """Return the column to go along, and until which time; None: to the end."""
    best: tuple[int, str | None] | None = None
    for far in (min(_NEAR, FAR), FAR):
        best = None
        for path in asked or [None]:
            query = probe_query(path, asked.get(path or ""), span, far)
            floor = (await connection.execute(query)).scalar_one_or_none()
            if floor is None:
                return path, None
            if best is None or floor < best[0]:
                best = floor, path
    assert best is not None, "there is a way at least"
    return best[1], best[0]


def _asked(sight: Sight, wanted: AuditFilter) -> dict[str, str] | None:
    """Return values by column; None where what is asked for is out of sight."""
    values = {name: getattr(wanted, name, None) for name in ASKED_BY}
    values["team_id"] = sight.team_id or None
    if sight.key_id and not sight.below:
        if wanted.key_id not in (None, sight.key_id):
            return None
        values["key_id"] = sight.key_id
    return {name: value for name, value in values.items() if value is not None}


def _span(sight: Sight, wanted: AuditFilter, before: Position | None) -> list[ColumnElement[bool]]:
    at = audit.c.at
    found: list[ColumnElement[bool]] = [audit.c.organization_id == sight.organization_id]
    if wanted.start is not None:
        found.append(at >= wanted.start)
    if wanted.end is not None:
        found.append(at < wanted.end)
    if before is not None:
        older, decision_id = before
        found += [at <= older, sa.or_(at < older, audit.c.decision_id < decision_id)]
    return found
