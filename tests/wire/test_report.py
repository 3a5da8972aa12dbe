"""Report over gRPC, on both transports."""

from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest

from pdp.data.watch import CurrentPrices
from pdp.model import Request, Usage
from pdp.options import Options
from pdp.quota.match import Match
from pdp.quota.price import ModelPrice, Price, PriceList, PriceTable, ProviderPrices, Rates
from pdp.records import Expired, Settled
from pdp.serve.transport import Transport
from pdp.v1 import policy_decision_pb2 as pb
from tests.wire.harness import NOON, Desk, record, serving
from tests.wire.test_check import SECOND, family, request


def usage(**fields: Any) -> pb.Usage:
    """100 prompt and 50 output tokens: 0.0002 USD."""
    return pb.Usage(
        **{"status": "success", "prompt_tokens": 100, "completion_tokens": 50, **fields}
    )


async def budget(stub: object) -> tuple[int, int]:
    """Return (spent, held) of the first limit."""
    look = await stub.Check(request(dry_run=True))  # type: ignore[attr-defined]
    return look.limits[0].spent, look.limits[0].held


async def test_what_was_used_takes_the_place_of_the_hold(
    transport: Transport, tmp_path: Path
) -> None:
    desk = family()
    async with serving(desk, transport, tmp_path) as stub:
        hold = await stub.Check(request(request_id="r1"))
        first = await stub.Report(
            pb.ReportRequest(usages=[usage(reservation_id=hold.reservation_id)])
        )
        again = await stub.Report(
            pb.ReportRequest(usages=[usage(reservation_id=hold.reservation_id)])
        )
        by_request = await stub.Report(
            pb.ReportRequest(usages=[usage(key_id="leaf", request_id="r1")])
        )
        assert await budget(stub) == (200_000, 0)
    assert (first.accepted, first.duplicates, len(first.errors)) == (1, 0, 0)
    assert (again.accepted, again.duplicates) == (0, 1)
    assert (by_request.accepted, by_request.duplicates) == (0, 1)
    assert sum(isinstance(each, Settled) for each in desk.sink.records) == 1


async def test_a_request_costs_what_it_did_when_it_was_checked() -> None:
    def table(rate: int) -> PriceTable:
        entry = ModelPrice(Match(equals=("gpt-4o",)), Price(Rates(rate, rate, rate)))
        return PriceTable(
            PriceList((ProviderPrices("openai", Match(starts_with=("gpt",)), (entry,)),))
        )

    prices = CurrentPrices()
    prices.swap(table(1_000_000), NOON)
    desk = Desk(record("leaf", budget_limits={"daily": 1}), prices=prices)
    desk.clock.now = NOON + 1
    asked = Request(
        "r1", "leaf", "chat:completions", "gpt-4o", prompt_tokens=10, max_output_tokens=0
    )
    assert not isinstance(desk.engine.check(asked), Awaitable)
    desk.clock.now = NOON + 2
    prices.swap(table(7_000_000), NOON + 2)
    for request_id in ("r1", "r2"):  # The second was never checked.
        desk.engine.report(
            Usage(key_id="leaf", request_id=request_id, model="gpt-4o", prompt_tokens=10)
        )
    assert [each.cost for each in desk.sink.records if isinstance(each, Settled)] == [10, 70]


async def test_a_hold_is_found_by_key_and_request_id(transport: Transport, tmp_path: Path) -> None:
    async with serving(family(), transport, tmp_path) as stub:
        await stub.Check(request(request_id="r1"))
        answer = await stub.Report(pb.ReportRequest(usages=[usage(key_id="leaf", request_id="r1")]))
        assert answer.accepted == 1
        assert await budget(stub) == (200_000, 0)


async def test_a_usage_that_was_never_checked_is_charged_once(
    transport: Transport, tmp_path: Path
) -> None:
    desk = family()
    async with serving(desk, transport, tmp_path) as stub:
        report = pb.ReportRequest(usages=[usage(key_id="leaf", request_id="r9", model="gpt-4o")])
        first, again = await stub.Report(report), await stub.Report(report)
        assert await budget(stub) == (200_000, 0)
    assert (first.accepted, again.duplicates) == (1, 1)


async def test_a_reported_cost_wins_and_cached_tokens_are_cheaper(
    transport: Transport, tmp_path: Path
) -> None:
    async with serving(family(), transport, tmp_path) as stub:
        cases: list[dict[str, Any]] = [{"cost_usd": "0.01"}, {"cached_tokens": 100}]
        for number, fields in enumerate(cases):
            hold = await stub.Check(request(request_id=str(number)))
            await stub.Report(
                pb.ReportRequest(usages=[usage(reservation_id=hold.reservation_id, **fields)])
            )
        assert await budget(stub) == (10_000_000 + 150_000, 0)


