"""Validate and simulate: every operator, every fault with its place, and hostile bodies."""

import json
import time
from typing import Any

import msgspec
import pytest

from pdp.control.policies import simulate, validate
from pdp.control.policy_schemas import POLICY_EXAMPLES, SIMULATE_ANSWER, VALIDATE_ANSWER
from pdp.control.simulation import Rules
from pdp.errors import InvalidDocument
from pdp.options import Options
from pdp.policy.operators import OPERATORS
from pdp.policy.reference import example_of
from tests.wire.harness import NOON, FixedPrices

RULES = Rules(FixedPrices(), Options())
AT = "2026-11-23T12:00:00Z"
SPENT = {"spend": {"daily": 100, "monthly": 100, "total": 100}}
LITTLE = {"spend": {"daily": 99.999999999, "monthly": 0, "total": 0}}


def statement(**fields: Any) -> dict[str, Any]:
    return {"effect": "Allow", "actions": ["*"], "resources": ["*"], **fields}


def policy(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"version": "2024-01-01", "statements": list(statements)}


def ask(body: dict[str, Any], **request: Any) -> dict[str, Any]:
    asked = {"model": "gpt-4o", "provider": "openai", "at": AT, **request}
    return simulate({**body, "request": asked}, NOON, RULES)


def faults(body: Any) -> dict[str, str]:
    """Return the messages of a simulation that is refused, by place."""
    with pytest.raises(InvalidDocument) as caught:
        simulate(body, NOON, RULES)
    return {each.location: each.message for each in caught.value.problems}


BUDGETS = {
    f"{period}_budget_{side}": ((LITTLE, SPENT) if side == "under" else (SPENT, LITTLE))
    for period in ("daily", "monthly", "total")
    for side in ("under", "over")
}
BUDGETS["monthly_budget_over"] = BUDGETS["total_budget_over"] = (SPENT, LITTLE)
MEETS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "time_between": ({"at": "2026-11-23T09:00:00+01:00"}, {"at": "2026-11-22T09:00:00+01:00"}),
    "in": ({"model": "gpt-4o-mini"}, {"model": "gpt-4"}),
    "not_in": ({"provider": "mistral"}, {"provider": "openai"}),
    "ip_in": ({"ip_address": "203.0.113.9"}, {"ip_address": "203.0.114.9"}),
    "not_ip_in": ({"ip_address": "198.51.100.41"}, {"ip_address": "198.51.100.42"}),
    "before": ({"at": "2030-12-31T23:59:58Z"}, {"at": "2030-12-31T23:59:59Z"}),
    "after": ({"at": "2023-12-31T23:00:00Z"}, {"at": "2023-12-31T22:59:59Z"}),
    "max_tokens_under": ({"max_tokens": 3999}, {"max_tokens": 4000}),
    "metadata_equals": ({"metadata": {"team": "support"}}, {"metadata": {"team": "sales"}}),
    **BUDGETS,
}
"""A request for which an operator's example holds, and one for which it does not."""


def test_every_operator_has_its_requests() -> None:
    assert MEETS.keys() == OPERATORS.keys()


@pytest.mark.parametrize("name", OPERATORS)
def test_the_example_of_an_operator_is_valid(name: str) -> None:
    document = example_of(OPERATORS[name])
    assert validate(document, NOON) == {"valid": True, "errors": [], "warnings": []}
    assert validate({"policy": document}, NOON)["valid"]


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_decides_by_its_example(name: str) -> None:
    condition = {name: OPERATORS[name].example}
    allow = {"policy": policy(statement(condition=condition))}
    deny = {"policy": policy(statement(), statement(effect="Deny", condition=condition))}
    holds, fails = MEETS[name]
    assert ask(allow, **holds)["matched_statement"] == "key/statements[0]"
    assert ask(allow, **fails)["decision"] == "deny"
    assert ask(deny, **holds)["reason"] == "policy_denied"
    assert ask(deny, **fails)["matched_statement"] == "key/statements[0]"


