"""Engines of two data planes over one real Redis."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace

from pdp.control.fold import Fold
from pdp.model import Decision, Reported, Request, Usage
from pdp.options import Options
from tests.counting import Books, Plane
from tests.redis import RedisServer
from tests.wire.harness import NOON, Desk, record

MILLI = 1_000_000
CHEAP_FROM = {
    "version": "2024-01-01",
    "statements": [
        {"effect": "Allow", "actions": ["*"], "resources": ["model:gpt-4o"],
         "condition": {"daily_budget_under": 0.002}},
        {"effect": "Allow", "actions": ["*"], "resources": ["model:gpt-4o-mini"],
         "condition": {"daily_budget_over": 0.002}},
    ]
}  # fmt: skip


class Pair:
    """Two desks with the same keys."""

    def __init__(self, server: RedisServer, *records: Any) -> None:
        books = Books()
        self.planes = [
            Plane(server.local_url, name, books, now=lambda: NOON) for name in ("one", "other")
        ]
        options = Options(roots_in_ids=True)
        self.one, self.other = (
            Desk(*records, options=options, counters=plane.counters, boot=name)
            for plane, name in zip(self.planes, ("one", "other"), strict=True)
        )


@pytest.fixture
async def pairs(redis: RedisServer) -> AsyncIterator[Any]:
    redis.flush()
    made: list[Pair] = []

    def make(*records: Any) -> Pair:
        made.append(Pair(redis, *records))
        return made[-1]

    yield make
    for pair in made:
        for plane in pair.planes:
            await plane.close()


def ask(request_id: str = "r1", model: str = "gpt-4o", key: str = "root") -> Request:
    """0.001 USD of gpt-4o."""
    return Request(
        request_id, key, "chat:completions", model, prompt_tokens=1000, max_output_tokens=0
    )


async def check(desk: Desk, request: Request) -> Decision:
    answer = desk.engine.check(request)
    return answer if isinstance(answer, Decision) else await answer


async def report(desk: Desk, **fields: Any) -> Reported:
    answer = desk.engine.report(Usage(**fields))
    return answer if isinstance(answer, Reported) else await answer


async def test_a_condition_sees_at_once_what_another_data_plane_has_moved(pairs: Any) -> None:
    pair = pairs(record("root", policy=CHEAP_FROM))
    for number in range(2):
        assert (await check(pair.one, ask(f"r{number}"))).reason == "ok"
    refused = await check(pair.other, ask("r3"))
    assert refused.reason == "condition_not_met", "it has never seen any spend"
    cheap = await check(pair.other, ask("r4", "gpt-4o-mini"))
    assert cheap.reason == "ok", "and would deny this, had it not looked"


async def test_a_retry_on_another_data_plane_is_answered_as_before(pairs: Any) -> None:
    root = record("root", budget_limits={"total": 0.001})
    pair = pairs(root)
    first = await check(pair.one, ask())
    again = await check(pair.other, ask())
    assert (again.allowed, again.reservation_id) == (True, first.reservation_id)
    assert first.reservation_id.endswith(".root")
    other = await check(pair.other, replace(ask(), prompt_tokens=1))
    assert other.reason == "invalid_request"
    # Also where the policy would deny it by now.
    pair.other.keys.records["root"] = record("root", permissions={"models": []})
    pair.other.keys._compiled.clear()
    again = await check(pair.other, ask())
    assert again.reservation_id == first.reservation_id
    assert (await check(pair.other, ask("r2"))).reason == "model_not_allowed"


async def test_a_report_by_request_finds_the_hold_of_another_and_counts_once(pairs: Any) -> None:
    pair = pairs(record("root", budget_limits={"total": 1.0}))
    await check(pair.one, ask())
    usage = {"key_id": "root", "request_id": "r1", "cost": 7}
    assert (await report(pair.other, **usage)).result == "accepted"
    assert (await report(pair.one, **usage)).result == "duplicate"
    assert (await report(pair.one, **{**usage, "key_id": "nobody"})).code == "unknown_key"
    assert (await report(pair.one, reservation_id="res_x-1.root")).code == "unknown_reservation"
    refused = await check(pair.other, replace(ask("r2"), dry_run=True))
    assert (refused.limits[0].spent, refused.limits[0].held) == (7, 0)


async def test_of_two_reports_of_an_unchecked_usage_at_once_the_ledger_takes_one(
    pairs: Any,
) -> None:
    pair = pairs(record("root"))
    desks = pair.one, pair.other
    both_have_looked = asyncio.Barrier(2)
    for plane in pair.planes:

        async def locate(*names: Any, look: Any = plane.counters.locate) -> Any:
            found = await look(*names)
            await both_have_looked.wait()
            return found

        plane.counters.locate = locate
    usage = {"key_id": "root", "request_id": "r1", "cost": 7}
    both = await asyncio.gather(*(report(desk, **usage) for desk in desks))
    assert sorted(each.result for each in both) == ["accepted", "duplicate"]
    fold = Fold({}, {})
    for desk in desks:
        (written,) = desk.sink.records
        fold.add(written)
    total = fold.spend["root", "total", 0]
    assert (total.cost, total.requests) == (7, 1)


async def test_a_permission_that_nobody_got_is_given_back(pairs: Any) -> None:
    pair = pairs(record("root", budget_limits={"total": 0.001}))
    decision = await check(pair.one, ask())
    withdrawn = pair.one.engine.withdraw(decision)
    assert withdrawn is not None
    await withdrawn
    assert (await check(pair.other, ask("r2"))).reason == "ok"


async def test_a_permission_that_a_retry_elsewhere_has_got_is_not_given_back(pairs: Any) -> None:
    pair = pairs(record("root", budget_limits={"total": 0.001}))
    first = await check(pair.one, ask())
    again = await check(pair.other, ask())
    assert again.reservation_id == first.reservation_id
    withdrawn = pair.one.engine.withdraw(first)
    assert withdrawn is not None
    assert await withdrawn is None
    assert (await check(pair.one, ask("r2"))).reason == "budget_exceeded"
    reported = await report(pair.other, reservation_id=again.reservation_id, cost=MILLI)
    assert reported.result == "accepted"
    assert (await check(pair.one, ask("r3"))).reason == "budget_exceeded", "it was spent"


async def test_a_refusal_shows_the_limits_as_they_stand(pairs: Any) -> None:
    pair = pairs(record("root", budget_limits={"total": 0.001}, rate_limits={"per_minute": 9}))
    await check(pair.one, ask())
    refused = await check(pair.other, ask("r2"))
    assert refused.reason == "budget_exceeded"
    budget, rate = refused.limits
    assert (budget.spent, budget.held, budget.limit) == (0, MILLI, MILLI)
    assert rate.spent == 1