@pytest.mark.parametrize(
    ("fields", "charged"),
    [
        ({"status": "error"}, 0),
        ({"status": "denied"}, 0),
        ({"status": "cancelled"}, 3_000_000),
        ({"status": "success", "usage_source": "none"}, 3_000_000),
        ({"status": "success"}, 0),
        ({}, 3_000_000),
        ({"http_status": 500}, 0),
        ({"http_status": 499}, 3_000_000),
        ({"http_status": 200, "prompt_tokens": 10}, 10_000),
        ({"cost_usd": "0.002"}, 2_000_000),
        ({"status": "cancelled", "prompt_tokens": 10, "usage_source": "estimated"}, 10_000),
    ],
)
async def test_silence_is_not_free_but_failure_is(
    transport: Transport, tmp_path: Path, fields: dict[str, Any], charged: int
) -> None:
    async with serving(family(), transport, tmp_path) as stub:
        hold = await stub.Check(request())
        answer = await stub.Report(
            pb.ReportRequest(usages=[pb.Usage(reservation_id=hold.reservation_id, **fields)])
        )
        assert answer.accepted == 1
        assert await budget(stub) == (charged, 0)


@pytest.mark.parametrize(
    ("fields", "code", "word"),
    [
        ({}, "invalid_argument", "request_id"),
        ({"request_id": "r"}, "invalid_argument", "key_id"),
        ({"request_id": "r", "key_id": "nobody"}, "unknown_key", "nobody"),
        ({"reservation_id": "res_nothing"}, "unknown_reservation", "res_nothing"),
        ({"request_id": "r", "status": "fine"}, "invalid_argument", "status"),
        ({"request_id": "r", "prompt_tokens": -1}, "invalid_argument", "prompt_tokens"),
        ({"request_id": "r", "prompt_tokens": 2**60}, "invalid_argument", "prompt_tokens"),
        ({"request_id": "r", "cached_tokens": 101}, "invalid_argument", "cached_tokens"),
        ({"request_id": "r", "cost_usd": "1e99"}, "invalid_argument", "cost_usd"),
        ({"request_id": "r", "cost_usd": "-1"}, "invalid_argument", "cost_usd"),
        ({"request_id": "r", "usage_source": "dream"}, "invalid_argument", "usage_source"),
        ({"request_id": "r", "action": "chat:smoke"}, "invalid_argument", "action"),
        ({"request_id": "r", "model": "a b"}, "invalid_argument", "model"),
        ({"request_id": "r" * 300}, "invalid_argument", "256"),
    ],
)
async def test_a_bad_usage_fails_itself_only(
    transport: Transport, tmp_path: Path, fields: dict[str, Any], code: str, word: str
) -> None:
    async with serving(family(), transport, tmp_path) as stub:
        answer = await stub.Report(
            pb.ReportRequest(
                usages=[usage(**fields), usage(key_id="leaf", request_id="good", model="gpt-4o")]
            )
        )
        assert await budget(stub) == (200_000, 0)
    assert answer.accepted == 1
    assert [error.code for error in answer.errors] == [code]
    assert word in answer.errors[0].message


@pytest.mark.parametrize(
    ("policy", "charged"), [("full", 3_000_000), ("input", 1_000_000), ("zero", 0)]
)
async def test_an_unreported_hold_expires_to_its_policy_and_one_late_report_corrects_it(
    transport: Transport, tmp_path: Path, policy: str, charged: int
) -> None:
    records = family().keys.records.values()
    desk = Desk(*records, options=Options(unreported=policy))  # type: ignore[arg-type]
    async with serving(desk, transport, tmp_path) as stub:
        hold = await stub.Check(request(request_id="r1"))
        desk.clock.now = NOON + 599 * SECOND
        await desk.engine.expire()
        assert desk.stats.holds_expired == 0
        desk.clock.now = NOON + 600 * SECOND
        for _ in range(2):
            await desk.engine.expire()
            assert desk.stats.holds_expired == 1
        assert await budget(stub) == (charged, 0)
        late = pb.ReportRequest(usages=[usage(reservation_id=hold.reservation_id)])
        assert (await stub.Report(late)).accepted == 1
        assert await budget(stub) == (200_000, 0)
        assert (await stub.Report(late)).duplicates == 1
    assert sum(isinstance(each, Expired) for each in desk.sink.records) == 1


async def test_a_heartbeat_keeps_a_hold_alive(transport: Transport, tmp_path: Path) -> None:
    desk = family()
    async with serving(desk, transport, tmp_path) as stub:
        hold = await stub.Check(request())
        for minute in range(9, 121, 9):
            desk.clock.now = NOON + minute * 60 * SECOND
            desk.engine.extend(hold.reservation_id)
            await desk.engine.expire()
        assert desk.stats.holds_expired == 0
        assert await budget(stub) == (0, 3_000_000)


async def test_a_hold_over_midnight_settles_in_the_day_it_was_made(
    transport: Transport, tmp_path: Path
) -> None:
    desk = Desk(record("leaf", budget_limits={"daily": 1.0}))
    desk.clock.now = NOON + 12 * 3600 * SECOND - 1
    async with serving(desk, transport, tmp_path) as stub:
        hold = await stub.Check(request())
        desk.clock.now += 1
        assert await budget(stub) == (0, 0)
        await stub.Report(pb.ReportRequest(usages=[usage(reservation_id=hold.reservation_id)]))
        assert await budget(stub) == (0, 0)
        desk.clock.now -= 1
        assert await budget(stub) == (200_000, 0)
