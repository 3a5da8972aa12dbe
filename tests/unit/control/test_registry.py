"""Data planes at several control planes of one database."""

import asyncio
from collections.abc import Sequence

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from pdp.control.attendance import IN_MEMORY, VANISHED, Attendance
from pdp.control.registry import EXPIRY, Registry
from pdp.errors import Conflict, Unavailable
from pdp.store.database import Database
from pdp.store.schema import data_planes
from tests.unit.control.desk import SECOND, Desk

IN_REDIS = "single redis.example:6379/0"


async def at_once(_: float) -> None:
    await asyncio.sleep(0)


def two_of(desk: Desk) -> tuple[Registry, Registry]:
    return Registry(desk.database, "x", at_once), Registry(desk.database, "y", at_once)


async def refused(desk: Desk, x: Registry, y: Registry, name: str, counters: str) -> str:
    """Return why `y` refuses a data plane for one that is at `x`, and lives."""
    await age(desk, 5)
    for _ in range(2):
        with pytest.raises(Unavailable, match="gone within 15 s"):
            await y.enter(name, counters)
        await x.beat()  # It may have vanished, and `x` not noticed yet.
    await age(desk, -int(VANISHED))
    with pytest.raises(Conflict) as caught:
        await y.enter(name, counters)
    await x.beat()
    return str(caught.value)


async def rows(desk: Desk) -> Sequence[tuple[str, str, str]]:
    async with desk.database.reading() as connection:
        found = await connection.execute(
            sa.select(
                data_planes.c.spool_id, data_planes.c.control_plane, data_planes.c.counters
            ).order_by(data_planes.c.spool_id)
        )
        return [tuple(row) for row in found]


async def age(desk: Desk, seconds: int) -> None:
    """Let all rows be older."""
    async with desk.database.writing() as connection:
        older = data_planes.c.seen_at - seconds * SECOND
        await connection.execute(sa.update(data_planes).values(seen_at=older))


async def test_who_counts_in_memory_is_seen_by_the_other_control_plane(desk: Desk) -> None:
    x, y = two_of(desk)
    await x.enter("a", IN_MEMORY)
    words = await refused(desk, x, y, "b", IN_MEMORY)
    assert "data plane `a` is here already" in words
    assert "one counts in memory" in await refused(desk, x, y, "b", IN_REDIS)
    await x.leave("a")
    await y.enter("b", IN_REDIS)
    await x.enter("a", IN_REDIS)
    assert "`single other:6379/0`" in await refused(desk, y, x, "c", "single other:6379/0")
    assert await rows(desk) == [("a", "x", IN_REDIS), ("b", "y", IN_REDIS)]


async def test_one_that_is_not_renewed_is_gone_and_one_that_is_stays(desk: Desk) -> None:
    x, y = two_of(desk)
    await x.enter("a", IN_MEMORY)
    await age(desk, EXPIRY + 2)
    await x.beat()
    await refused(desk, x, y, "b", IN_MEMORY)
    await age(desk, EXPIRY + 2)
    await y.enter("b", IN_MEMORY)
    await age(desk, 3600)
    await x.leave("a")
    await y.beat()
    assert await rows(desk) == [("b", "y", IN_MEMORY)]


async def test_one_that_goes_to_another_control_plane_is_not_forgotten_by_the_first(
    desk: Desk,
) -> None:
    x, y = two_of(desk)
    await x.enter("a", IN_MEMORY)
    await y.enter("a", IN_MEMORY)
    await x.beat()  # Its line to it is cut, which it has not noticed yet.
    await x.leave("a")
    assert await rows(desk) == [("a", "y", IN_MEMORY)]


async def test_a_control_plane_that_ends_keeps_the_places_of_its_data_planes(desk: Desk) -> None:
    x, y = two_of(desk)
    await x.enter("a", IN_MEMORY)
    beating = asyncio.create_task(x.run())
    await asyncio.sleep(0)
    beating.cancel()
    await asyncio.gather(beating, return_exceptions=True)
    await x.leave("a")
    with pytest.raises(Unavailable):
        await y.enter("b", IN_MEMORY)
    await y.enter("a", IN_MEMORY)


async def test_who_was_killed_is_waited_for_and_nobody_refused_for_it(desk: Desk) -> None:
    killed, y = two_of(desk)
    await killed.enter("a", IN_MEMORY)
    with capture_logs() as log:
        for _ in range(3):
            with pytest.raises(Unavailable, match="if that one was killed, it is gone within 15 s"):
                await y.enter("b", IN_MEMORY)
    (said,) = log
    assert "data plane `a` is here already" in said["reason"]
    await age(desk, EXPIRY + 2)
    await y.enter("b", IN_MEMORY)


async def test_one_that_comes_again_after_it_gave_up_waits_anew(desk: Desk) -> None:
    x, y = two_of(desk)
    await x.enter("a", IN_MEMORY)
    with pytest.raises(Unavailable):
        await y.enter("b", IN_MEMORY)
    for _ in range(2):
        await y.beat()
    await x.beat()
    await age(desk, -int(VANISHED))
    with pytest.raises(Unavailable):
        await y.enter("b", IN_MEMORY)


async def test_one_that_was_here_and_knows_keys_is_not_left_waiting(desk: Desk) -> None:
    x, y = two_of(desk)
    await x.enter("a", IN_MEMORY)
    await x.leave("a")
    await y.enter("b", IN_MEMORY)
    with pytest.raises(Conflict):
        await x.enter("a", IN_MEMORY)
    with pytest.raises(Unavailable):
        await x.enter("a", IN_MEMORY)


async def test_without_sql_only_those_are_let_in_that_were_before() -> None:
    database = Database("postgresql://nobody@127.0.0.1:1/none")
    registry = Registry(database, "x", at_once)
    attendance = Attendance(registry, patience=0)
    try:
        with pytest.raises(Unavailable):
            await attendance.enter("a", IN_MEMORY)
        registry._known.add("b")
        await attendance.enter("b", IN_MEMORY)  # And `a` has left no trace.
    finally:
        await database.close()
