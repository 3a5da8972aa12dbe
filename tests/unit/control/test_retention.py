"""Old entries go, in small batches, and never what the sums still depend on."""

import asyncio

import pytest
import sqlalchemy as sa
from msgspec.structs import replace

from pdp.app.control import loops_of
from pdp.control import retention
from pdp.control.attendance import Attendance
from pdp.control.retention import Retention
from pdp.errors import StartRefused
from pdp.settings import load_settings
from pdp.store.schema import audit
from tests.unit.control.desk import (
    NOON,
    SECOND,
    Desk,
    denied,
    expired,
    held,
    rows,
    settled,
    spend,
    used,
)

DAY = 86_400 * SECOND


class Clock:
    """A time that the test moves; how often there was a rest."""

    def __init__(self) -> None:
        self.now = NOON
        self.rests = 0

    async def rest(self, seconds: float) -> None:
        assert seconds > 0
        self.rests += 1
        await asyncio.sleep(0)


def retention_of(desk: Desk, clock: Clock, days: int = 30) -> Retention:
    return Retention(desk.database, days, lambda: clock.now, clock.rest)


async def left(desk: Desk) -> list[str]:
    return sorted(each for each in await rows(desk.database) if not each.startswith("adm_"))


async def test_entries_go_when_they_are_too_old_and_not_before(desk: Desk) -> None:
    holds = [held(f"d{number}", at=NOON + number) for number in range(3)]
    await desk.take(*holds, *map(settled, holds))
    clock = Clock()
    for now, gone, stay in (
        (NOON, 0, ["d0", "d1", "d2"]),
        (NOON + 30 * DAY, 0, ["d0", "d1", "d2"]),
        (NOON + 30 * DAY + 2, 3, ["d2"]),
        (NOON + 31 * DAY, 1, []),
    ):
        clock.now = now
        # The entry of the organization's making is as old as the first.
        assert await retention_of(desk, clock).sweep() == gone
        assert await left(desk) == stay


async def test_sums_stay_as_they_are(desk: Desk) -> None:
    holds = [held(f"d{number}") for number in range(4)]
    await desk.take(*holds, settled(holds[0]), settled(holds[1]), expired(holds[2]))
    before = await spend(desk.database), await used(desk.database)
    clock = Clock()
    clock.now += 1000 * DAY
    assert await retention_of(desk, clock).sweep() > 0
    assert (await spend(desk.database), await used(desk.database)) == before


async def test_a_pending_entry_stays_and_settles_as_if_nothing_had_gone(desk: Desk) -> None:
    hold, other = held("d1"), held("d2")
    await desk.take(hold, other, settled(other))
    clock = Clock()
    clock.now += 1000 * DAY
    await retention_of(desk, clock).sweep()
    assert await left(desk) == ["d1"]
    await desk.take(settled(hold, 40), first=3)
    total = (await spend(desk.database))["leaf", "total", 0]
    assert total == (80, 14, 2, 0, 0)
    await retention_of(desk, clock).sweep()
    assert await left(desk) == []


async def test_an_expired_entry_stays_until_nobody_corrects_it(desk: Desk) -> None:
    hold = held("d1")
    await desk.take(hold, expired(hold, 100, 10), denied("d2"))
    clock = Clock()
    clock.now += 31 * DAY
    await retention_of(desk, clock).sweep()
    assert await left(desk) == ["d1"]
    await desk.take(settled(hold, 40), first=3)
    assert (await spend(desk.database))["leaf", "total", 0] == (40, 7, 1, 0, 0)
    again = replace(held("d3"), at=NOON)
    await desk.take(again, expired(again), first=4)
    clock.now = NOON + 37 * DAY + 1
    await retention_of(desk, clock).sweep()
    assert await left(desk) == []


async def test_a_sweep_goes_on_behind_what_stays(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 3)
    # More pending ones at the front, of one instant, than a batch has.
    front = [held(f"p{number}", at=NOON - SECOND) for number in range(7)]
    behind = [held(f"d{number}", at=NOON + number) for number in range(5)]
    await desk.take(*front, *behind, *map(settled, behind))
    clock = Clock()
    clock.now += 1000 * DAY
    assert await retention_of(desk, clock).sweep() == 6
    assert await left(desk) == [f"p{number}" for number in range(7)]


async def test_a_batch_is_small_and_writers_get_in_between(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 10)
    await desk.take(*(denied(f"d{number:03}") for number in range(95)))
    clock = Clock()
    clock.now += 1000 * DAY
    counts: list[int] = []

    async def rest(seconds: float) -> None:
        # Somebody else writes: no transaction is open.
        async with desk.database.writing() as connection:
            query = sa.select(sa.func.count()).select_from(audit)
            counts.append((await connection.execute(query)).scalar_one())

    sweep = Retention(desk.database, 30, lambda: clock.now, rest)
    assert await sweep.sweep() == 96
    assert counts == list(range(86, 0, -10))


async def test_every_organizations_entries_go_and_those_of_nobody(desk: Desk) -> None:
    await desk.take(denied("d1"), denied("d2", organization_id=""))
    clock = Clock()
    clock.now += 1000 * DAY
    await retention_of(desk, clock).sweep()
    assert await left(desk) == []


@pytest.mark.parametrize(("days", "loops"), [(None, 0), ("30", 1)])
async def test_nothing_goes_unless_days_are_set(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, days: str | None, loops: int
) -> None:
    monkeypatch.delenv("PDP_AUDIT_RETENTION_DAYS", raising=False)
    if days is not None:
        monkeypatch.setenv("PDP_AUDIT_RETENTION_DAYS", days)
    found = loops_of(load_settings(), desk.database, Attendance())
    assert len(found) == loops
    for each in found:
        task = asyncio.ensure_future(each)
        await asyncio.sleep(0)
        assert not task.done()
        task.cancel()


@pytest.mark.parametrize("days", ["0", "-1", "many", "1.5", "40000"])
def test_days_that_are_none_stop_the_start(monkeypatch: pytest.MonkeyPatch, days: str) -> None:
    monkeypatch.setenv("PDP_AUDIT_RETENTION_DAYS", days)
    with pytest.raises(StartRefused, match=r"^PDP_AUDIT_RETENTION_DAYS: "):
        load_settings()
