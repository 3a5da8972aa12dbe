"""What stands on the page that people come from works, as it stands there."""

import json
import subprocess
from typing import Any

import pytest
import requests

from tests.e2e.rest.admin import Admin
from tests.e2e.rest.page import SEED, blocks
from tests.stack import check, eventually, eventually_async, report

PYTHON = blocks(SEED, "python")
JSON = blocks(SEED, "json")
SHELL = blocks(SEED, "sh")

POLICIES = (
    "Allow Specific Models",
    "Restrict by Provider",
    "Time-Based Access",
    "Budget-Based Restrictions",
)
HIERARCHY = ("Organization-Level Keys", "Team-Level Keys", "User-Level Keys")
FIELDS = (
    "Rate Limiting",
    "Spending Limits",
    "Token Quotas",
    "Alerts",
    "IP Allowlisting",
    "Webhooks for Key Events",
)


def run(name: str, admin: Admin, **names: Any) -> dict[str, Any]:
    """Run a program of the page against the admin's server; return its names."""
    source = PYTHON[name]
    assert source.count("https://api.visca.ai/") == 1
    exec(compile(source.replace("https://api.visca.ai", admin.base), name, "exec"), names)
    return names


def test_every_block_of_the_page_is_run_here() -> None:
    assert set(PYTHON) == {
        "Temporary Keys",
        "Create API Key",
        "List All Keys",
        "Revoke API Key",
        "Update Key Permissions",
    }
    assert set(SHELL) == {"View Audit Logs"}
    assert set(JSON) == {*POLICIES, *HIERARCHY, *FIELDS, "Log Contents"}


