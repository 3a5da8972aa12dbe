"""What callers write, and how much: neither stops the ledger."""

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from pdp.errors import Conflict
from tests.unit.control.desk import Desk, denied, expired, held, rows, settled, spend, used

WORDS = {
    "request_id": 256,
    "action": 64,
    "model": 256,
    "provider": 256,
    "client_ip": 64,
    "user_agent": 512,
}
"""What a caller says, with the characters that the ledger has room for."""


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("a\0b", "a\N{REPLACEMENT CHARACTER}b"),
        ("\0" * 600, "\N{REPLACEMENT CHARACTER}"),
        ("x" * 10_000, "x"),
        ("\N{GRINNING FACE}" * 600, "\N{GRINNING FACE}"),
    ],
)
async def test_no_word_of_a_caller_stops_the_ledger(desk: Desk, written: str, kept: str) -> None:
    words: Any = dict.fromkeys(WORDS, written)
    first, second, third = held("d1", **words), held("d2"), held("d3")
    told: Any = {name: written for name in WORDS if name != "request_id"}
    out = replace(expired(third), request_id=written)
    await desk.take(first, second, settled(second, **told), denied("d4", **words), out)
    assert await desk.take(settled(first), first=5) == 6
    found = await rows(desk.database)
    for name, length in WORDS.items():
        expected = kept * length if len(kept) == 1 else kept
        whose = ("d1", "d3", "d4") if name == "request_id" else ("d1", "d2", "d4")
        assert [found[each][name] for each in whose] == [expected] * 3
    models = {name[2] for name in await used(desk.database)}
    assert models == {found["d1"]["model"], ""}


async def test_metadata_is_kept_as_it_was_written(desk: Desk) -> None:
    written = {"a\0b": "c\0d", "long": "x" * 10_000}
    await desk.take(held("d1", metadata=written))
    assert msgspec.json.decode((await rows(desk.database))["d1"]["metadata"]) == written


async def test_a_sum_goes_up_to_what_it_holds_and_no_further(desk: Desk) -> None:
    most = 2**62
    for number, cost in enumerate((most - 5, 2**63 - 1, 7)):
        hold = held(f"d{number}", 0)
        await desk.take(hold, settled(hold, cost, cached_tokens=0), first=2 * number)
    assert (await spend(desk.database))["leaf", "total", 0][0] == most
    (usage,) = (await used(desk.database)).values()
    assert usage[4] == most


async def test_a_number_that_no_database_holds_is_refused_and_nothing_is_lost(desk: Desk) -> None:
    before = await desk.dump()
    with pytest.raises(Conflict):
        await desk.take(held("d1", 2**63))
    assert await desk.dump() == before
