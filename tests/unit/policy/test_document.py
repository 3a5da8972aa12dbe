"""What the policy parser takes, and what it says about what it does not take."""

from typing import Any

import pytest

from pdp.errors import InvalidDocument
from pdp.policy.document import Policy, Resource, parse_policy
from pdp.problems import Problems

ALLOW: dict[str, Any] = {"effect": "Allow", "actions": ["*"], "resources": ["model:*"]}


def policy_of(*statements: Any) -> dict[str, Any]:
    return {"version": "2024-01-01", "statements": list(statements)}


def parse(document: object) -> tuple[Policy | None, list[str]]:
    problems = Problems()
    policy = parse_policy(document, "policy", problems)
    if not len(problems):
        return policy, []
    with pytest.raises(InvalidDocument) as caught:
        problems.raise_if_any()
    return policy, [str(problem) for problem in caught.value.problems]


def faults(document: object) -> list[str]:
    policy, found = parse(document)
    assert policy is None
    return found


def fault_of(operator: str, value: object, **statement: object) -> str:
    """Return the one fault of an operator's value, from its place on."""
    found = faults(policy_of({**ALLOW, **statement, "condition": {operator: value}}))
    assert len(found) == 1
    assert found[0].startswith("policy.statements[0].condition.")
    return found[0].removeprefix("policy.statements[0].condition.")


def test_statements_keep_their_order_and_names() -> None:
    policy, found = parse(policy_of({**ALLOW, "sid": "first"}, {**ALLOW, "effect": "Deny"}))
    assert found == []
    assert policy is not None
    assert [(one.sid, one.effect) for one in policy.statements] == [
        ("first", "Allow"),
        ("", "Deny"),
    ]


def test_a_policy_may_have_no_statements() -> None:
    assert parse(policy_of()) == (Policy(()), [])


def test_a_resource_is_cut_at_its_first_colon() -> None:
    policy, _ = parse(policy_of({**ALLOW, "resources": ["model:ft:gpt-4o:org", "*"]}))
    assert policy is not None
    assert policy.statements[0].resources == (
        Resource("model", "ft:gpt-4o:org"),
        Resource(None, "*"),
    )


def test_every_fault_is_told_at_once_in_document_order() -> None:
    document = {
        "version": "2025-01-01",
        "statments": [],
        "statements": [
            {"effect": "allow", "actions": [], "resources": ["model:", "gpt-4o", "Model:x", "**"]},
            {"actions": "*", "resources": [7, ""], "condition": None, "principal": "*"},
            "Allow",
            {
                **ALLOW,
                "condition": {
                    "time_between": {"start": "9:00", "end": "24:00", "timezone": "Mars/Base"},
                    "weather": "sunny",
                },
            },
        ],
    }
    at = "policy.statements"
    resource = "is no resource: write `*`, `model:<name>` or `provider:<name>`"
    clock = "is no time of day: write `HH:MM`, from `00:00` to `23:59`"
    found = faults(document)
    assert found[:-4] == [
        "policy.statments: unknown field: use one of `version`, `statements`",
        "policy.version: `2025-01-01` is unknown: use one of `2024-01-01`",
        f"{at}[0].effect: `allow` is unknown: use one of `Allow`, `Deny`",
        f"{at}[0].actions: must not be empty",
        f"{at}[0].resources[0]: `model:` {resource}",
        f"{at}[0].resources[1]: `gpt-4o` {resource}",
        f"{at}[0].resources[2]: `Model:x` {resource}",
        f"{at}[0].resources[3]: `**` {resource}",
        f"{at}[1].principal: unknown field: use one of `sid`, `effect`, `actions`, "
        "`resources`, `condition`",
        f"{at}[1].effect: is required",
        f"{at}[1].actions: must be a list, not a string",
        f"{at}[1].resources[0]: must be a string, not a number",
        f"{at}[1].resources[1]: must not be empty",
        f"{at}[1].condition: must be an object, not null",
        f"{at}[2]: must be an object, not a string",
    ]
    assert found[-4].startswith(f"{at}[3].condition.weather: unknown operator: use one of `time_be")
    assert found[-3:] == [
        f"{at}[3].condition.time_between.start: `9:00` {clock}",
        f"{at}[3].condition.time_between.end: `24:00` {clock}",
        f"{at}[3].condition.time_between.timezone: `Mars/Base` is no IANA timezone: "
        "write one like `America/New_York`",
    ]


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        (None, "policy: must be an object, not null"),
        ([], "policy: must be an object, not a list"),
        (True, "policy: must be an object, not a boolean"),
        ((), "policy: must be an object, not something else"),
        ({"statements": []}, "policy.version: is required"),
        ({"version": "2024-01-01"}, "policy.statements: is required"),
        (
            {"version": "2024-01-01", "statements": {}},
            "policy.statements: must be a list, not an object",
        ),
        ({"version": 1, "statements": []}, "policy.version: must be a string, not a number"),
        (
            policy_of({**ALLOW, "sid": 1}),
            "policy.statements[0].sid: must be a string, not a number",
        ),
        (
            policy_of({**ALLOW, "effect": "Deny", "actions": ["a\nb"]}),
            "policy.statements[0].actions[0]: `a?b` has characters that are not printable: "
            "remove them",
        ),
        (
            policy_of({"effect": "Allow", "resources": "*", "actions": ["*"]}),
            "policy.statements[0].resources: must be a list, not a string",
        ),
        (
            policy_of({"effect": "Allow"} | {"resources": ["*"]}),
            "policy.statements[0].actions: is required",
        ),
        (
            policy_of({"effect": "Allow"} | {"actions": ["*"]}),
            "policy.statements[0].resources: is required",
        ),
    ],
)
def test_a_document_of_another_shape(document: object, fault: str) -> None:
    assert faults(document) == [fault]


