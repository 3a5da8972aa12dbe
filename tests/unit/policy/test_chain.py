"""What the decision tables cannot show: guards left behind, laziness, cost, messages, faults."""

from typing import Any

import pytest

from pdp.errors import InvalidDocument
from pdp.model import KeyRecord
from pdp.policy.chain import Attributes, Chain, Evaluation, build_chain
from pdp.policy.glob import GlobTable
from pdp.policy.index import StatementIndex
from pdp.policy.node import PolicyNode, compile_node
from pdp.problems import Problems
from pdp.quota.hold import BudgetGuard

ASK = Attributes("chat:completions", "gpt-4o", "openai", "", None, {}, 0)
USD = 1_000_000_000


def record(key_id: str = "key_1", **fields: Any) -> KeyRecord:
    return KeyRecord(id=key_id, name="Mobile", version=1, organization_id="org_1", **fields)


def node(key_id: str = "key_1", **fields: Any) -> PolicyNode:
    problems = Problems()
    found = compile_node(record(key_id, **fields), problems)
    problems.raise_if_any()
    return found


def statement(effect: str = "Allow", resource: str = "*", **condition: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"effect": effect, "actions": ["*"], "resources": [resource]}
    return found | ({"condition": condition} if condition else {})


def policy(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"version": "2024-01-01", "statements": list(statements)}


def chain_of(*statements: dict[str, Any]) -> Chain:
    one = node(policy=policy(*statements))
    return build_chain([one], [one])


def never(key_id: str, period: str) -> int:
    raise AssertionError(f"asked for the {period}'s spend of {key_id}")


def spend(**periods: int) -> Any:
    return lambda key_id, period: periods.get(period, 0)


def test_a_comparison_that_held_is_left_as_it_is() -> None:
    found = chain_of(statement(monthly_budget_under=10)).evaluate(ASK, spend(month=9 * USD))
    assert found == Evaluation(
        allowed=True,
        reason="ok",
        statement="key_1/statements[0]",
        guards=(BudgetGuard("key_1", "month", under=True, amount=10 * USD),),
    )


def test_a_comparison_that_did_not_hold_is_left_as_its_contrary() -> None:
    chain = chain_of(statement(daily_budget_under=1), statement(total_budget_over=3), statement())
    found = chain.evaluate(ASK, spend(day=USD))
    assert found.statement == "key_1/statements[2]"
    assert found.guards == (
        BudgetGuard("key_1", "day", under=False, amount=USD),
        BudgetGuard("key_1", "total", under=True, amount=3 * USD),
    )


def test_a_deny_that_did_not_match_leaves_its_comparison_once() -> None:
    deny = statement("Deny", daily_budget_over=1)
    found = chain_of(deny, deny, statement()).evaluate(ASK, spend())
    assert found.allowed
    assert found.guards == (BudgetGuard("key_1", "day", under=True, amount=USD),)


def test_a_deny_alone_leaves_its_comparison_where_there_is_no_policy_to_allow() -> None:
    above = node("key_0", policy=policy(statement("Deny", daily_budget_over=1)))
    leaf = node()
    found = build_chain([leaf, above], [leaf]).evaluate(ASK, spend())
    assert found == Evaluation(
        allowed=True,
        reason="ok",
        guards=(BudgetGuard("key_0", "day", under=True, amount=USD),),
    )


def test_a_denial_leaves_what_made_it_deny() -> None:
    chain = chain_of(
        statement("Deny", daily_budget_over=5),
        statement("Deny", daily_budget_over=1),
        statement(),
    )
    denied = chain.evaluate(ASK, spend(day=2 * USD))
    assert denied.reason == "policy_denied"
    assert denied.guards == (BudgetGuard("key_1", "day", under=False, amount=USD),)
    unmet = chain_of(
        statement("Deny", daily_budget_over=5), statement(total_budget_under=1)
    ).evaluate(ASK, spend(total=USD))
    assert unmet.reason == "condition_not_met"
    assert unmet.guards == (BudgetGuard("key_1", "total", under=False, amount=USD),)


def test_spend_is_asked_for_only_when_all_else_holds() -> None:
    chain = chain_of(
        statement("Deny", "model:o3", daily_budget_over=0),
        statement("Deny", max_tokens_under=5, daily_budget_over=0),
        statement(resource="model:o3", daily_budget_under=1),
        statement(daily_budget_under=1, max_tokens_under=5),
        statement(),
        statement(total_budget_under=1),
    )
    small = Attributes("chat:completions", "gpt-4o", "openai", "", 9, {}, 0)
    assert chain.evaluate(small, never).statement == "key_1/statements[4]"


def test_a_key_without_anything_to_say_allows() -> None:
    plain = node()
    assert build_chain([plain], [plain]).evaluate(ASK, never) == Evaluation(
        allowed=True, reason="ok"
    )


def test_nodes_of_a_record_with_faults_allow_nothing() -> None:
    problems = Problems()
    broken = compile_node(
        record(
            policy=policy(statement(), statement("Maybe")),
            permissions={"models": "*"},
            ip_allowlist={"enabled": "no"},
        ),
        problems,
    )
    with pytest.raises(InvalidDocument) as caught:
        problems.raise_if_any()
    assert [problem.location for problem in caught.value.problems] == [
        "ip_allowlist.enabled",
        "permissions.models",
        "policy.statements[1].effect",
    ]
    found = build_chain([broken], [broken]).evaluate(ASK, never)
    assert (found.allowed, found.reason) == (False, "action_not_allowed")


