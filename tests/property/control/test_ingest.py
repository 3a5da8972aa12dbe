"""However the spool is delivered, the ledger is that of one delivery; and its sums are its rows'.

A shipper that loses an acknowledgement, or its process, sends again from any place
before the one that the ledger has reached, in batches cut elsewhere.
"""

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from pdp.control.ingest import ingest
from pdp.errors import Conflict
from pdp.quota.hold import Window
from pdp.records import Extended, Held, Record, encode
from tests.examples import tries
from tests.store import Store
from tests.unit.control.desk import (
    DAY,
    MONTH,
    NOON,
    Desk,
    denied,
    expired,
    held,
    opened_desk,
    rows,
    settled,
    spend,
    unchecked,
    used,
)

CHAINS = (("leaf", "team", "root"), ("other", "team", "root"), ("root",))
MODELS = ("", "gpt-4o", "gpt-4o-mini")
COUNT = st.integers(0, 50)
LIFE = ("held", "expired", "settled")
KINDS = (*LIFE, "unchecked", "denied", "extended")


class Batch(Struct, frozen=True):
    """A delivery: how far before the ledger's position it starts, and how long it is.

    `torn`: its last record is junk, so nothing of it counts.
    """

    back: int
    length: int
    torn: bool


BATCHES = st.lists(st.builds(Batch, st.integers(0, 8), st.integers(0, 8), st.booleans()))


def hold_of(number: int, cost: int | None, tokens: int) -> Held:
    """Return the hold of a decision: its chain and windows follow from its number."""
    record = held(f"d{number}", cost, tokens, chain=CHAINS[number % 3], at=NOON + number)
    day = DAY + 86_400 * (number % 2)
    windows = tuple(Window(each, day, MONTH) for each in CHAINS[number % 3])
    return replace(record, hold=replace(record.hold, windows=windows))


@st.composite
def records(draw: st.DrawFn, kind: str, number: int) -> Record:
    """Return a record of a decision."""
    hold = hold_of(number, draw(st.none() | COUNT), draw(COUNT))
    cost, model = draw(st.none() | COUNT), draw(st.sampled_from(MODELS))
    match kind:
        case "settled":
            return settled(hold, cost, draw(COUNT), model=model)
        case "unchecked":
            usage = unchecked(hold.hold.decision_id, cost, windows=hold.hold.windows)
            return replace(usage, facts=replace(usage.facts, key_id=hold.hold.key_id, model=model))
        case "expired":
            return expired(hold, draw(COUNT), draw(COUNT))
        case "denied":
            return denied(hold.hold.decision_id, key_id=hold.hold.key_id)
        case "extended":
            return Extended(NOON, hold.hold.reservation_id, NOON)
    return hold


@st.composite
def spools(draw: st.DrawFn) -> list[Record]:
    """Return records of a few decisions: whole lives of holds, and anything in any order."""
    found: list[Record] = []
    for _ in range(draw(st.integers(1, 6))):
        kinds = draw(st.just(LIFE) | st.lists(st.sampled_from(KINDS), max_size=4))
        number = draw(st.integers(0, 3))
        found += [draw(records(kind, number)) for kind in kinds]
    return found


async def deliver(desk: Desk, spool: list[bytes], batches: list[Batch]) -> None:
    """Send batches as a shipper would, and at last all that the ledger does not have yet."""
    position = 0
    for batch in batches:
        first = max(0, position - batch.back)
        sent = spool[first : first + batch.length]
        reached = max(position, first + len(sent))
        if batch.torn and reached == first + len(sent) < len(spool):
            with pytest.raises(Conflict):
                await ingest(desk.database, "spool", first, [*sent, b"junk"])
            continue
        assert await ingest(desk.database, "spool", first, sent) == reached
        position = reached
    assert await ingest(desk.database, "spool", position, spool[position:]) == len(spool)


async def check_sums(desk: Desk) -> None:
    """The sums of keys and days are those of the rows."""
    ledger = [row for each, row in (await rows(desk.database)).items() if each[:4] != "adm_"]
    totals: dict[str, list[int]] = {}
    for row in ledger:
        charge = [row["charged_cost"], row["charged_tokens"], 1, *_held(row)]
        for key_id in msgspec.json.decode(row["ancestors"]) if row["status"] != "denied" else ():
            before = totals.get(key_id, [0] * 5)
            totals[key_id] = [a + b for a, b in zip(before, charge, strict=True)]
    sums = await spend(desk.database)
    assert {name[0]: [*each] for name, each in sums.items() if name[1] == "total"} == totals
    for key_id, total in totals.items():
        for period in ("day", "month"):
            parts = [each for name, each in sums.items() if name[:2] == (key_id, period)]
            assert [sum(column) for column in zip(*parts, strict=True)] == total
    ended = [row for row in ledger if row["status"] not in ("pending", "denied")]
    usage = (await used(desk.database)).values()
    assert sum(each[0] for each in usage) == len(ended)
    for place, name in enumerate(("prompt_tokens", "completion_tokens", "cached_tokens"), 1):
        assert sum(each[place] for each in usage) == sum(row[name] for row in ended)
    assert sum(each[4] for each in usage) == sum(row["charged_cost"] for row in ended)


def _held(row: dict[str, Any]) -> tuple[int, int]:
    return row["held_cost"], row["held_tokens"]


@tries(25)
@given(spool=spools(), batches=BATCHES)
def test_any_delivery_is_the_same_as_one(
    sqlite_store: Store, spool: list[Record], batches: list[Batch]
) -> None:
    asyncio.run(compare(sqlite_store, list(map(encode, spool)), batches))


@tries(10)
@given(spool=spools(), batches=BATCHES)
def test_any_delivery_is_the_same_as_one_on_postgresql(
    postgresql_store: Store, spool: list[Record], batches: list[Batch]
) -> None:
    asyncio.run(compare(postgresql_store, list(map(encode, spool)), batches))


async def compare(store: Store, spool: list[bytes], batches: list[Batch]) -> None:
    dumps = []
    for plan in ([], batches):
        async with store.initialized() as url, opened_desk(url) as desk:
            await deliver(desk, spool, plan)
            await check_sums(desk)
            dumps.append(await desk.dump())
    assert dumps[0] == dumps[1]