def test_a_field_with_a_strange_name_is_told_in_bounds() -> None:
    (found,) = faults({**policy_of(), "x" * 500 + "`\n": 1})
    assert len(found) < 200
    assert found.startswith("policy.xxx")


SPAN = {"start": "09:00", "end": "17:00", "timezone": "UTC"}


@pytest.mark.parametrize(
    ("operator", "value", "fault"),
    [
        ("time_between", "09:00", "time_between: must be an object, not a string"),
        ("time_between", SPAN | {"end": "09:00"}, "time_between: start and end are the same"),
        ("time_between", SPAN | {"end": 17}, "time_between.end: must be a string, not a number"),
        ("time_between", SPAN | {"start": "09:00:00"}, "time_between.start: `09:00:00` is no"),
        ("time_between", SPAN | {"start": "٠٩:٠٠"}, "time_between.start: `٠٩:٠٠` is no"),
        ("time_between", SPAN | {"timezone": None}, "time_between.timezone: must be a string"),
        ("time_between", SPAN | {"timezone": "localtime"}, "time_between.timezone: `localtime`"),
        ("time_between", SPAN | {"timezone": "../UTC"}, "time_between.timezone: `../UTC` is no"),
        ("time_between", SPAN | {"timezone": "utc"}, "time_between.timezone: `utc` is no"),
        ("time_between", SPAN | {"days": []}, "time_between.days: must not be empty"),
        ("time_between", SPAN | {"days": ["Mon"]}, "time_between.days[0]: `Mon` is unknown"),
        ("time_between", SPAN | {"zone": 1}, "time_between.zone: unknown field"),
        ("time_between", {"start": "09:00", "end": "17:00"}, "time_between.timezone: is required"),
        ("time_between", {"end": "17:00", "timezone": "UTC"}, "time_between.start: is required"),
        ("time_between", {"start": "17:00", "timezone": "UTC"}, "time_between.end: is required"),
        ("in", "openai", "in: must be a list or an object of lists, not a string"),
        ("in", [], "in: must not be empty"),
        ("in", {}, "in: must not be empty"),
        ("in", {"team": ["x"]}, "in.team: unknown resource type: use one of `model`, `provider`"),
        ("not_in", {"model": "x"}, "not_in.model: must be a list, not a string"),
        ("not_in", {"provider": [""]}, "not_in.provider[0]: must not be empty"),
        ("daily_budget_under", True, "daily_budget_under: must be a number of USD"),
        ("daily_budget_over", "5", "daily_budget_over: must be a number of USD"),
        ("monthly_budget_under", -0.01, "monthly_budget_under: must be from 0 to 9,000,000 USD"),
        ("monthly_budget_over", 9_000_000.5, "monthly_budget_over: must be from 0 to 9,000,000"),
        ("total_budget_under", float("nan"), "total_budget_under: must be from 0 to 9,000,000"),
        ("total_budget_over", float("inf"), "total_budget_over: must be from 0 to 9,000,000"),
        ("total_budget_over", 10**4000, "total_budget_over: must be from 0 to 9,000,000"),
        ("total_budget_over", 1e-10, "total_budget_over: must not have more than 9 decimals"),
        ("ip_in", "10.0.0.1", "ip_in: must be a list, not a string"),
        ("ip_in", [], "ip_in: must not be empty"),
        ("ip_in", [1], "ip_in[0]: must be a string, not a number"),
        ("not_ip_in", ["10.0.0.0/33"], "not_ip_in[0]: `10.0.0.0/33` is no IP address or CIDR"),
        ("not_ip_in", ["fe80::1%eth0"], "not_ip_in[0]: `fe80::1%eth0` is no IP address or CIDR"),
        ("before", 1_700_000_000, "before: must be a string, not a number"),
        ("before", "2024-06-03T14:00:00", "before: `2024-06-03T14:00:00` is no time"),
        ("after", "2024-06-31T14:00:00Z", "after: `2024-06-31T14:00:00Z` is no time"),
        ("after", "2024-06-03", "after: `2024-06-03` is no time: write it like `2025-12-31T23"),
        ("max_tokens_under", True, "max_tokens_under: must be an integer, not a boolean"),
        ("max_tokens_under", 10.0, "max_tokens_under: must be an integer, not a number"),
        ("max_tokens_under", 0, "max_tokens_under: must be 1 or more"),
        ("metadata_equals", [], "metadata_equals: must be an object, not a list"),
        ("metadata_equals", {}, "metadata_equals: must not be empty"),
        ("metadata_equals", {"a": 1}, "metadata_equals.a: must be a string, not a number"),
    ],
)
def test_a_value_that_an_operator_does_not_take(operator: str, value: object, fault: str) -> None:
    assert fault_of(operator, value).startswith(fault)


