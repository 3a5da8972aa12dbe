"""The ledger in SQL: rows of the audit log, sums, and how far each spool has come."""

from collections.abc import Collection, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final
from zlib import crc32

import msgspec
import sqlalchemy as sa
from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncConnection

from pdp.store.database import insert_into
from pdp.store.schema import api_keys, audit, key_spend, spools, usage_daily
from pdp.store.upsert import Upsert

_ROOTS: Final = 0x7064_7004
"""First number of PostgreSQL's advisory locks for those who add records of a root."""

_CHUNK = 500
"""Values in one IN list: below every database's bound on parameters."""

# What a request is known by from its first record on; the rest is what became of it.
_FIXED: Final = (
    *("at", "key_id", "key_name", "request_id", "organization_id", "team_id", "user_id"),
    *("reservation_id", "ancestors"),
)
_SAID: Final = ("action", "model", "provider")
"""What a report rarely says otherwise; each has an index, which is as dear as all the rest."""

_AUDIT = Upsert(audit, fixed=_FIXED)
_OUTCOME = Upsert(audit, fixed=(*_FIXED, *_SAID))
_said = itemgetter(*map(_AUDIT.columns.index, _SAID))
_SPEND = Upsert(key_spend, sums=True)
_USAGE = Upsert(usage_daily, sums=True, fixed=("organization_id",))
_LOAD: Final = f"SELECT {', '.join(_AUDIT.columns)} FROM audit WHERE decision_id"  # noqa: S608  # columns
_LOAD_POSTGRESQL: Final = _LOAD + " = ANY($1)"
_LOAD_SQLITE: Final = _LOAD + " IN (SELECT value FROM json_each(?))"  # noqa: S608


# Made once: to make one takes as long as to have it answered.
_PLACE = sa.select(spools.c.next_sequence).where(spools.c.spool_id == sa.bindparam("spool"))
_TURN = _PLACE.with_for_update()
_MOVE = (
    sa.update(spools)
    .where(spools.c.spool_id == sa.bindparam("spool"))
    .values(next_sequence=sa.bindparam("number"))
)


async def next_sequence(connection: AsyncConnection, spool_id: str) -> int:
    """Return the sequence number up to which a spool is in the ledger."""
    found = await connection.execute(_PLACE, {"spool": spool_id})
    return found.scalar_one_or_none() or 0


async def take_turn(connection: AsyncConnection, spool_id: str) -> int:
    """Return the same, and let nobody else add records of the spool before the commit."""
    name = {"spool": spool_id}
    found: int | None = (await connection.execute(_TURN, name)).scalar_one_or_none()
    if found is not None:
        return found
    await connection.execute(
        insert_into(connection, spools)
        .values(spool_id=spool_id, next_sequence=0)
        .on_conflict_do_nothing()
    )
    return int((await connection.execute(_TURN, name)).scalar_one())


async def take_turn_of(connection: AsyncConnection, roots: Collection[str]) -> None:
    """Let nobody else add records below some root keys before the commit.

    What one data plane held another may settle: whoever adds the one sees the other, or is
    seen by it.
    """
    if connection.dialect.name == "postgresql" and roots:  # SQLite has one writer at a time.
        # In their order, so that two never wait for each other.
        numbers = sorted({crc32(root.encode()) - 2**31 for root in roots})
        await connection.exec_driver_sql(
            f"SELECT pg_advisory_xact_lock({_ROOTS}, each) FROM unnest(ARRAY{numbers}) each"  # noqa: S608  # integers
        )


async def set_next_sequence(connection: AsyncConnection, spool_id: str, number: int) -> None:
    """Note how far a spool has come; whoever does has taken his turn."""
    await connection.execute(_MOVE, {"spool": spool_id, "number": number})


async def load(connection: AsyncConnection, decision_ids: Sequence[str]) -> list[tuple[Any, ...]]:
    """Return the stored rows of some decisions, each in the order of the columns."""
    if not decision_ids:
        return []
    # All names as one value: to make a parameter of each takes longer than to look it up.
    if connection.dialect.name == "postgresql":
        found = await connection.exec_driver_sql(_LOAD_POSTGRESQL, (list(decision_ids),))
    else:
        names = msgspec.json.encode(decision_ids).decode()
        found = await connection.exec_driver_sql(_LOAD_SQLITE, (names,))
    return list(map(tuple, found))


async def owners(
    connection: AsyncConnection, key_ids: Sequence[str]
) -> dict[str, Mapping[str, str]]:
    """Return name, organization, team and user of some keys, as columns of the audit log."""
    found: dict[str, Mapping[str, str]] = {}
    for start in range(0, len(key_ids), _CHUNK):
        query = sa.select(
            api_keys.c.id,
            api_keys.c.name.label("key_name"),
            api_keys.c.organization_id,
            api_keys.c.team_id,
            api_keys.c.user_id,
        ).where(api_keys.c.id.in_(key_ids[start : start + _CHUNK]))
        for row in (await connection.execute(query)).mappings():
            found[row["id"]] = {name: row[name] for name in row if name != "id"}
    return found


async def save(
    connection: AsyncConnection,
    rows: Sequence[Struct],
    stored: Mapping[str, tuple[Any, ...]] = {},
) -> None:
    """Insert rows, whose fields are the columns, or replace those of the same decision.

    `stored`: rows that are there, as `load` returned them, by their decision.
    """
    new: list[tuple[Any, ...]] = []
    settled: list[tuple[Any, ...]] = []
    for row in map(msgspec.structs.astuple, rows):
        before = stored.get(row[0])
        told = before is not None and _said(before) == _said(row)
        (settled if told else new).append(row)
    await _AUDIT.run(connection, new)
    await _OUTCOME.run(connection, settled)


async def add_spend(
    connection: AsyncConnection, sums: Mapping[tuple[str, str, int], Struct]
) -> None:
    """Add to the sums of keys and their windows."""
    await _SPEND.run(connection, _rows(sums))


async def add_usage(
    connection: AsyncConnection, sums: Mapping[tuple[str | int, ...], Struct]
) -> None:
    """Add to the daily sums of keys."""
    await _USAGE.run(connection, _rows(sums))


def _rows(sums: Mapping[Any, Struct]) -> list[tuple[Any, ...]]:
    # In one order everywhere, so that two writers cannot lock each other out.
    return [(*name, *msgspec.structs.astuple(sums[name])) for name in sorted(sums)]
