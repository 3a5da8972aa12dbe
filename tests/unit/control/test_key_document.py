"""Bodies that make no key: every fault is located, and nothing is written."""

from typing import Any

import msgspec
import pytest

from pdp.control.key_document import KeyDocument, parse_key_document
from pdp.errors import InvalidDocument
from pdp.problems import Problems
from pdp.store.keys import Document
from tests.unit.control.desk import Desk, refused

FIELDS = (*KeyDocument.__struct_fields__[:-1], *Document.__struct_fields__)
STATEMENT = {"effect": "Allow", "actions": ["*"], "resources": ["*"]}
OFFICE = {"start": "9", "end": "17:00", "timezone": "UTC"}


@pytest.mark.parametrize(
    ("body", "location"),
    [
        ([], "body"),
        ("text", "body"),
        (None, "body"),
        ({"nmae": "x"}, "nmae"),
        ({"name": 7}, "name"),
        ({"name": "x" * 257}, "name"),
        ({"name": "line\nbreak"}, "name"),
        ({"name": "   "}, "name"),
        ({"name": "nul\0"}, "name"),
        ({"description": "x" * 2001}, "description"),
        ({"key_type": "robot"}, "key_type"),
        ({"key_type": ["user"]}, "key_type"),
        ({"organization_id": "elsewhere"}, "organization_id"),
        ({"key_type": "team"}, "team_id"),
        ({"key_type": "team", "user_id": "u"}, "team_id"),
        ({"key_type": "organization", "team_id": "a"}, "team_id"),
        ({"key_type": "organization", "user_id": "u"}, "user_id"),
        ({"team_id": {}}, "team_id"),
        ({"team_id": "   "}, "team_id"),
        ({"team_id": "a "}, "team_id"),
        ({"user_id": " u"}, "user_id"),
        ({"parent_key_id": "key_" + "0" * 64}, "parent_key_id"),
        ({"permissions_apply_to": "all"}, "permissions_apply_to"),
        ({"environment": "Prod"}, "environment"),
        ({"environment": ""}, "environment"),
        ({"access": "some"}, "access"),
        ({"access": "custom"}, "access"),
        ({"permissions": []}, "permissions"),
        ({"permissions": {"modles": []}}, "permissions.modles"),
        ({"permissions": {"models": "gpt-4o"}}, "permissions.models"),
        ({"permissions": {"manage_keys": 1}}, "permissions.manage_keys"),
        ({"permissions": {"daily_budget": "50"}}, "permissions.daily_budget"),
        ({"policy": "{}"}, "policy"),
        ({"policy": {"statements": []}}, "policy.version"),
        (
            {"policy": {"version": "2024-01-01", "statements": [STATEMENT, {**STATEMENT, "x": 1}]}},
            "policy.statements[1].x",
        ),
        (
            {
                "policy": {
                    "version": "2024-01-01",
                    "statements": [{**STATEMENT, "condition": {"time_between": OFFICE}}],
                }
            },
            "policy.statements[0].condition.time_between.start",
        ),
        ({"rate_limits": {"per_minute": True}}, "rate_limits.per_minute"),
        ({"rate_limits": {"burst": 5}}, "rate_limits.burst"),
        ({"budget_limits": {"daily": -1}}, "budget_limits.daily"),
        ({"budget_limits": {"currency": "EUR"}}, "budget_limits.currency"),
        ({"token_limits": {"hourly": 1}}, "token_limits.hourly"),
        ({"max_requests": "100"}, "max_requests"),
        ({"max_requests": 10**30}, "max_requests"),
        ({"budget_alerts": {"thresholds": [0]}}, "budget_alerts.thresholds"),
        ({"budget_alerts": {"email": "x"}}, "budget_alerts.email"),
        ({"alerts": {"unusual_patterns": 1}}, "alerts.unusual_patterns"),
        ({"alerts": {"rate_limit_percentage": True}}, "alerts.rate_limit_percentage"),
        ({"alerts": {"rate_limit_percentage": 0}}, "alerts.rate_limit_percentage"),
        ({"alerts": {"rate_limit_percentage": 5000}}, "alerts.rate_limit_percentage"),
        ({"alerts": {"failed_auth_threshold": 10**22}}, "alerts.failed_auth_threshold"),
        ({"ip_allowlist": {"enabled": True, "addresses": ["x"]}}, "ip_allowlist.addresses[0]"),
        ({"webhooks": {"events": ["key.made"]}}, "webhooks.events"),
        ({"webhooks": {"enabled": "yes"}}, "webhooks.enabled"),
        ({"webhooks": {"url": "ftp://example.com/"}}, "webhooks.url"),
        ({"webhooks": {"url": "https://example.com/a b"}}, "webhooks.url"),
        ({"webhooks": {"url": 1}}, "webhooks.url"),
        ({"budget_alerts": {"notify_email": "nobody"}}, "budget_alerts.notify_email"),
        ({"budget_alerts": {"notify_email": "a@b\nbcc: c@d"}}, "budget_alerts.notify_email"),
        ({"metadata": {"n": 1}}, "metadata.n"),
        ({"metadata": {"n": "x" * 513}}, "metadata.n"),
        ({"metadata": {"n": "x\0"}}, "metadata.n"),
        ({"metadata": {"n": "line\nbreak"}}, "metadata.n"),
        ({"metadata": {"line\nbreak": "x"}}, "metadata.line?break"),
        ({"metadata": {"": "x"}}, "metadata."),
        ({"line\nbreak": "x"}, "line?break"),
        ({"policy": {"statements": ["x" * 65_536]}}, "body"),
        ({"name": "\ud800"}, "body"),
        ({"metadata": {str(number): "x" for number in range(65)}}, "metadata"),
        ({"expires_at": 1_900_000_000}, "expires_at"),
        ({"expires_at": "2030-12-31"}, "expires_at"),
        ({"expires_at": "2030-12-31T23:59:59"}, "expires_at"),
        ({"expires_at": "yesterday"}, "expires_at"),
        ({"expires_at": "9999-12-31T23:59:59Z"}, "expires_at"),
        ({"expires_at": "0001-01-01T00:00:00Z"}, "expires_at"),
    ],
)
async def test_a_fault_is_located_and_nothing_is_written(
    desk: Desk, body: Any, location: str
) -> None:
    await refused(desk, body, location)


