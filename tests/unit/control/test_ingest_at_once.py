"""Spools of several data planes that come at once, to several control planes."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from pdp.control.ingest import ingest
from pdp.records import Record, Settled, encode, unchecked_decision
from pdp.store.database import Database
from tests.unit.control.desk import NOON, SECOND, Desk, held, rows, settled, spend, unchecked

ROUNDS = 8


@pytest.fixture
async def other(desk: Desk) -> AsyncIterator[Database]:
    """Another control plane's connections to the desk's database."""
    database = Database(desk.url)
    yield database
    await database.close()


async def take(desk: Desk, other: Database, number: int, one: Record, two: Record) -> None:
    """Let two spools come at once, a record each."""
    await asyncio.gather(
        ingest(desk.database, "one", number, [encode(one)]),
        ingest(other, "two", number, [encode(two)]),
    )


async def test_a_hold_and_its_settlement_by_another_data_plane(desk: Desk, other: Database) -> None:
    for number in range(ROUNDS):
        hold = held(f"d{number}")
        await take(desk, other, number, hold, settled(hold))
    found = await rows(desk.database)
    assert {found[f"d{number}"]["status"] for number in range(ROUNDS)} == {"success"}
    assert set((await spend(desk.database)).values()) == {
        (40 * ROUNDS, 7 * ROUNDS, ROUNDS, 0, 0),
    }


def reported(number: int, at: int) -> Settled:
    usage = unchecked(f"d{number}", at=at)
    name = unchecked_decision(usage.facts.key_id, usage.facts.request_id, at)
    return replace(usage, facts=replace(usage.facts, decision_id=name))


@pytest.mark.parametrize("apart", [0, 86_400 * SECOND])
async def test_two_reports_of_one_usage_that_was_never_checked(
    desk: Desk, other: Database, apart: int
) -> None:
    for number in range(ROUNDS):
        one, two = reported(number, NOON), reported(number, NOON + apart)
        await take(desk, other, number, one, two)
    assert set((await spend(desk.database)).values()) == {
        (40 * ROUNDS, 7 * ROUNDS, ROUNDS, 0, 0),
    }