@pytest.mark.parametrize("name", [name for name in OPERATORS if OPERATORS[name].lacks])
def test_what_is_missing_never_allows_and_always_denies(name: str) -> None:
    condition = {name: OPERATORS[name].example}
    action = "models:list" if name in ("in", "not_in") else "chat:completions"
    allow = {"policy": policy(statement(condition=condition))}
    deny = {"policy": policy(statement(), statement(effect="Deny", condition=condition))}
    request = {"request": {"action": action, "model": "gpt-4o", "provider": "mistral"}}
    assert simulate({**allow, **request}, NOON, RULES)["decision"] == "deny"
    assert simulate({**deny, **request}, NOON, RULES)["reason"] == "policy_denied"


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("value", [None, True, "x", -1, [], {}, [[]], {"x": 1}, float("nan")])
def test_a_value_that_an_operator_does_not_take_is_a_fault_at_it(name: str, value: Any) -> None:
    document = policy(statement(condition={name: value}))
    place = f"statements[0].condition.{name}"
    found = validate(document, NOON)
    assert not found["valid"]
    assert all(each["location"].startswith(place) for each in found["errors"]), found
    told = faults({"policy": document, "request": {"model": "m"}})
    assert [f"policy.{each['location']}" for each in found["errors"]] == list(told)


def test_all_faults_of_a_key_come_at_once_with_their_places() -> None:
    body = {
        "nmae": "x",
        "policy": policy(statement(effect="allow", actions=[], condition={"x": 1})),
        "permissions": {"models": "gpt-4o"},
        "budget_limits": {"daily": -1},
        "rate_limits": {"burst": 1},
        "ip_allowlist": {"enabled": 1, "addresses": ["10.0.0.0/33"]},
        "expires_at": "tomorrow",
    }
    wanted = {
        "nmae",
        "policy.statements[0].effect",
        "policy.statements[0].actions",
        "policy.statements[0].condition.x",
        "permissions.models",
        "budget_limits.daily",
        "rate_limits.burst",
        "ip_allowlist.enabled",
        "ip_allowlist.addresses[0]",
        "expires_at",
    }
    assert {each["location"] for each in validate(body, NOON)["errors"]} == wanted
    request = {"modle": "x", "at": "now", "max_tokens": -1, "spend": {"daily": -1, "yearly": 1}}
    told = faults({**body, "request": request})
    places = ("modle", "at", "max_tokens", "spend.daily", "spend.yearly")
    assert told.keys() == wanted | {f"request.{place}" for place in places}
    assert "use one of `action`, `model`" in told["request.modle"]


@pytest.mark.parametrize(
    ("document", "place", "words"),
    [
        (policy(statement(actions=["chat:complete"])), "statements[0].actions[0]", "no action"),
        (policy(statement(actions=["CHAT:*"])), "statements[0].actions[0]", "no action"),
        (policy(statement(effect="Deny")), "statements", "no Allow"),
        (policy(), "statements", "no Allow"),
        (
            policy(statement(resources=["model:a"]), statement(effect="Deny")),
            "statements[0]",
            "statements[1] denies all of it",
        ),
        (
            policy(
                statement(actions=["chat:*"], resources=["model:A"]),
                statement(effect="Deny", actions=["chat:stream"], resources=["provider:*"]),
                statement(effect="Deny", actions=["chat:C*"], resources=["model:a"]),
            ),
            "statements[0]",
            "statements[2] denies all of it",
        ),
        (
            policy(statement(resources=["model:*"], condition={"not_in": ["*"]})),
            "statements[0].condition.not_in",
            "excludes every name",
        ),
        (
            policy(statement(actions=["models:list"], resources=["model:*"])),
            "statements[0].resources",
            "no model or provider",
        ),
        (
            policy(statement(condition={"daily_budget_under": 0})),
            "statements[0].condition.daily_budget_under",
            "no spend is below 0",
        ),
        (
            policy(statement(condition={"total_budget_under": 5, "total_budget_over": 5})),
            "statements[0].condition.total_budget_under",
            "never holds together with total_budget_over",
        ),
        (
            policy(statement(condition={"before": AT})),
            "statements[0].condition.before",
            "in the past",
        ),
        (
            policy(statement(condition={"before": "2031-01-01T00:00:00Z",
                                        "after": "2032-01-01T00:00:00Z"})),
            "statements[0].condition.before",
            "never holds together with `after`",
        ),
    ],
)  # fmt: skip
def test_what_is_certainly_not_meant_is_told(
    document: dict[str, Any], place: str, words: str
) -> None:
    found = validate(document, NOON)
    assert found["valid"]
    (warning,) = found["warnings"]
    assert warning["location"] == place
    assert words in warning["message"]
    (inside,) = validate({"policy": document}, NOON)["warnings"]
    assert inside["location"] == f"policy.{place}"


