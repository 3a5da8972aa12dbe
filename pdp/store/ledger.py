"""The ledger in SQL: rows of the audit log, sums, and how far each spool has come."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncConnection

from pdp.counters.account import MOST
from pdp.store.database import insert_into
from pdp.store.schema import api_keys, audit, key_spend, spools, usage_daily

_CHUNK = 500
"""Values in one IN list: below every database's bound on parameters."""


async def next_sequence(connection: AsyncConnection, spool_id: str) -> int:
    """Return the sequence number up to which a spool is in the ledger."""
    found = await connection.execute(
        sa.select(spools.c.next_sequence).where(spools.c.spool_id == spool_id)
    )
    return found.scalar_one_or_none() or 0


async def set_next_sequence(connection: AsyncConnection, spool_id: str, number: int) -> None:
    """Note how far a spool has come."""
    statement = insert_into(connection, spools).values(spool_id=spool_id, next_sequence=number)
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=["spool_id"], set_={"next_sequence": statement.excluded.next_sequence}
        )
    )


async def load(connection: AsyncConnection, decision_ids: Sequence[str]) -> list[Mapping[str, Any]]:
    """Return the stored rows of some decisions."""
    found: list[Mapping[str, Any]] = []
    for start in range(0, len(decision_ids), _CHUNK):
        chunk = decision_ids[start : start + _CHUNK]
        query = sa.select(audit).where(audit.c.decision_id.in_(chunk))
        found.extend(dict(row) for row in (await connection.execute(query)).mappings())
    return found


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


async def save(connection: AsyncConnection, rows: Sequence[Struct]) -> None:
    """Insert rows, or replace those of the same decision."""
    if not rows:
        return
    statement = insert_into(connection, audit)
    columns = {
        column.name: statement.excluded[column.name]
        for column in audit.columns
        if column.name != "decision_id"
    }
    await connection.execute(
        statement.on_conflict_do_update(index_elements=["decision_id"], set_=columns),
        [msgspec.structs.asdict(row) for row in rows],
    )


async def add_spend(
    connection: AsyncConnection, sums: Mapping[tuple[str, str, int], Struct]
) -> None:
    """Add to the sums of keys and their windows."""
    await _add(connection, key_spend, ("key_id", "period", "start"), sums)


async def add_usage(
    connection: AsyncConnection, sums: Mapping[tuple[str, int, str, str], Struct]
) -> None:
    """Add to the daily sums of keys."""
    await _add(connection, usage_daily, ("key_id", "day", "model", "provider"), sums)


async def _add(
    connection: AsyncConnection,
    table: sa.Table,
    names: tuple[str, ...],
    sums: Mapping[Any, Struct],
) -> None:
    if not sums:
        return
    statement = insert_into(connection, table)
    added = {}
    for column in table.columns:
        if column.name not in names:
            total = table.c[column.name] + statement.excluded[column.name]
            # As the counters do: a sum that 64 bits cannot hold must not stop the ledger.
            added[column.name] = sa.case((total > MOST, MOST), else_=total)
    # In one order everywhere, so that two writers cannot lock each other out.
    await connection.execute(
        statement.on_conflict_do_update(index_elements=list(names), set_=added),
        [
            {**dict(zip(names, name, strict=True)), **msgspec.structs.asdict(sums[name])}
            for name in sorted(sums)
        ],
    )