@pytest.mark.parametrize("resources", [["*"], ["model:a", "provider:b"], ["model:a", "*"]])
def test_a_plain_list_needs_resources_of_one_type(resources: list[str]) -> None:
    found = fault_of("not_in", ["x"], resources=resources)
    assert found.startswith("not_in: a plain list needs resources of one type")


def test_a_plain_list_is_not_blamed_for_faulty_resources() -> None:
    statement = {**ALLOW, "resources": ["gpt"], "condition": {"in": ["x"]}}
    assert len(faults(policy_of(statement))) == 1


def test_an_object_of_lists_goes_with_any_resources() -> None:
    for resources in (["*"], ["model:a", "provider:b"]):
        condition = {"in": {"model": ["x"], "provider": ["y"]}}
        _, found = parse(policy_of({**ALLOW, "resources": resources, "condition": condition}))
        assert found == []


@pytest.mark.parametrize(
    ("usd", "nano"),
    [
        (0, 0),
        (0.1, 100_000_000),
        (1000.0, 1_000_000_000_000),
        (1e-9, 1),
        (4_000_000.000000001, 4_000_000_000_000_001),
        (9_000_000, 9_000_000_000_000_000),
    ],
)
def test_an_amount_is_the_decimal_that_its_author_wrote(usd: float, nano: int) -> None:
    policy, _ = parse(policy_of({**ALLOW, "condition": {"total_budget_under": usd}}))
    assert policy is not None
    assert policy.statements[0].condition.budgets[0].amount == nano
