"""Data planes in SQL: a row each, that its control plane renews.

Times are the database's: the clocks of control planes may differ by more than a row lives.
"""

from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from pdp.store.database import insert_into
from pdp.store.schema import data_planes

_LOCK: Final = 0x7064_7003
"""Number of PostgreSQL's advisory lock that one who enters has."""

_SECOND: Final = 1_000_000_000


async def lock(connection: AsyncConnection) -> None:
    """Keep others from entering until the end of this transaction."""
    if connection.dialect.name == "postgresql":  # SQLite has one writer at a time.
        await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")


async def seen_within(connection: AsyncConnection, seconds: int) -> dict[str, tuple[str, int]]:
    """Return where each data plane counts that was seen in the last so many seconds, and when."""
    since = _now(connection) - seconds * _SECOND
    rows = await connection.execute(sa.select(data_planes).where(data_planes.c.seen_at >= since))
    return {row.spool_id: (row.counters, row.seen_at) for row in rows}


async def put(
    connection: AsyncConnection, control_plane: str, spool_id: str, counters: str
) -> None:
    """Note that a data plane is at a control plane now, and where it counts."""
    row = {"control_plane": control_plane, "counters": counters, "seen_at": _now(connection)}
    await connection.execute(
        insert_into(connection, data_planes)
        .values(spool_id=spool_id, **row)
        .on_conflict_do_update(index_elements=["spool_id"], set_=row)
    )


async def renew(
    connection: AsyncConnection, control_plane: str, planes: Mapping[str, str], seconds: int
) -> None:
    """Note that data planes are still there, but for those that are elsewhere by now.

    `seconds`: how long a row lives that nobody renews.
    """
    now = _now(connection)
    mine = sa.or_(
        data_planes.c.control_plane == control_plane,
        data_planes.c.seen_at < now - seconds * _SECOND,
    )
    for spool_id, counters in planes.items():
        row = {"control_plane": control_plane, "counters": counters, "seen_at": now}
        await connection.execute(
            insert_into(connection, data_planes)
            .values(spool_id=spool_id, **row)
            .on_conflict_do_update(index_elements=["spool_id"], set_=row, where=mine)
        )


async def remove(connection: AsyncConnection, control_plane: str, spool_id: str) -> None:
    """Forget a data plane, unless it is at another control plane by now."""
    await connection.execute(
        sa.delete(data_planes).where(
            data_planes.c.spool_id == spool_id, data_planes.c.control_plane == control_plane
        )
    )


async def prune(connection: AsyncConnection, seconds: int) -> None:
    """Forget those that were not seen for so many seconds."""
    limit = _now(connection) - seconds * _SECOND
    await connection.execute(sa.delete(data_planes).where(data_planes.c.seen_at < limit))


def _now(connection: AsyncConnection) -> Any:
    if connection.dialect.name == "postgresql":
        epoch: Any = sa.func.floor(sa.extract("epoch", sa.func.clock_timestamp()))
    else:
        epoch = sa.func.strftime("%s", "now")
    return sa.cast(epoch, sa.BigInteger) * _SECOND
