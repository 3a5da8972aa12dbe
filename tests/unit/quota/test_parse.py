"""Limits as their authors write them."""

from typing import Any

import pytest

from pdp.errors import InvalidDocument
from pdp.model import KeyRecord
from pdp.problems import Problems
from pdp.quota.calendar import Calendar
from pdp.quota.compile import compile_scope
from pdp.quota.limit import Limit, Rate
from pdp.quota.scope import Scope

SECOND = 1_000_000_000
MINUTE = 60 * SECOND


def compiled(**fields: Any) -> Scope:
    problems = Problems()
    record = KeyRecord(id="k", name="Key", version=1, organization_id="o", **fields)
    scope = compile_scope(record, Calendar("UTC"), problems)
    problems.raise_if_any()
    return scope


def test_the_seed_limits_read_as_written() -> None:
    scope = compiled(
        rate_limits={"per_minute": 60, "burst": 10},
        budget_limits={"daily": 100.0, "monthly": 2000.0, "total": 10000.0, "currency": "USD"},
        token_limits={"daily": 1000000, "monthly": 25000000, "per_request_max": 100000},
        permissions={
            "models": ["gpt-3.5-turbo"],
            "daily_budget": 50.0,
            "rate_limit_per_minute": 20,
            "max_requests": 100,
        },
    )
    assert [(each.name, each.period, each.amount) for each in scope.budgets] == [
        ("budget_limits.daily", "day", 100 * SECOND),
        ("budget_limits.monthly", "month", 2000 * SECOND),
        ("budget_limits.total", "total", 10000 * SECOND),
        ("permissions.daily_budget", "day", 50 * SECOND),
    ]
    assert [(each.name, each.period, each.amount) for each in scope.tokens] == [
        ("token_limits.daily", "day", 1_000_000),
        ("token_limits.monthly", "month", 25_000_000),
    ]
    assert scope.per_request == (
        Limit("token_limits.per_request_max", "k", "Key", "tokens", "request", 100_000),
    )
    assert scope.requests == (
        Limit("permissions.max_requests", "k", "Key", "requests", "total", 100),
    )
    assert scope.rates == (
        Rate("rate_limits.per_minute", "k", "Key", 60, MINUTE, SECOND, 10, MINUTE),
        Rate("permissions.rate_limit_per_minute", "k", "Key", 20, MINUTE, 3 * SECOND, 20, -MINUTE),
    )


def test_null_is_no_limit() -> None:
    nothing = compiled(
        rate_limits={"per_minute": None, "burst": None},
        budget_limits={"daily": None, "currency": None},
        token_limits={"total": None, "per_request_max": None},
        permissions={"daily_budget": None, "rate_limit_per_minute": None, "max_requests": None},
    )
    assert nothing == Scope("k", nothing.calendar)


def test_limits_say_what_they_do_without_their_backend() -> None:
    scope = compiled(
        budget_limits={"daily": 1, "on_backend_error": "allow"},
        token_limits={"daily": 1, "on_backend_error": "deny"},
        max_requests=1,
    )
    limits = (*scope.budgets, *scope.tokens, *scope.requests)
    assert [limit.is_lenient for limit in limits] == [True, False, None]


def test_burst_is_the_capacity_of_the_shortest_period() -> None:
    rates = compiled(
        rate_limits={"per_day": 1000, "per_hour": 100, "per_second": None, "burst": 5}
    ).rates
    assert [(rate.name, rate.capacity) for rate in rates] == [
        ("rate_limits.per_hour", 5),
        ("rate_limits.per_day", 1000),
    ]


def test_an_interval_is_rounded_up() -> None:
    (rate,) = compiled(rate_limits={"per_second": 3}).rates
    assert rate.interval == 333_333_334


@pytest.mark.parametrize(
    ("fields", "location", "word"),
    [
        ({"rate_limits": []}, "rate_limits", "object"),
        ({"rate_limits": {"per_week": 1}}, "rate_limits.per_week", "unknown"),
        ({"rate_limits": {"per_minute": -1}}, "rate_limits.per_minute", "0 or more"),
        ({"rate_limits": {"per_minute": True}}, "rate_limits.per_minute", "boolean"),
        ({"rate_limits": {"per_minute": 1.0}}, "rate_limits.per_minute", "integer"),
        ({"rate_limits": {"per_minute": 10**10}}, "rate_limits.per_minute", "at most"),
        ({"rate_limits": {"burst": 1}}, "rate_limits.burst", "period"),
        ({"rate_limits": {"burst": 1, "per_day": None}}, "rate_limits.burst", "period"),
        ({"rate_limits": {"burst": 0, "per_day": 1}}, "rate_limits.burst", "1 or more"),
        ({"rate_limits": {"burst": 10**10, "per_day": 1}}, "rate_limits.burst", "at most"),
        ({"rate_limits": {"burst": "2", "per_day": 1}}, "rate_limits.burst", "integer"),
        ({"budget_limits": "lots"}, "budget_limits", "object"),
        ({"budget_limits": {"currency": "EUR"}}, "budget_limits.currency", "USD"),
        ({"budget_limits": {"weekly": 1}}, "budget_limits.weekly", "unknown"),
        ({"budget_limits": {"daily": False}}, "budget_limits.daily", "number"),
        ({"budget_limits": {"daily": "5"}}, "budget_limits.daily", "number"),
        ({"budget_limits": {"daily": -0.01}}, "budget_limits.daily", "from 0"),
        ({"budget_limits": {"daily": float("nan")}}, "budget_limits.daily", "from 0"),
        ({"budget_limits": {"daily": float("inf")}}, "budget_limits.daily", "from 0"),
        ({"budget_limits": {"daily": 9_000_000.01}}, "budget_limits.daily", "9,000,000"),
        ({"budget_limits": {"daily": 1e-10}}, "budget_limits.daily", "9 decimals"),
        ({"token_limits": {"daily": 2**63}}, "token_limits.daily", "at most"),
        ({"token_limits": {"yearly": 1}}, "token_limits.yearly", "unknown"),
        ({"token_limits": {"on_backend_error": "maybe"}}, "token_limits.on_backend_error", "deny"),
        ({"budget_limits": {"on_backend_error": 1}}, "budget_limits.on_backend_error", "string"),
        ({"max_requests": -1}, "max_requests", "0 or more"),
        ({"permissions": {"max_requests": True}}, "permissions.max_requests", "boolean"),
        ({"permissions": {"daily_budget": "x"}}, "permissions.daily_budget", "number"),
        (
            {"permissions": {"rate_limit_per_minute": 1.5}},
            "permissions.rate_limit_per_minute",
            "integer",
        ),
    ],
)
def test_a_fault_is_named_with_its_place(fields: dict[str, Any], location: str, word: str) -> None:
    with pytest.raises(InvalidDocument) as caught:
        compiled(**fields)
    (problem,) = caught.value.problems
    assert problem.location == location
    assert word in problem.message


def test_all_faults_come_at_once() -> None:
    with pytest.raises(InvalidDocument) as caught:
        compiled(
            budget_limits={"daily": -1, "currency": "EUR"},
            token_limits={"x": 1},
            rate_limits={"burst": 0},
        )
    assert len(caught.value.problems) == 5


def test_permissions_that_are_no_object_are_left_to_the_policy() -> None:
    assert compiled(permissions=["models"]).budgets == ()