@pytest.mark.parametrize(
    "document",
    [
        policy(statement(resources=["model:a", "model:b"]),
               statement(effect="Deny", resources=["model:a"])),
        policy(statement(), statement(effect="Deny", resources=["model:*"])),
        policy(statement(), statement(effect="Deny", condition={"max_tokens_under": 1})),
        policy(statement(), statement(effect="Deny", resources=["*"],
                                      condition={"not_in": {"model": ["*"]}})),
        policy(statement(actions=["chat:*"]), statement(effect="Deny", actions=["chat:stream"])),
        policy(statement(condition={"total_budget_under": 6, "total_budget_over": 5})),
        policy(statement(actions=["*"], resources=["model:*"])),
    ],
)  # fmt: skip
def test_what_may_be_meant_is_not_warned_of(document: dict[str, Any]) -> None:
    assert validate(document, NOON) == {"valid": True, "errors": [], "warnings": []}


def test_the_cost_of_warnings_grows_with_the_document_alone() -> None:
    resources = [f"model:{number}" for number in range(1200)]
    deny = statement(effect="Deny", resources=resources)
    document = policy(*[statement(resources=[*resources, "model:x"])] * 2, deny)
    started = time.process_time()
    assert validate(document, NOON) == {"valid": True, "errors": [], "warnings": []}
    assert time.process_time() - started < 0.3  # It takes 0.03 s; each with each took 0.6.


def test_lists_and_times_of_a_key_are_warned_of() -> None:
    body = {"permissions": {"models": [], "actions": ["chat"]}, "expires_at": AT}
    found = validate(body, NOON)
    assert found["valid"]
    places = [each["location"] for each in found["warnings"]]
    assert places == ["permissions.models", "permissions.actions[0]", "expires_at"]


def test_limits_and_state_decide_as_well() -> None:
    body = {"budget_limits": {"daily": 10}, "expires_at": "2027-01-01T00:00:00Z"}
    allowed = ask(body, max_tokens=1000, spend={"daily": 9.998})
    assert (allowed["decision"], allowed["http_status"]) == ("allow", 200)
    (limit,) = allowed["limits"]
    assert (limit["name"], limit["spent"], limit["held"]) == (
        "budget_limits.daily",
        9_998_000_000,
        0,
    )
    assert limit["reset_at"] == "2026-11-24T00:00:00Z"
    denied = ask(body, max_tokens=1001, spend={"daily": 9.998})
    assert (denied["reason"], denied["http_status"]) == ("budget_exceeded", 403)
    assert "`budget_limits.daily` of key `key` (key)" in denied["message"]
    assert ask(body, at="2027-01-01T00:00:00Z")["reason"] == "key_expired"
    assert ask(body, model="free")["reason"] == "ok"
    assert ask(body, model="free", provider="")["reason"] == "price_unknown"
    assert ask({"rate_limits": {"per_minute": 0}})["reason"] == "rate_limit_exceeded"
    assert ask({}, action="chat:smoke")["reason"] == "invalid_request"


def test_now_is_the_time_of_a_request_that_tells_none() -> None:
    answer = simulate({"request": {"model": "gpt-4o"}}, NOON, RULES)
    assert (answer["decision"], answer["at"]) == ("allow", AT)


