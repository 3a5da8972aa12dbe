"""From spool records to ledger rows and sums."""

import asyncio

import msgspec
import pytest
from msgspec.structs import replace

from pdp.control.ingest import ingest
from pdp.errors import Conflict
from pdp.quota.hold import Window
from pdp.records import Extended, Settled, encode, unchecked_decision
from pdp.store import ledger
from tests.unit.control.desk import (
    DAY,
    MONTH,
    NOON,
    SECOND,
    Desk,
    denied,
    expired,
    facts,
    held,
    rows,
    settled,
    spend,
    unchecked,
    used,
)

PERIODS = (("day", DAY), ("month", MONTH), ("total", 0))
USED = ("leaf", DAY, "gpt-4o", "openai")


async def check_spend(desk: Desk, *sums: int) -> None:
    """Every key of the chain has these sums in every window, and there are no others."""
    assert await spend(desk.database) == {
        (key_id, period, start): sums for key_id in ("leaf", "root") for period, start in PERIODS
    }


# -- Holds


async def test_a_hold_is_a_pending_entry_that_counts_on_its_whole_chain(desk: Desk) -> None:
    assert await desk.take(held("d1", cost=100, tokens=10)) == 1
    row = (await rows(desk.database))["d1"]
    assert (row["status"], row["reason"], row["http_status"]) == ("pending", "ok", 0)
    assert (row["cost"], row["charged_cost"]) == (None, 0)
    assert (row["held_cost"], row["held_tokens"]) == (100, 10)
    assert row["reservation_id"] == "res_d1"
    assert row["at"] == NOON
    assert msgspec.json.decode(row["ancestors"]) == ["leaf", "root"]
    await check_spend(desk, 0, 0, 1, 100, 10)
    assert await used(desk.database) == {}


async def test_an_entry_has_the_facts_of_its_check(desk: Desk) -> None:
    await desk.take(held("d1"))
    row = (await rows(desk.database))["d1"]
    known = msgspec.structs.asdict(facts("d1"))
    assert msgspec.json.decode(row["metadata"]) == known.pop("metadata")
    assert {name: row[name] for name in known} == known


async def test_a_hold_without_a_price_holds_no_money(desk: Desk) -> None:
    await desk.take(held("d1", cost=None, tokens=10))
    await check_spend(desk, 0, 0, 1, 0, 10)


async def test_extending_a_hold_leaves_no_trace(desk: Desk) -> None:
    await desk.take(held("d1"))
    before = await desk.dump()
    assert await desk.take(Extended(NOON, "res_d1", NOON + SECOND), first=1) == 2
    assert await desk.dump() == before | {"spools": [("spool", 2)]}


async def test_a_hold_that_comes_after_its_settlement_says_what_was_asked(desk: Desk) -> None:
    first, second = held("d1", cost=100), held("d2", cost=100)
    await desk.take(first, settled(first, cost=40))
    whole = (await rows(desk.database))["d1"]
    known = settled(second, cost=40)
    bare = replace(known, facts=replace(known.facts, model="", provider="", action=""))
    # Of two data planes, the one that took the report was quicker to ship.
    assert await ingest(desk.database, "other", 0, [encode(bare)]) == 1
    before = await spend(desk.database)
    assert await desk.take(second, first=2) == 3
    row = (await rows(desk.database))["d2"]
    assert await spend(desk.database) == before
    for name in ("model", "provider", "action", "client_ip", "metadata", "status", "cost"):
        assert row[name] == whole[name], name
    assert not any((await used(desk.database))["leaf", DAY, "", ""]), "it was the hold's model"


# -- Settlements


async def test_a_settlement_takes_the_place_of_the_hold(desk: Desk) -> None:
    hold = held("d1", cost=100, tokens=10)
    await desk.take(hold)
    await desk.take(settled(hold, cost=40, prompt=3), first=1)
    row = (await rows(desk.database))["d1"]
    assert (row["status"], row["http_status"], row["latency_ms"]) == ("success", 200, 245)
    tokens = ("prompt_tokens", "completion_tokens", "cached_tokens", "charged_tokens")
    assert [row[name] for name in tokens] == [3, 4, 1, 7]
    assert (row["cost"], row["charged_cost"], row["usage_source"]) == (40, 40, "provider")
    assert (row["held_cost"], row["held_tokens"]) == (0, 0)
    assert row["at"] == NOON
    await check_spend(desk, 40, 7, 1, 0, 0)
    assert await used(desk.database) == {USED: (1, 3, 4, 1, 40)}