def test_messages_are_bounded_whatever_the_names() -> None:
    long = "`\n" + "x" * 10_000
    models = [f"model-{number}" for number in range(100)]
    many = [statement(max_tokens_under=1) | {"sid": long}] * 100
    for fields in (
        {"permissions": {"models": models}},
        {"permissions": {"actions": models}},
        {"policy": policy(*many)},
        {"policy": policy(statement(resource="model:y"))},
        {"policy": policy(statement("Deny") | {"sid": long})},
        {"ip_allowlist": {"enabled": True}},
    ):
        problems = Problems()
        one = compile_node(
            KeyRecord(id="key_1", name=long, version=1, organization_id="org_1", **fields),
            problems,
        )
        problems.raise_if_any()
        ask = Attributes("chat:completions", long, long, long, None, {}, 0)
        message = build_chain([one], [one]).evaluate(ask, never).message
        assert len(message) < 1200
        assert message.isprintable()
        assert "key_1" in message


def test_a_list_in_a_message_ends_after_five() -> None:
    models = [f"model-{number}" for number in range(7)]
    one = node(permissions={"models": models})
    assert build_chain([one], [one]).evaluate(ASK, never).message == (
        "model `gpt-4o` is not allowed by permissions.models of key `Mobile` (key_1): use one of "
        "`model-0`, `model-1`, `model-2`, `model-3`, `model-4` and 2 more, or ask for it to be "
        "added"
    )


def test_a_denial_by_condition_names_five_statements() -> None:
    found = chain_of(*[statement(max_tokens_under=1)] * 7).evaluate(ASK, never)
    assert found.message == (
        "action `chat:completions` with model `gpt-4o` of provider `openai` is allowed by the "
        "policy of key `Mobile` (key_1) on conditions that do not hold now: meet those of "
        + ", ".join(f"statements[{index}] (max_tokens_under 1)" for index in range(5))
        + " and 2 more, or ask for a change"
    )


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ({"before": "2024-01-01T00:00:00+01:00"}, "before 2023-12-31T23:00:00Z"),
        ({"after": "2030-01-01T00:00:00Z"}, "after 2030-01-01T00:00:00Z"),
        ({"total_budget_over": 12.5}, "total_budget_over 12.5 USD"),
        ({"ip_in": ["203.0.113.0/24"]}, "ip_in"),
        ({"not_ip_in": ["203.0.113.0/24"]}, "not_ip_in"),
        ({"metadata_equals": {"team": "support"}}, "metadata_equals"),
    ],
)
def test_a_denial_says_on_which_conditions(condition: dict[str, Any], words: str) -> None:
    """But no addresses and no metadata: whoever has found a key reads them."""
    june = 1_717_200_000_000_000_000
    asked = Attributes("chat:completions", "gpt-4o", "openai", "", None, {}, june)
    message = chain_of(statement(**condition)).evaluate(asked, lambda *_: 0).message
    assert f"meet those of statements[0] ({words}), or ask" in message


def test_a_deny_says_its_conditions_and_no_more_than_a_header_takes() -> None:
    deny = statement("Deny", daily_budget_over=0.5, total_budget_over=0)
    chain = chain_of(statement(), deny)
    message = chain.evaluate(ASK, lambda *_: 500_000_000).message
    words = "statements[1] (daily_budget_over 0.5 USD, total_budget_over 0 USD) of the policy of"
    assert words in message
    budgets: dict[str, Any] = {
        f"{name}_budget_under": 1_000_000.000000001 for name in ("daily", "monthly", "total")
    }
    span = {"start": "00:00", "end": "00:01", "timezone": "America/Argentina/ComodRivadavia"}
    many = statement(
        **budgets, time_between=span, max_tokens_under=1, before="2000-01-01T00:00:00Z"
    )
    assert "…), or ask for a change" in chain_of(many).evaluate(ASK, lambda *_: 0).message


@pytest.mark.parametrize(
    "resource", ["model:never-{}", "model:never-{}-*", "provider:*-never{}", "model:n?ver*{}"]
)
def test_statements_that_cannot_match_are_not_touched(
    resource: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is looked at does not grow from 10 to 500 of them."""
    touched = 0
    looked_up = GlobTable.find

    def count(table: GlobTable[Any], name: str) -> list[Any]:
        nonlocal touched
        touched += 1
        return looked_up(table, name)

    monkeypatch.setattr(GlobTable, "find", count)
    costs = []
    for number in (10, 500):
        others = [
            statement(effect, resource.format(index), daily_budget_over=0)
            for index in range(number)
            for effect in ("Allow", "Deny")
        ]
        chain = chain_of(*others, statement(resource="model:gpt-*"))
        touched = 0
        assert chain.evaluate(ASK, never).statement == f"key_1/statements[{number * 2}]"
        costs.append(touched)
    assert costs[0] == costs[1]


def test_a_table_matches_only_globs_that_share_the_ends_of_the_name() -> None:
    asked: list[int] = []

    def matcher(place: int) -> Any:
        return lambda name: asked.append(place)

    table = GlobTable((f"never-{place}?", place) for place in range(500))
    for shelf in dict(table._heads).values():
        for end, files in shelf.items():
            shelf[end] = tuple((matcher(place), place) for _, place in files)
    assert table.find("gpt-4o") == []
    assert asked == []
    table.find("never-7x")
    assert asked == [7]


def test_actions_of_the_same_statements_share_a_shelf() -> None:
    one = node(policy=policy(statement()))
    index = one.allows
    assert isinstance(index, StatementIndex)
    assert index.shelf("chat:stream") is index.shelf("models:list")


def test_a_long_hostile_glob_ends_soon() -> None:
    table = GlobTable([("*a" * 60 + "*b", True)])
    assert not table.has("a" * 256)
    assert table.has("a" * 255 + "b")