def test_several_keys_decide_together() -> None:
    denying = policy(statement(), statement(effect="Deny", resources=["model:o*"]))
    team = {"id": "team", "name": "Team", "budget_limits": {"total": 1}, "policy": denying}
    user = {"id": "user", "parent_key_id": "team", "granted_by": "team"}
    body = {"keys": [team, user]}
    assert ask(body, model="o3", max_tokens=1)["matched_statement"] == "team/statements[1]"
    assert ask(body, max_tokens=1)["matched_statement"] == "team/statements[0]"
    spent = ask(body, max_tokens=1, spend={"team": {"total": 1}})
    assert spent["reason"] == "budget_exceeded"
    assert ask({**body, "key": "team"})["key_id"] == "team"
    gone = {"keys": [team, {**user, "status": "revoked"}]}
    assert ask(gone)["reason"] == "key_revoked"


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"keys": []}, "keys"),
        ({"keys": {}}, "keys"),
        ({"keys": [1]}, "keys[0]"),
        ({"keys": [{"id": "a"}, {"id": "a"}]}, "keys[1].id"),
        ({"keys": [{"id": "a", "parent_key_id": "b"}]}, "keys[0].parent_key_id"),
        ({"keys": [{"id": "a", "granted_by": "b"}]}, "keys[0].granted_by"),
        ({"keys": [{"id": "a", "parent_key_id": "a", "granted_by": ""}]}, "keys[0].parent_key_id"),
        ({"keys": [{"id": "a"}], "key": "b"}, "key"),
        ({"keys": [{"id": "a"}], "policy": None}, "policy"),
        ({"keys": [{"id": "a", "status": "gone"}]}, "keys[0].status"),
        ({"keys": [{"id": "a", "file": "/etc/passwd"}]}, "keys[0].file"),
        ({"keys": [{"id": "a", "rate_limits": {"x": 1}}]}, "keys[0].rate_limits.x"),
        ({"keys": [{"id": "a"}], "timezone": "Moon"}, "timezone"),
        ({"keys": [{"id": "a"}], "timezone": "../../etc/passwd"}, "timezone"),
        ({"key": "b"}, "key"),
        ({"request": None}, "request"),
        ({"request": []}, "request"),
        ({"request": {"at": "1969-12-31T23:59:59Z"}}, "request.at"),
        ({"request": {"at": "9999-12-31T23:59:59Z"}}, "request.at"),
        ({"request": {"spend": 1}}, "request.spend"),
        ({"request": {"spend": {"daily": float("nan")}}}, "request.spend.daily"),
        ({"request": {"metadata": {"a": 1}}}, "request.metadata.a"),
        ({"request": {"prompt_tokens": True}}, "request.prompt_tokens"),
        ({"request": {"max_tokens": 10**30}}, "request.max_tokens"),
        ({"api_key": "x"}, "api_key"),
    ],
)
def test_a_simulation_that_is_not_right_says_where(body: dict[str, Any], place: str) -> None:
    assert list(faults({"request": {"model": "gpt-4o"}, **body})) == [place]


def deep() -> Any:
    value: Any = []
    for _ in range(100_000):
        value = [value]
    return value


HOSTILE: list[Any] = [
    None, True, 7, "x", [], [[]], "\ud800", float("nan"), deep(),
    {"policy": deep()}, {"statements": deep()}, {"metadata": deep()}, {"keys": deep()},
    {"version": "2024-01-01", "statements": [{"effect": "\u202e`\n\x00"}]},
    {"\ud800": 1}, {"policy": {"\ud800": "\udfff"}}, {"a" * 100_000: 1}, {"name": "x" * 100_000},
    {1: 2}, {"policy": {1: 2}}, {"permissions": {"models": [float("inf")]}},
    policy(*[statement(actions=["*" * 500])] * 200),
    {"budget_limits": {"daily": float("nan")}}, {"max_requests": 10**4000},
    {"ip_allowlist": {"enabled": True, "addresses": ["::1%\u202e"]}},
]  # fmt: skip


@pytest.mark.parametrize("body", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_body_gets_an_answer(body: Any) -> None:
    found = validate(body, NOON)
    assert found["valid"] is not bool(found["errors"])
    asked = body if not isinstance(body, dict) else {**body, "request": {"model": "m", "at": AT}}
    try:
        answer = simulate(asked, NOON, RULES)
    except InvalidDocument as error:
        told = [msgspec.structs.asdict(each) for each in error.problems]
        assert told
    else:
        told = [answer]
    text = json.dumps([found, told], ensure_ascii=False)
    text.encode()
    assert "\u202e" not in text
    assert len(text) < 100_000


@pytest.mark.parametrize(
    "request_", [*HOSTILE, {"metadata": {"a": deep()}}, {"model": "\ud800"}, {"model": "x" * 10**6}]
)
def test_a_hostile_request_gets_an_answer(request_: Any) -> None:
    try:
        found: Any = simulate({"request": request_}, NOON, RULES)
    except InvalidDocument as error:
        found = [msgspec.structs.asdict(each) for each in error.problems]
    assert msgspec.json.encode(found)


def test_answers_are_as_described_and_the_examples_work() -> None:
    found = validate(POLICY_EXAMPLES["validate"], NOON)
    assert found["valid"]
    assert list(found) == VALIDATE_ANSWER["required"]
    answer = simulate(POLICY_EXAMPLES["simulate"], NOON, RULES)
    assert list(answer) == SIMULATE_ANSWER["required"]
    assert list(answer["limits"][0]) == SIMULATE_ANSWER["properties"]["limits"]["items"]["required"]
