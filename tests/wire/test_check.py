"""Check over gRPC, on both transports."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest

from pdp.options import Options
from pdp.serve.transport import Transport
from pdp.v1 import policy_decision_pb2 as pb
from tests.wire.harness import NOON, Desk, record, serving

SECOND = 1_000_000_000


def request(**fields: Any) -> pb.CheckRequest:
    """A chat completion of 1,000 prompt and 1,000 output tokens: 0.003 USD."""
    return pb.CheckRequest(
        **{
            "api_key": "leaf",
            "action": "chat:completions",
            "model": "gpt-4o",
            "estimated_prompt_tokens": 1000,
            "max_output_tokens": 1000,
            **fields,
        }
    )


def family(**leaf: object) -> Desk:
    """A root, a team below it with a daily budget of 1 USD, and a leaf below that."""
    return Desk(
        record("root"),
        record("team", parent_key_id="root", granted_by="root", budget_limits={"daily": 1.0}),
        record("leaf", parent_key_id="team", granted_by="root", team_id="t1", user_id="u1", **leaf),
    )


async def test_an_allowed_request_says_who_and_holds(transport: Transport, tmp_path: Path) -> None:
    desk = family()
    async with serving(desk, transport, tmp_path) as stub:
        answer = await stub.Check(request(request_id="r 1"))
        look = await stub.Check(request(dry_run=True))
    assert (answer.decision, answer.reason, answer.http_status) == (pb.DECISION_ALLOW, "ok", 200)
    assert (answer.key_id, answer.key_name, answer.organization_id) == ("leaf", "Leaf", "org")
    assert (answer.team_id, answer.user_id, answer.policy_revision) == ("t1", "u1", "7")
    assert answer.reservation_id.startswith("res_")
    assert answer.decision_id == "dec_" + answer.reservation_id[4:]
    assert answer.response_headers["x-request-id"] == "r%201"
    assert not answer.limits
    assert not answer.HasField("retry_after")
    assert [(limit.name, limit.held, limit.spent) for limit in look.limits] == [
        ("budget_limits.daily", 3_000_000, 0)
    ]
    assert look.limits[0].remaining == 997_000_000
    assert look.limits[0].reset_at.seconds == NOON // SECOND + 12 * 3600


async def test_a_dry_run_moves_and_writes_nothing(transport: Transport, tmp_path: Path) -> None:
    desk = family()
    async with serving(desk, transport, tmp_path) as stub:
        first = await stub.Check(request(dry_run=True))
        second = await stub.Check(request(dry_run=True))
    assert first.decision == second.decision == pb.DECISION_ALLOW
    assert not second.reservation_id
    assert second.limits[0].held == 0
    assert desk.sink.records == []


async def test_the_same_request_id_gets_the_same_answer(
    transport: Transport, tmp_path: Path
) -> None:
    desk = family()
    async with serving(desk, transport, tmp_path) as stub:
        first = await stub.Check(request(request_id="r1"))
        again = await stub.Check(request(request_id="r1"))
        look = await stub.Check(request(dry_run=True))
        other = await stub.Check(request(request_id="r1", model="gpt-4o-mini"))
    assert again.reservation_id == first.reservation_id
    assert again.decision_id == first.decision_id
    assert look.limits[0].held == 3_000_000
    assert (other.reason, other.http_status) == ("invalid_request", 400)


async def test_of_200_at_once_exactly_the_50_that_fit_pass(
    transport: Transport, tmp_path: Path
) -> None:
    desk = Desk(record("leaf", budget_limits={"total": 0.15}))
    async with serving(desk, transport, tmp_path) as stub:
        answers = await asyncio.gather(*(stub.Check(request()) for _ in range(200)))
    allowed = [answer for answer in answers if answer.decision == pb.DECISION_ALLOW]
    assert len(allowed) == 50
    assert {answer.reason for answer in answers if answer not in allowed} == {"budget_exceeded"}
    assert len({answer.reservation_id for answer in allowed}) == 50


async def test_a_full_budget_says_which_and_whose_and_moves_nothing(
    transport: Transport, tmp_path: Path
) -> None:
    desk = family(rate_limits={"per_minute": 10})
    async with serving(desk, transport, tmp_path) as stub:
        denied = await stub.Check(request(max_output_tokens=600_000))
        look = await stub.Check(request(dry_run=True))
    assert (denied.reason, denied.http_status) == ("budget_exceeded", 403)
    assert "`budget_limits.daily` of key `Team` (team)" in denied.message
    assert "limit 1 USD" in denied.message
    assert denied.response_headers["x-should-retry"] == "false"
    assert not denied.HasField("retry_after")
    assert not denied.reservation_id
    assert {(limit.name, limit.spent, limit.held) for limit in denied.limits} == {
        ("budget_limits.daily", 0, 0),
        ("rate_limits.per_minute", 0, 0),
    }
    assert all(limit.held == limit.spent == 0 for limit in look.limits)


async def test_the_operator_chooses_the_status_of_a_full_budget(
    transport: Transport, tmp_path: Path
) -> None:
    desk = Desk(record("leaf", budget_limits={"daily": 0}), options=Options(budget_status=402))
    async with serving(desk, transport, tmp_path) as stub:
        denied = await stub.Check(request())
    assert (denied.reason, denied.http_status) == ("budget_exceeded", 402)


async def test_a_rate_limit_says_when_to_come_back(transport: Transport, tmp_path: Path) -> None:
    desk = Desk(record("leaf", rate_limits={"per_minute": 2, "burst": 1}))
    async with serving(desk, transport, tmp_path) as stub:
        first = await stub.Check(request())
        denied = await stub.Check(request())
        desk.clock.now += 30 * SECOND
        third = await stub.Check(request())
    assert first.response_headers["x-ratelimit-limit-requests"] == "1"
    assert first.response_headers["x-ratelimit-remaining-requests"] == "0"
    assert (denied.reason, denied.http_status) == ("rate_limit_exceeded", 429)
    assert denied.retry_after.seconds == 30
    assert denied.response_headers["retry-after"] == "30"
    assert "x-should-retry" not in denied.response_headers
    assert third.decision == pb.DECISION_ALLOW


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"api_key": ""}, "missing_key"),
        ({"api_key": "nobody"}, "invalid_api_key"),
        ({"api_key": "gone"}, "key_revoked"),
        ({"api_key": "asleep"}, "key_suspended"),
        ({"api_key": "old"}, "key_expired"),
        ({"model": ""}, "invalid_request"),
        ({"action": "chat:smoke"}, "invalid_request"),
        ({"model": "gpt 4o"}, "invalid_request"),
        ({"model": "x" * 257}, "invalid_request"),
        ({"request_id": "x" * 257}, "invalid_request"),
        ({"max_output_tokens": 2**62}, "request_too_large"),
        ({"model": "nobodys-model"}, "price_unknown"),
        ({"max_output_tokens": 99_001}, "request_too_large"),
        ({"model": "nobodys-model", "max_output_tokens": 99_001}, "request_too_large"),
        ({"max_output_tokens": 60_000}, "token_quota_exceeded"),
    ],
)
async def test_reasons(
    transport: Transport, tmp_path: Path, fields: dict[str, Any], reason: str
) -> None:
    desk = Desk(
        record(
            "leaf",
            budget_limits={"total": 100.0},
            token_limits={"per_request_max": 100_000, "total": 50_000},
        ),
        record("gone", status="revoked"),
        record("asleep", status="suspended"),
        record("old", expires_at=NOON),
    )
    async with serving(desk, transport, tmp_path) as stub:
        answer = await stub.Check(request(**fields))
    assert answer.decision == pb.DECISION_DENY
    assert answer.reason == reason
    assert answer.message
    assert not answer.message.endswith(".")


async def test_max_requests_run_out(transport: Transport, tmp_path: Path) -> None:
    desk = Desk(record("leaf", permissions={"max_requests": 1}))
    async with serving(desk, transport, tmp_path) as stub:
        answers = [await stub.Check(request()) for _ in range(2)]
    assert [answer.reason for answer in answers] == ["ok", "request_quota_exceeded"]
    assert "`permissions.max_requests` of key `Leaf` (leaf)" in answers[1].message


async def test_without_a_budget_an_unknown_price_does_not_matter(
    transport: Transport, tmp_path: Path
) -> None:
    async with serving(Desk(record("leaf")), transport, tmp_path) as stub:
        answer = await stub.Check(request(model="nobodys-model"))
    assert answer.reason == "ok"


async def test_a_budget_condition_needs_a_price_too(transport: Transport, tmp_path: Path) -> None:
    policy = {
        "version": "2024-01-01",
        "statements": [
            {
                "effect": "Allow",
                "actions": ["*"],
                "resources": ["*"],
                "condition": {"monthly_budget_under": 1.0},
            }
        ],
    }
    async with serving(Desk(record("leaf", policy=policy)), transport, tmp_path) as stub:
        priced = await stub.Check(request())
        unpriced = await stub.Check(request(model="nobodys-model"))
    assert priced.matched_statement == "leaf/statements[0]"
    assert unpriced.reason == "price_unknown"
    assert "a budget condition of the policy of key `Leaf` (leaf) applies: " in unpriced.message


@pytest.mark.parametrize("field", ["estimated_prompt_tokens", "max_output_tokens"])
async def test_negative_amounts_are_an_invalid_argument(
    transport: Transport, tmp_path: Path, field: str
) -> None:
    async with serving(Desk(record("leaf")), transport, tmp_path) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Check(request(**{field: -1}))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert field in (caught.value.details() or "")


async def test_an_absent_output_bound_takes_the_default(
    transport: Transport, tmp_path: Path
) -> None:
    desk = family()
    async with serving(desk, transport, tmp_path) as stub:
        await stub.Check(pb.CheckRequest(api_key="leaf", action="chat:completions", model="gpt-4o"))
        look = await stub.Check(request(dry_run=True))
    assert look.limits[0].held == 4096 * 2 * 1000


async def test_the_callers_metadata_lies_over_the_keys(
    transport: Transport, tmp_path: Path
) -> None:
    desk = Desk(record("leaf", metadata={"app": "web", "stage": "test"}))
    async with serving(desk, transport, tmp_path) as stub:
        await stub.Check(request(metadata={"stage": "live"}, client_ip="192.0.2.1"))
    held = desk.sink.records[0]
    assert held.facts.metadata == {"app": "web", "stage": "live"}  # type: ignore[union-attr]
    assert held.facts.client_ip == "192.0.2.1"  # type: ignore[union-attr]


async def test_off_loopback_a_caller_needs_its_token(transport: Transport, tmp_path: Path) -> None:
    async with serving(Desk(record("leaf")), transport, tmp_path, "s3cret-t0ken") as stub:
        for metadata in (None, (("authorization", "Bearer wrong"),)):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Check(request(), metadata=metadata)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        answer = await stub.Check(request(), metadata=(("authorization", "Bearer s3cret-t0ken"),))
    assert answer.reason == "ok"
