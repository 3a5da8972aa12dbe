"""Simulations of keys that are there: their real chains, and what the ledger has of them."""

from typing import Any

import pytest

from pdp.control.initialize import initialize
from pdp.control.policies import Answer, simulate_key
from pdp.control.resolve import resolve
from pdp.control.simulation import Rules
from pdp.errors import InvalidDocument, NotFound
from pdp.model import Request
from pdp.options import Options
from tests.unit.control.desk import NOON, PEPPER, Desk, held, settled
from tests.wire.harness import Desk as EngineDesk
from tests.wire.harness import FixedPrices

RULES = Rules(FixedPrices(), Options())


async def simulated(desk: Desk, body: Any, **request: Any) -> Answer:
    asked = {"model": "gpt-4o", "max_tokens": 0, **request}
    body = {**body, "request": asked}
    return await simulate_key(desk.database, desk.keys, desk.actor, body, desk.now, RULES)


async def test_the_chains_and_the_spend_of_a_key_decide(desk: Desk) -> None:
    deny = {"effect": "Deny", "actions": ["*"], "resources": ["model:o*"]}
    allow = {"effect": "Allow", "actions": ["*"], "resources": ["*"]}
    policy = {"version": "2024-01-01", "statements": [allow, deny]}
    team = await desk.create(
        key_type="team", team_id="t", policy=policy, budget_limits={"daily": 1}, name="Team"
    )
    user = await desk.create(key_type="user", team_id="t", user_id="u")
    chain = (user["id"], team["id"], desk.root.key_id)
    before = await desk.dump()
    body = {"api_key_id": user["id"]}

    denied = await simulated(desk, body, model="o3")
    assert (denied["reason"], denied["key_id"]) == ("policy_denied", user["id"])
    assert denied["matched_statement"] == f"{team['id']}/statements[1]"
    assert (await simulated(desk, body))["decision"] == "allow"
    assert await desk.dump() == before

    first = held("a", 7 * 10**8, chain=chain)
    second = held("b", 2 * 10**8, chain=chain)
    await desk.take(first, settled(first, 6 * 10**8), second)
    (limit,) = (await simulated(desk, body))["limits"]
    assert (limit["name"], limit["key_id"]) == ("budget_limits.daily", team["id"])
    assert (limit["spent"], limit["held"]) == (6 * 10**8, 2 * 10**8)
    full = await simulated(desk, body, prompt_tokens=200_001)
    assert full["reason"] == "budget_exceeded"
    assert "`budget_limits.daily` of key `Team`" in full["message"]
    assert (await simulated(desk, body, prompt_tokens=200_000))["decision"] == "allow"
    tomorrow = await simulated(desk, body, prompt_tokens=200_001, at="2026-11-24T00:00:00Z")
    assert tomorrow["decision"] == "allow"
    pretended = await simulated(desk, body, spend={team["id"]: {"daily": 1}}, prompt_tokens=1)
    assert pretended["reason"] == "budget_exceeded"


async def test_it_says_what_an_engine_with_that_key_says(desk: Desk) -> None:
    made = await desk.create(
        permissions={"models": ["gpt-*"], "daily_budget": 0.001},
        token_limits={"per_request_max": 9},
    )
    _, resolved = await resolve(desk.database, None, made["id"])
    assert resolved is not None
    engine_desk = EngineDesk(*resolved.records)
    engine_desk.clock.now = desk.now
    for model, tokens in (("gpt-4o", 1), ("o3", 1), ("gpt-4o", 10), ("gpt-4o", 0)):
        answer = await simulated(
            desk, {"api_key_id": made["id"]}, model=model, prompt_tokens=tokens
        )
        request = _request(made["id"], model, tokens)
        decision: Any = engine_desk.engine.check(request)
        assert (answer["reason"], answer["message"]) == (decision.reason, decision.message)


def _request(key_id: str, model: str, tokens: int) -> Request:
    action = "chat:completions"
    sizes = {"prompt_tokens": tokens, "max_output_tokens": 0}
    return Request("", key_id, action, model, **sizes, dry_run=True)  # type: ignore[arg-type]


async def test_what_has_ended_is_told(desk: Desk) -> None:
    made = await desk.create()
    await desk.keys.revoke(desk.actor, made["id"], desk.now, cascade=False)
    assert (await simulated(desk, {"api_key_id": made["id"]}))["reason"] == "key_revoked"


async def test_a_key_of_others_is_not_there(desk: Desk) -> None:
    other = await initialize(desk.database, PEPPER, NOON, "other", "Other", "UTC")
    for key_id in (other.key_id, "key_none", "", "../x"):
        with pytest.raises(NotFound):
            await simulated(desk, {"api_key_id": key_id})


@pytest.mark.parametrize(
    ("body", "places"),
    [
        ({"api_key_id": 7}, ["api_key_id"]),
        ({"api_key_id": "x", "policy": {}}, ["policy"]),
        ({"api_key_id": "x", "keys": [], "timezone": "UTC"}, ["keys", "timezone"]),
        ({"api_key_id": None, "nmae": 1}, ["nmae"]),
    ],
)
async def test_a_body_that_is_not_right_says_where(
    desk: Desk, body: dict[str, Any], places: list[str]
) -> None:
    with pytest.raises(InvalidDocument) as caught:
        await simulated(desk, body)
    assert [each.location for each in caught.value.problems] == places


async def test_without_a_key_that_is_there_it_is_a_simulation_alone(desk: Desk) -> None:
    assert (await simulated(desk, {"permissions": {"models": []}}))["reason"] == "model_not_allowed"