async def test_hold_and_settlement_of_one_batch_are_one_entry(desk: Desk) -> None:
    hold = held("d1")
    await desk.take(hold, settled(hold))
    assert [each for each in await rows(desk.database) if not each.startswith("adm_")] == ["d1"]
    await check_spend(desk, 40, 7, 1, 0, 0)


@pytest.mark.parametrize("status", ["success", "error", "denied", "cancelled"])
async def test_the_status_is_the_reported_one(desk: Desk, status: str) -> None:
    hold = held("d1")
    await desk.take(hold, settled(hold, status=status))
    assert (await rows(desk.database))["d1"]["status"] == status


async def test_a_cost_that_nobody_knows_is_none_and_charges_nothing(desk: Desk) -> None:
    hold = held("d1")
    await desk.take(hold, settled(hold, cost=None))
    row = (await rows(desk.database))["d1"]
    assert (row["cost"], row["charged_cost"]) == (None, 0)
    await check_spend(desk, 0, 7, 1, 0, 0)


async def test_what_a_report_says_overrides_the_check_and_what_it_leaves_out_stays(
    desk: Desk,
) -> None:
    hold = held("d1")
    said = settled(
        hold,
        model="gpt-4o-2024-08-06",
        client_ip="198.51.100.7",
        metadata={"run": "7", "app_name": "x"},
    )
    await desk.take(hold, said)
    row = (await rows(desk.database))["d1"]
    assert (row["model"], row["client_ip"]) == ("gpt-4o-2024-08-06", "198.51.100.7")
    known = facts("d1")
    assert row["provider"] == known.provider
    assert row["user_agent"] == known.user_agent
    assert (row["key_name"], row["team_id"], row["user_id"]) == ("Leaf", "team", "user")
    assert msgspec.json.decode(row["metadata"]) == {"app_name": "x", "run": "7"}
    assert list(await used(desk.database)) == [("leaf", DAY, "gpt-4o-2024-08-06", "openai")]


async def test_the_second_settlement_of_a_hold_changes_nothing(desk: Desk) -> None:
    hold = held("d1")
    await desk.take(hold, settled(hold))
    before = await desk.dump()
    assert await desk.take(settled(hold, cost=99), first=2) == 3
    assert await desk.dump() == before | {"spools": [("spool", 3)]}


async def test_a_usage_that_was_never_checked_is_charged_and_counts_a_request(desk: Desk) -> None:
    await desk.take(unchecked("d1"))
    row = (await rows(desk.database))["d1"]
    assert (row["status"], row["cost"], row["reservation_id"]) == ("success", 40, "")
    assert msgspec.json.decode(row["ancestors"]) == ["leaf", "root"]
    await check_spend(desk, 40, 7, 1, 0, 0)
    assert await used(desk.database) == {USED: (1, 3, 4, 1, 40)}


@pytest.mark.parametrize(
    ("started_at", "shown"), [(None, NOON + SECOND), (NOON - SECOND, NOON - SECOND)]
)
async def test_a_usage_that_was_never_checked_is_dated_by_its_start_if_known(
    desk: Desk, started_at: int | None, shown: int
) -> None:
    await desk.take(unchecked("d1", started_at=started_at))
    assert (await rows(desk.database))["d1"]["at"] == shown


def reported_at(at: int, cost: int) -> Settled:
    """Return the record of a report of one request that was never checked."""
    usage = unchecked("d1", cost, at=at)
    name = unchecked_decision(usage.facts.key_id, usage.facts.request_id, at)
    return replace(usage, facts=replace(usage.facts, decision_id=name))


@pytest.mark.parametrize("days", [-1, 1])
@pytest.mark.parametrize("at_once", [True, False])
async def test_two_reports_of_one_usage_on_either_side_of_midnight_count_once(
    desk: Desk, days: int, at_once: bool
) -> None:
    first, second = (encode(reported_at(at, 40)) for at in (NOON, NOON + days * 86_400 * SECOND))
    if at_once:
        assert await ingest(desk.database, "one", 0, [first, second]) == 2
    else:
        assert await ingest(desk.database, "one", 0, [first]) == 1
        assert await ingest(desk.database, "other", 0, [second]) == 1
    await check_spend(desk, 40, 7, 1, 0, 0)
    assert await used(desk.database) == {USED: (1, 3, 4, 1, 40)}