async def test_faults_of_shape_come_all_at_once(desk: Desk) -> None:
    await refused(
        desk,
        {"nope": 1, "name": 7, "metadata": {"a": 1, "b": 2}, "expires_at": "soon"},
        "nope",
        "name",
        "metadata.a",
        "metadata.b",
        "expires_at",
    )


async def test_faults_of_shape_and_of_meaning_come_all_at_once(desk: Desk) -> None:
    await refused(
        desk,
        {"nope": 1, "access": "custom", "permissions": 1, "rate_limits": {"per_minute": "x"}},
        "nope",
        "permissions",
        "rate_limits.per_minute",
    )


async def test_faults_of_meaning_come_all_at_once(desk: Desk) -> None:
    user = await desk.create(key_type="user", team_id="a", user_id="u")
    body = {
        "parent_key_id": user["id"],
        "team_id": "b",
        "user_id": "v",
        "expires_at": "9999-12-31T23:59:59Z",
        "policy": {"version": "2024-01-01", "statements": [{**STATEMENT, "effect": "allow"}]},
        "permissions": {"models": [1], "daily_budget": -1},
        "rate_limits": {"per_minute": -1},
    }
    places = (
        "team_id",
        "user_id",
        "expires_at",
        "policy.statements[0].effect",
        "permissions.models[0]",
        "rate_limits.per_minute",
        "permissions.daily_budget",
    )
    await refused(desk, body, *places)


async def test_a_body_may_have_64_kib(desk: Desk) -> None:
    def body(size: int) -> dict[str, Any]:
        fixed = len('{"permissions":{"models":[]}}')
        names = ["x" * 97] * (-(-(size - fixed) // 100) - 1)
        last = size - fixed - 100 * len(names) - 2
        return {"permissions": {"models": [*names, "x" * last]}}

    sizes = [len(msgspec.json.encode(body(size))) for size in (65_536, 65_537)]
    assert sizes == [65_536, 65_537]
    await desk.keys.create(desk.actor, body(65_536), desk.now)
    with pytest.raises(InvalidDocument, match="body: 65,537 bytes of JSON, of at most 64 KiB"):
        await desk.keys.create(desk.actor, body(65_537), desk.now)


async def test_a_body_that_is_too_large_waits_for_no_lock(desk: Desk) -> None:
    async with desk.database.writing():
        with pytest.raises(InvalidDocument, match="64 KiB"):
            await desk.keys.create(desk.actor, {"x": "x" * 65_536}, desk.now)


async def test_letters_of_every_script_are_fine(desk: Desk) -> None:
    body = {"name": "Schlüssel für 東京 🚀", "team_id": "команда а", "metadata": {"ключ": "👩‍🚀 à"}}
    made = await desk.create(**body)
    assert {name: made[name] for name in body} == body


async def test_null_is_not_given() -> None:
    problems = Problems()
    assert parse_key_document(dict.fromkeys(FIELDS), problems) == parse_key_document({}, problems)
    assert len(problems) == 0
