"""Two reports of one request, unlike each other, at two data planes: one is charged everywhere."""

import asyncio

import pytest
from msgspec.structs import replace

from pdp.model import Usage
from pdp.records import Overruled, Settled
from tests.counting import Fleet
from tests.store import Store
from tests.unit.control.desk import opened_desk, rows, spend, used
from tests.unit.counters.sites import Site, counted, meet, ship, site

USAGES = (
    Usage(cost=7_000, prompt_tokens=3, completion_tokens=4, model="gpt-4o"),
    Usage(cost=90_000, prompt_tokens=50, completion_tokens=40, model="gpt-4o", status="error"),
)
CHARGES = [(7_000, 7), (90_000, 90)]


async def both_report(
    patch: pytest.MonkeyPatch, one: Site, other: Site, *, checked: bool
) -> tuple[Site, Site]:
    """Report the same request to both at once; return who was first, and who was not."""
    for each in (one, other):
        await each.check("joined")
    named = {"request_id": "r", "key_id": "leaf", "action": "chat:completions"}
    if checked:
        named = {"reservation_id": (await one.check("r")).reservation_id}
    with patch.context() as until_then:
        meet(until_then, one, other)
        told = await asyncio.gather(
            *(
                each.report(replace(usage, **named))
                for each, usage in zip((one, other), USAGES, strict=True)
            )
        )
    assert sorted(each.result for each in told) == ["accepted", "duplicate"]
    assert all(
        isinstance(each.plane.spool[1 + (each is one and checked)], Settled)
        for each in (one, other)
    ), "both had it written down"
    return (one, other) if told[0].result == "accepted" else (other, one)


@pytest.mark.parametrize("checked", [True, False], ids=["checked", "unchecked"])
async def test_the_ledger_charges_what_redis_counted_whichever_it_hears_of_first(
    fleet: Fleet, store: Store, monkeypatch: pytest.MonkeyPatch, checked: bool
) -> None:
    one, other = site(fleet, "spool1"), site(fleet, "spool2")
    first, second = await both_report(monkeypatch, one, other, checked=checked)
    assert isinstance(second.plane.spool[-1], Overruled)
    assert not any(isinstance(each, Overruled) for each in first.plane.spool)
    charge = CHARGES[(one, other).index(first)]
    tellings = (
        ((first, 0, None), (second, 0, None)),
        ((second, 0, None), (first, 0, None)),
        ((second, 0, -1), (first, 0, None), (second, len(second.plane.spool) - 1, None)),
    )
    for number, telling in enumerate(tellings):
        async with store.initialized() as url, opened_desk(url) as ledger:
            for at, start, end in telling:
                await ship(ledger, at, start, end)
            found = [row for row in (await rows(ledger.database)).values() if row["cost"]]
            assert [(row["charged_cost"], row["charged_tokens"]) for row in found] == [charge]
            assert (await spend(ledger.database))["root", "total", 0] == counted(fleet), number
            tokens = [
                USAGES[CHARGES.index(charge)].prompt_tokens,
                USAGES[CHARGES.index(charge)].completion_tokens,
            ]
            sums = [each for each in (await used(ledger.database)).values() if any(each)]
            assert sums == [(1, *tokens, 0, charge[0])]


async def test_who_dies_before_it_hears_that_another_was_first_is_told_at_its_next_start(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = site(fleet, "spool1"), site(fleet, "spool2")
    first, second = await both_report(monkeypatch, one, other, checked=True)
    before, noted = counted(fleet), second.plane.spool.pop()
    with fleet.server.client() as client:
        # It had not been told yet, so nor had it said that all is counted up to there.
        client.hdel("pdp:{root}:spools", second.name)
    again = site(fleet, second.name)
    await again.plane.roots.join(again.plane.roots.lane("root"))
    assert again.plane.spool[-1] == noted
    assert counted(fleet) == before
    later = site(fleet, first.name)
    await later.plane.roots.join(later.plane.roots.lane("root"))
    assert not any(isinstance(each, Overruled) for each in later.plane.spool), "it was its own"


async def test_two_reports_alike_leave_nothing_more_to_be_said(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = site(fleet, "spool1"), site(fleet, "spool2")
    hold = (await one.check()).reservation_id
    await other.check("joined")
    meet(monkeypatch, one, other)
    usage = replace(USAGES[0], reservation_id=hold)
    told = await asyncio.gather(one.report(usage), other.report(replace(usage, latency_ms=5)))
    assert sorted(each.result for each in told) == ["accepted", "duplicate"]
    for each in (one, other):
        assert not any(isinstance(record, Overruled) for record in each.plane.spool)