async def test_a_usage_that_is_reported_again_after_two_days_counts_again(desk: Desk) -> None:
    await desk.take(reported_at(NOON, 40), reported_at(NOON + 2 * 86_400 * SECOND, 2))
    await check_spend(desk, 42, 14, 2, 0, 0)


async def test_a_settlement_counts_in_the_windows_of_its_hold(desk: Desk) -> None:
    hold = held("d1")
    await desk.take(hold)
    next_day = held("d2", at=NOON + 86_400 * SECOND)
    moved = (Window("leaf", DAY + 86_400, MONTH), Window("root", DAY + 86_400, MONTH))
    await desk.take(replace(next_day, hold=replace(next_day.hold, windows=moved)), first=1)
    await desk.take(settled(hold), first=2)
    sums = await spend(desk.database)
    assert sums["root", "day", DAY] == (40, 7, 1, 0, 0)
    assert sums["root", "day", DAY + 86_400] == (0, 0, 1, 100, 10)
    assert sums["root", "month", MONTH] == sums["root", "total", 0] == (40, 7, 2, 100, 10)


# -- Expiries


async def test_an_expired_hold_is_charged_and_says_so(desk: Desk) -> None:
    hold = held("d1")
    await desk.take(hold)
    await desk.take(expired(hold, cost=60, tokens=6), first=1)
    row = (await rows(desk.database))["d1"]
    assert (row["status"], row["cost"], row["usage_source"]) == ("expired", 60, "none")
    await check_spend(desk, 60, 6, 1, 0, 0)
    assert await used(desk.database) == {USED: (1, 0, 0, 0, 60)}


async def test_a_late_report_trues_up_and_the_next_one_is_a_duplicate(desk: Desk) -> None:
    hold = held("d1")
    await desk.take(hold, expired(hold, cost=100))
    await desk.take(settled(hold, cost=40), first=2)
    row = (await rows(desk.database))["d1"]
    assert (row["status"], row["cost"], row["usage_source"]) == ("success", 40, "provider")
    await check_spend(desk, 40, 7, 1, 0, 0)
    assert await used(desk.database) == {USED: (1, 3, 4, 1, 40)}
    before = await desk.dump()
    await desk.take(settled(hold, cost=1), expired(hold, cost=2), first=3)
    assert await desk.dump() == before | {"spools": [("spool", 5)]}


async def test_a_late_report_of_another_model_takes_money_and_request_along(desk: Desk) -> None:
    hold = held("d1")
    await desk.take(hold, expired(hold, cost=100))
    await desk.take(settled(hold, cost=40, model="gpt-4o-mini"), first=2)
    found = await used(desk.database)
    assert found == {
        USED: (0, 0, 0, 0, 0),
        ("leaf", DAY, "gpt-4o-mini", "openai"): (1, 3, 4, 1, 40),
    }


async def test_an_expiry_after_the_settlement_changes_nothing(desk: Desk) -> None:
    hold = held("d1")
    await desk.take(hold, settled(hold))
    before = await desk.dump()
    await desk.take(expired(hold), first=2)
    assert await desk.dump() == before | {"spools": [("spool", 3)]}


async def test_an_expiry_of_a_hold_that_never_came_is_charged_to_its_key(desk: Desk) -> None:
    key = await desk.create(name="Lost", team_id="t", user_id="u")
    hold = held("d1")
    windows = tuple(replace(window, key_id=key["id"]) for window in hold.hold.windows[:1])
    lost = replace(expired(hold), key_id=key["id"], windows=windows)
    await desk.take(lost)
    row = (await rows(desk.database))["d1"]
    assert (row["status"], row["usage_source"]) == ("expired", "none")
    assert (row["key_name"], row["team_id"], row["user_id"]) == ("Lost", "t", "u")
    assert row["organization_id"] == desk.root.organization_id
    assert row["cost"] == row["charged_cost"] == lost.cost
    total = (await spend(desk.database))[key["id"], "total", 0]
    assert total == (lost.cost, lost.tokens, 1, 0, 0)


