"""The engine within bounds: of requests, of reports, of what it counts."""

from typing import Any

import pytest
from msgspec.structs import replace

from pdp.model import Decision, Request, Units
from pdp.records import Denied
from tests.unit.core.test_engine_waiting import LEAF, USAGE, ask, check, report
from tests.wire.harness import Desk, record


async def test_a_limit_of_nothing_blocks_also_what_has_no_price() -> None:
    limits = {"budget_limits": {"daily": 1}, "token_limits": {"per_request_max": 0}}
    desk = Desk(record("leaf", **limits))
    request = Request("r", "leaf", "chat:completions", "nobodys-model", max_output_tokens=0)
    assert (await check(desk, request)).reason == "request_too_large"


@pytest.mark.parametrize(
    "asked",
    [
        {"prompt_tokens": 999_999_999, "max_output_tokens": 2},
        {"max_output_tokens": 1_000_000_000, "choices": 1024},
        {"prompt_tokens": 10**18},
        {"metadata": {"a": "x" * 20_000}},
    ],
)
async def test_what_a_request_may_take_is_bounded(asked: dict[str, Any]) -> None:
    desk = Desk(record("leaf"))
    answer = await check(desk, Request("r", "leaf", "chat:completions", "gpt-4o", **asked))
    assert (answer.reason, answer.http_status) == ("invalid_request", 400)


@pytest.mark.parametrize(
    ("limits", "model", "reason", "words"),
    [
        (
            {"token_limits": {"per_request_max": 5}, "budget_limits": {"total": 1}},
            "gpt-4o",
            "request_too_large",
            "allows 5 tokens a request",
        ),
        (
            {"token_limits": {"daily": 5}, "budget_limits": {"total": 1}},
            "gpt-4o",
            "budget_exceeded",
            "is 1 USD and this request may take 2000000000: lower max_tokens",
        ),
        ({"budget_limits": {"total": 1}}, "nobodys-model", "price_unknown", "no price is known"),
        ({"token_limits": {"daily": 5}}, "gpt-4o", "token_quota_exceeded", "is 5 tokens and"),
        ({"token_limits": {"daily": 10**15}}, "gpt-4o", "invalid_request", "above 1,000,000,000"),
    ],
)
async def test_what_no_counter_takes_is_refused_by_the_limit_it_is_beyond(
    limits: dict[str, Any], model: str, reason: str, words: str
) -> None:
    desk = Desk(record("leaf", max_requests=0, **limits))
    request = Request("r", "leaf", "chat:completions", model, max_output_tokens=10**15)
    answer = await check(desk, request)
    assert (answer.reason, words in answer.message) == (reason, True), answer.message
    assert answer.response_headers["x-should-retry"] == "false"
    assert all(limit.held == 0 for limit in answer.limits)


@pytest.mark.parametrize(
    ("units", "choices", "tokens"),
    [
        (Units(images=5), 1, 33_000),
        (Units(images=2), 2, 13_200),
        (Units(images=3, characters=9_000), 1, 36_000),
        (Units(seconds=9), 2, 8_192),
    ],
)
async def test_an_output_without_a_bound_is_as_much_as_is_made(
    units: Units, choices: int, tokens: int
) -> None:
    desk = Desk(record("leaf"))
    request = Request("r", "leaf", "images:generate", "gpt-4o", units=units, choices=choices)
    assert (await check(desk, request)).allowed
    [hold] = desk.counters._holds.live.values()
    assert hold.tokens == tokens


@pytest.mark.parametrize(
    ("action", "bound", "tokens"),
    [
        ("chat:completions", None, 4_106),
        ("images:generate", None, 4_106),
        ("embeddings:create", None, 10),
        ("moderations:create", None, 10),
        ("embeddings:create", 5, 15),
    ],
)
async def test_an_action_without_output_holds_none_unless_it_is_said(
    action: str, bound: int | None, tokens: int
) -> None:
    desk = Desk(record("leaf"))
    request = Request("r", "leaf", action, "gpt-4o", prompt_tokens=10, max_output_tokens=bound)
    assert (await check(desk, request)).allowed
    [hold] = desk.counters._holds.live.values()
    assert hold.tokens == tokens


async def test_what_a_report_may_say_is_bounded() -> None:
    desk = Desk(LEAF)
    for wrong in (
        {"metadata": {"a": "x" * 20_000}},
        {"started_at": 2**63},
        {"started_at": -1},
        {"http_status": -1},
        {"latency_ms": -1},
    ):
        answer = await report(desk, replace(USAGE, **wrong))
        assert (answer.result, answer.code) == ("error", "invalid_argument")


async def test_the_names_of_providers_are_counted_within_bounds() -> None:
    desk = Desk(LEAF)
    for index, provider in enumerate(("openai", "mine", "yours", "unknown")):
        usage = replace(USAGE, request_id=f"r{index}", provider=provider)
        await report(desk, usage)
    assert {provider for provider, _ in desk.stats.tokens} == {"openai", "other"}


async def test_a_denial_has_a_request_id_too_where_the_caller_gave_none() -> None:
    desk = Desk(record("leaf", budget_limits={"total": 0}))
    for key in ("leaf", "nobody", ""):
        nameless = replace(ask(""), api_key=key)
        made = {(await check(desk, nameless)).response_headers["x-request-id"] for _ in "ab"}
        assert len(made) == 2
        assert all(name.startswith("req_") for name in made)
    written = [each.facts.request_id for each in desk.sink.records if isinstance(each, Denied)]
    assert len(set(written) - {""}) == 2
    given = await check(desk, ask("mine"))
    assert given.response_headers["x-request-id"] == "mine"


async def test_a_denial_without_a_key_is_counted_and_nobodys() -> None:
    desk = Desk(LEAF)
    answer = desk.engine.deny("route_not_allowed", "no", "r1", "envoy")
    assert (answer.reason, answer.http_status, answer.key_id) == ("route_not_allowed", 403, "")
    assert desk.stats.checks == {("deny", "route_not_allowed", "envoy"): 1}
    assert desk.sink.records == []


async def test_choices_multiply_the_output() -> None:
    desk = Desk(record("leaf", budget_limits={"total": 100}))
    request = Request("r", "leaf", "chat:completions", "gpt-4o", max_output_tokens=10, choices=3)
    await check(desk, request)
    assert (await check(desk, ask("x"))).reason == "ok"
    held = desk.engine.check(Request("", "leaf", "chat:completions", "gpt-4o", dry_run=True))
    assert isinstance(held, Decision)
    assert held.limits[0].held == 3 * 10 * 2000 + 1_000_000


async def test_providers_that_callers_make_up_are_one_label_of_the_metrics() -> None:
    desk = Desk(record("leaf"))
    for number in range(20):
        usage = replace(USAGE, request_id=f"r{number}", provider=f"made-up-{number}")
        assert (await report(desk, usage)).result == "accepted"
    assert {provider for provider, _ in desk.stats.tokens} == {"other"}
    assert desk.stats.cost.keys() <= {"other"}