def test_the_programs_that_manage_keys(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    names = run("Create API Key", admin, admin_key=admin.api_key)
    new_key = names["new_key"]
    assert capsys.readouterr().out == f"Created key: {new_key['api_key']}\n"
    # The page's date is over: the key is made, and says so.
    assert new_key["status"] == "expired"
    assert "expires_at" in new_key["warnings"][0]
    names = run("List All Keys", admin, **names)
    assert "New Application Key: expired\n" in capsys.readouterr().out
    names = run("Update Key Permissions", admin, **names | {"key_id": new_key["id"]})
    after = admin.ask("GET", f"/v1/api-keys/{new_key['id']}").json()
    assert after["rate_limits"] == {"per_minute": 200}
    assert after["budget_limits"] == {"monthly": 2000.0}
    assert after["permissions"]["models"] == ["gpt-4o-mini", "claude-3-haiku"]
    run("Revoke API Key", admin, **names)
    assert admin.ask("GET", f"/v1/api-keys/{new_key['id']}").json()["status"] == "revoked"


async def test_the_program_that_makes_a_temporary_key(admin: Admin) -> None:
    names = run("Temporary Keys", admin, master_key=admin.api_key)
    assert isinstance(names["response"], requests.Response)
    async with admin.stack.channel() as channel:
        assert (await check(channel, names["temp_key"])).reason == "ok"
        refused = await check(channel, names["temp_key"], model="gpt-3.5-turbo")
    assert refused.reason == "model_not_allowed"
    key = names["response"].json()
    assert key["temporary"] is True
    assert key["metadata"] == {"purpose": "demo_session", "user_id": "demo_user_123"}


@pytest.mark.parametrize("name", POLICIES)
def test_the_policies_are_taken(admin: Admin, name: str) -> None:
    policy = json.loads(JSON[name])
    made = admin.make(name=name, policy=policy)
    assert made["policy"] == policy
    patched = admin.ask("PATCH", f"/v1/api-keys/{made['id']}", json={"policy": policy})
    assert patched.status_code == 200


@pytest.mark.parametrize("name", FIELDS)
def test_the_shapes_of_fields_are_taken_to_create_and_to_patch(admin: Admin, name: str) -> None:
    fields = json.loads(JSON[name])
    made = admin.make(name=name, **fields)
    bare = admin.make(name=name)
    patched = admin.ask("PATCH", f"/v1/api-keys/{bare['id']}", json=fields)
    assert patched.status_code == 200, patched.text
    for shown in (made, patched.json()):
        for field, value in fields.items():
            hidden = {"secret": "whsec_***"} if field == "webhooks" else {}
            assert shown[field] == {**value, **hidden}


@pytest.mark.parametrize("poster", ["root", "first"])
async def test_the_hierarchy_works_together(admin: Admin, poster: str) -> None:
    bodies = [json.loads(JSON[name]) for name in HIERARCHY]
    if poster == "first":
        for body in bodies[1:]:
            body["team_id"] = "team_other"
    organization = admin.make(**bodies[0])
    asking = admin if poster == "root" else admin.as_key(organization["api_key"])
    team, user = (asking.make(**body) for body in bodies[1:])
    assert user["parent_key_id"] == team["id"]
    assert user["effective_limits"]
    async with admin.stack.channel() as channel:
        other = await check(channel, user["api_key"], model="gpt-4o")
        assert other.reason == "model_not_allowed"
        first = await check(channel, user["api_key"], model="gpt-3.5-turbo", request_id=poster)
        assert first.reason == "ok", first
        await report(
            channel,
            {"reservation_id": first.reservation_id, "cost_usd": "49.50", "prompt_tokens": 9},
        )
        look = await check(channel, user["api_key"], model="gpt-3.5-turbo", dry_run=True)
        limits = {(each.key_id, each.name): each for each in look.limits}
        daily = limits[user["id"], "permissions.daily_budget"]
        assert (daily.limit, daily.spent) == (50_000_000_000, 49_500_000_000)
        monthly = limits[team["id"], "permissions.monthly_budget"]
        assert (monthly.limit, monthly.spent) == (5_000_000_000_000, 49_500_000_000)
        allowed = 1
        while True:
            answer = await check(channel, user["api_key"], model="gpt-3.5-turbo")
            if answer.reason != "ok":
                break
            allowed += 1
        assert (answer.reason, allowed) == ("rate_limit_exceeded", 20)
        assert "rate_limit_per_minute" in answer.message


async def test_the_audit_log_by_the_page_s_curl_line(admin: Admin) -> None:
    key = admin.make(name="Production App", metadata={"app_name": "customer_support"})
    async with admin.stack.channel() as channel:
        answer = await check(
            channel,
            key["api_key"],
            request_id="req_xyz789",
            client_ip="203.0.113.42",
            user_agent="openai-python/1.3.0",
            metadata={"user_id": "user_123"},
        )
        usage = {
            "reservation_id": answer.reservation_id,
            "prompt_tokens": 150,
            "completion_tokens": 200,
            "cost_usd": "0.00525",
            "latency_ms": 245,
        }
        await report(channel, usage)
    line = SHELL["View Audit Logs"].replace("https://api.visca.ai", admin.base)
    line = line.replace("key_abc123", key["id"])

    def entry() -> dict[str, Any]:
        done = subprocess.run(
            ["sh", "-c", line],
            env={"VISCA_API_KEY": admin.api_key, "PATH": "/usr/bin:/bin"},
            capture_output=True,
            check=True,
        )
        entries: list[dict[str, Any]] = json.loads(done.stdout)["logs"]
        settled = [each for each in entries if each["status"] == "success"]
        return settled[0] if settled else {}

    found = eventually(entry, "the entry is settled in the ledger")
    shape = json.loads(JSON["Log Contents"])
    own = {"timestamp": found["timestamp"], "api_key_id": key["id"]}
    assert {name: found[name] for name in shape} == {**shape, **own}


TROUBLES: list[tuple[dict[str, Any], dict[str, Any], int, str, str]] = [
    # What the key has, what is asked, then the status, the reason, and what decided.
    ({"expires_at": "2024-12-31T23:59:59Z"}, {}, 401, "key_expired", "2024-12-31T23:59:59Z"),
    ({"permissions": {"actions": ["embeddings:create"]}}, {}, 403, "action_not_allowed", "actions"),
    ({"permissions": {"models": ["gpt-4o-mini"]}}, {}, 403, "model_not_allowed", "models"),
    ({"budget_limits": {"daily": 0.000001}}, {}, 403, "budget_exceeded", "budget_limits.daily"),
    ({"budget_limits": {"monthly": 0.000001}}, {}, 403, "budget_exceeded", "budget_limits.monthly"),
    ({"token_limits": {"daily": 10}}, {}, 403, "token_quota_exceeded", "token_limits.daily"),
    (
        {"token_limits": {"per_request_max": 10}},
        {"estimated_prompt_tokens": 11},
        403,
        "request_too_large",
        "token_limits.per_request_max",
    ),
    ({"max_requests": 1}, {}, 403, "request_quota_exceeded", "max_requests"),
    ({"rate_limits": {"per_minute": 1}}, {}, 429, "rate_limit_exceeded", "rate_limits.per_minute"),
    (
        {"rate_limits": {"per_minute": 60, "burst": 1}},
        {},
        429,
        "rate_limit_exceeded",
        "rate_limits.per_minute",
    ),
    (
        {"policy": {"version": "2024-01-01", "statements": []}},
        {},
        403,
        "action_not_allowed",
        "policy",
    ),
    (
        {"budget_limits": {"monthly": 1000.0}},
        {"model": "nobodys-model"},
        403,
        "price_unknown",
        "budget_limits.monthly",
    ),
]
"""The causes under `Troubleshooting`, of 401, 403 and 429."""


@pytest.mark.parametrize(("has", "asked", "status", "reason", "told"), TROUBLES)
async def test_each_trouble_says_which_limit_of_which_key_and_what_to_do(
    admin: Admin, has: dict[str, Any], asked: dict[str, Any], status: int, reason: str, told: str
) -> None:
    key = admin.make(name="Production App", **has)
    async with admin.stack.channel() as channel:
        answer = await check(channel, key["api_key"], **asked)
        if answer.reason == "ok":  # What is counted in requests refuses the second.
            answer = await check(channel, key["api_key"], **asked)
    assert (answer.http_status, answer.reason) == (status, reason)
    assert f"key `Production App` ({key['id']})" in answer.message
    assert told in answer.message
    what, _, remedy = answer.message.rpartition(": ")
    assert what
    assert remedy
    waits = answer.response_headers.get("retry-after")
    assert bool(waits) is not (answer.response_headers.get("x-should-retry") == "false")


async def test_a_key_that_is_not_known_or_revoked_is_401(admin: Admin) -> None:
    key = admin.make(name="Gone")
    admin.ask("DELETE", f"/v1/api-keys/{key['id']}")
    typo = key["api_key"][:-1] + ("a" if key["api_key"][-1] != "a" else "b")

    async def revoked() -> bool:
        return (await admin.stack.check(key["api_key"])).reason == "key_revoked"

    await eventually_async(revoked, "the key is revoked")
    for raw, reason in ((key["api_key"], "key_revoked"), (typo, "invalid_api_key")):
        answer = await admin.stack.check(raw)
        assert (answer.http_status, answer.reason) == (401, reason)
        assert ": " in answer.message


async def test_rotation_by_hand_leaves_the_keys_below_unharmed(admin: Admin) -> None:
    """A new key with the same permissions, then the old one is deleted."""
    same = {"permissions": {"models": ["gpt-4o"]}, "budget_limits": {"monthly": 100.0}}
    old = admin.make(name="Production App", **same)
    child = admin.make(name="below", parent_key_id=old["id"])
    new = admin.make(name="Production App", **same)
    gone = admin.ask("DELETE", f"/v1/api-keys/{old['id']}").json()
    assert (gone["status"], gone["live_children"]) == ("revoked", 1)

    async def revoked() -> bool:
        return (await admin.stack.check(old["api_key"])).reason == "key_revoked"

    await eventually_async(revoked, "the old key is dead")
    async with admin.stack.channel() as channel:
        for key in (new, child):
            assert (await check(channel, key["api_key"])).reason == "ok"
        # The old one's limits go on binding what stands below it.
        look = await check(channel, child["api_key"], dry_run=True)
    assert (old["id"], "budget_limits.monthly") in {
        (each.key_id, each.name) for each in look.limits
    }