async def test_a_settlement_of_a_hold_that_never_came_is_its_keys(desk: Desk) -> None:
    key = await desk.create(name="Lost", team_id="t", user_id="u")
    record = settled(held("d1"))
    record = replace(
        record, facts=replace(record.facts, key_id=key["id"], key_name="", organization_id="")
    )
    await desk.take(record)
    row = (await rows(desk.database))["d1"]
    assert (row["key_name"], row["team_id"], row["user_id"]) == ("Lost", "t", "u")
    assert row["organization_id"] == desk.root.organization_id
    assert row["reservation_id"] == record.reservation_id


# -- Denials


async def test_a_denial_is_an_entry_and_counts_nowhere(desk: Desk) -> None:
    await desk.take(denied("d1", "budget_exceeded"))
    row = (await rows(desk.database))["d1"]
    assert (row["status"], row["reason"], row["http_status"]) == ("denied", "budget_exceeded", 403)
    assert row["cost"] is None
    assert msgspec.json.decode(row["ancestors"]) == ["leaf", "root"]
    assert not await spend(desk.database)
    assert not await used(desk.database)


async def test_a_denial_comes_once(desk: Desk) -> None:
    await desk.take(denied("d1", "budget_exceeded"))
    before = await desk.dump()
    await desk.take(denied("d1", "policy_denied"), first=1)
    assert await desk.dump() == before | {"spools": [("spool", 2)]}


# -- Batches


async def test_records_that_came_before_are_skipped(desk: Desk) -> None:
    hold = held("d1")
    records = (hold, settled(hold), denied("d2"))
    assert await desk.take(*records[:2]) == 2
    assert await desk.take(*records) == 3
    before = await desk.dump()
    assert await desk.take(*records) == 3
    assert await desk.take(*records[1:2], first=1) == 3
    assert await desk.dump() == before


async def test_an_empty_batch_asks_how_far_the_spool_has_come(desk: Desk) -> None:
    assert await desk.take() == 0
    await desk.take(held("d1"))
    assert await desk.take() == 1
    assert await desk.take(first=99) == 1


async def test_each_spool_has_its_own_numbers(desk: Desk) -> None:
    await desk.take(held("d1"), spool="one")
    assert await desk.take(held("d2"), spool="two") == 1
    await check_spend(desk, 0, 0, 2, 200, 20)


async def test_a_gap_is_refused_and_named(desk: Desk) -> None:
    await desk.take(held("d1"))
    before = await desk.dump()
    with pytest.raises(Conflict, match="record 1 comes next, not 2"):
        await desk.take(held("d2"), first=2)
    assert await desk.dump() == before


@pytest.mark.parametrize("junk", [b"", b"\xc1", b"\x92\xa1q\x01", b"not a record"])
async def test_a_record_that_cannot_be_read_stops_its_whole_batch(desk: Desk, junk: bytes) -> None:
    before = await desk.dump()
    with pytest.raises(Conflict, match="cannot be read"):
        await ingest(desk.database, "spool", 0, [encode(held("d1")), junk])
    assert await desk.dump() == before


async def test_a_batch_larger_than_one_in_list_finds_all_its_rows(desk: Desk) -> None:
    holds = [held(f"d{number}") for number in range(1100)]
    await desk.take(*holds)
    await desk.take(*map(settled, holds), first=len(holds))
    found = await rows(desk.database)
    assert len(found) == 1101  # The organization's making is an entry too.
    assert {row["status"] for row in found.values()} == {"success"}
    await check_spend(desk, 1100 * 40, 1100 * 7, 1100, 0, 0)


async def test_two_deliveries_of_a_spool_at_once_count_once(desk: Desk) -> None:
    """A second data plane's line, or a control plane that is still at the first."""
    async with desk.database.writing() as connection:
        assert await ledger.take_turn(connection, "spool") == 0
        second = asyncio.create_task(desk.take(held("d1"), denied("d2")))
        done, _ = await asyncio.wait([second], timeout=0.2)
        assert not done
        await ledger.set_next_sequence(connection, "spool", 1)
    assert await second == 2
    assert not await spend(desk.database)
    assert "d1" not in await rows(desk.database)
    assert "d2" in await rows(desk.database)


async def test_spools_do_not_wait_for_each_other(postgresql_desk: Desk) -> None:
    async with postgresql_desk.database.writing() as connection:
        await ledger.take_turn(connection, "one")
        assert await postgresql_desk.take(held("d1"), spool="two") == 1
