"""Nobody gives what they do not have: warnings, taking a grant over, no widening of oneself."""

from typing import Any

import pytest

from pdp.control.keys import Actor
from pdp.control.widening import widening_of
from pdp.errors import Forbidden, InvalidDocument
from pdp.store.keys import Document, KeyRow
from tests.unit.control.callers import RIGHTS, actor_of, decided, made_by, manager
from tests.unit.control.desk import Desk


def statement(effect: str = "Allow", actions: str = "*", resource: str = "*") -> dict[str, Any]:
    return {"effect": effect, "actions": [actions], "resources": [resource]}


def policy(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"version": "2024-01-01", "statements": list(statements)}


# -- Warnings


@pytest.mark.parametrize(
    ("maker", "body", "told"),
    [
        (
            {"permissions": {"models": ["gpt-4o"]}},
            {"permissions": {"models": ["o3", "gpt-4o"]}},
            ["model `o3`"],
        ),
        ({"permissions": {"models": ["gpt-*"]}}, {"permissions": {"models": ["gpt-5", "g*"]}}, []),
        (
            {"permissions": {"actions": ["chat:*"]}},
            {"permissions": {"actions": ["chat:stream", "embeddings:create"]}},
            ["action `embeddings:create`"],
        ),
        (
            {"policy": policy(statement(resource="model:gpt-4o"))},
            {"policy": policy(statement(resource="model:o3"))},
            ["model `o3`"],
        ),
        (
            {"policy": policy(statement(actions="chat:*"))},
            {"policy": policy(statement(actions="images:generate"))},
            ["action `images:generate`"],
        ),
        (
            {"policy": policy(statement(resource="provider:openai"))},
            {"permissions": {"models": ["o3"]}},
            [],
        ),
        (
            {"permissions": {"manage_billing": False}},
            {"permissions": RIGHTS},
            ["right `manage_billing`"],
        ),
        ({}, {"permissions": {**RIGHTS, "models": ["o3"]}, "policy": policy(statement())}, []),
    ],
)
async def test_what_a_granter_cannot_give_is_told_by_name(
    desk: Desk, maker: dict[str, Any], body: dict[str, Any], told: list[str]
) -> None:
    actor = await manager(desk, name="Maker", **maker)
    made = await made_by(desk, actor, **body)
    wanted = [
        f"{each}: key `Maker` ({actor.key_id}), which grants this key, has it not" for each in told
    ]
    assert made.get("warnings", []) == wanted
    again = await desk.keys.update(actor, made["id"], {"description": "x"}, desk.now)
    assert again.get("warnings") == made.get("warnings")


async def test_what_is_warned_of_is_indeed_of_no_effect(desk: Desk) -> None:
    actor = await manager(desk, permissions={"models": ["gpt-4o"]})
    made = await made_by(desk, actor, permissions={"models": ["o3", "gpt-4o"]})
    assert await decided(desk, made["api_key"], "o3") == "model_not_allowed"
    assert await decided(desk, made["api_key"], "gpt-4o") == "ok"
    # It takes effect once the granter has it.
    await desk.keys.update(desk.actor, actor.key_id, {"permissions": {"models": None}}, desk.now)
    assert await decided(desk, made["api_key"], "o3") == "ok"


# -- Taking a grant over


async def peers(desk: Desk) -> tuple[Actor, Actor]:
    """Return two administrators beside each other; the second has one model."""
    return await manager(desk), await manager(desk, permissions={"models": ["gpt-4o"]})


async def test_who_gives_another_ones_key_more_answers_for_it(desk: Desk) -> None:
    wide, narrow = await peers(desk)
    made = await made_by(desk, wide, permissions={"models": ["gpt-4o", "o3"]})
    patch = {"permissions": {"models": ["gpt-4o", "o3", "gpt-5"]}}
    after = await desk.keys.update(narrow, made["id"], patch, desk.now)
    assert after["granted_by"] == narrow.key_id
    assert f"the grant is taken over by {narrow.key_id}" in after["warnings"][-1]
    assert await decided(desk, made["api_key"], "o3") == "model_not_allowed"
    assert await decided(desk, made["api_key"], "gpt-4o") == "ok"


@pytest.mark.parametrize(
    "patch",
    [
        {"permissions": {"models": ["gpt-4o"]}},
        {"rate_limits": {"per_minute": 100}, "budget_limits": None},
        {"name": "x", "metadata": {"a": "b"}, "description": "d"},
        {"expires_at": "2029-01-01T00:00:00Z"},
        {"ip_allowlist": {"enabled": True, "addresses": ["192.0.2.1"]}},
    ],
)
async def test_who_gives_no_more_rights_leaves_the_grant_where_it_is(
    desk: Desk, patch: dict[str, Any]
) -> None:
    wide, narrow = await peers(desk)
    made = await made_by(
        desk,
        wide,
        permissions={"models": ["gpt-4o", "o3"]},
        budget_limits={"daily": 1},
        rate_limits={"per_minute": 1},
        expires_at="2030-01-01T00:00:00Z",
        ip_allowlist={"enabled": True, "addresses": ["192.0.2.1", "192.0.2.2"]},
    )
    after = await desk.keys.update(narrow, made["id"], patch, desk.now)
    assert after["granted_by"] == wide.key_id


@pytest.mark.parametrize(
    ("first", "patch", "is_taken"),
    [
        ({"permissions": {"models": ["gpt-4o"]}}, {"permissions": {"models": ["o3"]}}, True),
        ({}, {"permissions": {"models": ["o3"]}}, True),
        ({}, {"policy": policy(statement(resource="model:o3"))}, True),
        ({"permissions": {"models": ["gpt-4o"]}}, {"permissions": {"models": None}}, False),
        ({"permissions": {"models": ["gpt-4o"]}}, {"permissions": {"models": ["gpt-*"]}}, False),
        ({"permissions": {"models": ["o3"]}}, {"permissions": {"actions": ["chat:*"]}}, False),
        ({}, {"name": "x", "budget_limits": {"daily": 1}}, False),
    ],
)
async def test_an_administrator_above_gives_what_the_granter_below_has_not(
    desk: Desk, first: dict[str, Any], patch: dict[str, Any], is_taken: bool
) -> None:
    below = await manager(desk, key_type="team", team_id="t", permissions={"models": ["gpt-4o"]})
    root = await desk.keys.rotate(desk.actor, desk.root.key_id, {}, desk.now)
    for above in (desk.actor, await actor_of(desk, root)):
        made = await made_by(desk, below, **first)
        after = await desk.keys.update(above, made["id"], patch, desk.now)
        assert after["granted_by"] == (desk.root.key_id if is_taken else below.key_id)
        assert (await decided(desk, made["api_key"], "o3") == "ok") is is_taken
        assert after["parent_key_id"] == below.key_id, "its limits and Denies go on binding"


async def test_who_lacks_it_himself_takes_no_grant_over(desk: Desk) -> None:
    above = await manager(desk, permissions={"models": ["gpt-4o", "o4"]})
    made = await made_by(desk, above, key_type="organization", permissions={**RIGHTS})
    below = await actor_of(desk, made)
    named = await made_by(desk, below)
    patch = {"permissions": {"models": ["o3"]}}
    after = await desk.keys.update(above, named["id"], patch, desk.now)
    assert after["granted_by"] == below.key_id
    assert "model `o3`" in after["warnings"][0]


async def test_a_grant_may_be_taken_over_on_purpose_and_then_rotated(desk: Desk) -> None:
    wide, narrow = await peers(desk)
    made = await made_by(desk, wide, permissions={"models": ["o3", "gpt-4o"]})
    with pytest.raises(Forbidden, match="take the grant over"):
        await desk.keys.rotate(narrow, made["id"], {}, desk.now)
    with pytest.raises(InvalidDocument, match="can only become the key that asks"):
        await desk.keys.update(narrow, made["id"], {"granted_by": desk.root.key_id}, desk.now)
    await desk.keys.update(narrow, made["id"], {"granted_by": narrow.key_id}, desk.now)
    new = await desk.keys.rotate(narrow, made["id"], {}, desk.now)
    assert await decided(desk, new["api_key"], "o3") == "model_not_allowed"


async def test_a_grant_is_taken_over_only_below_what_binds_who_takes_it(desk: Desk) -> None:
    above = await desk.create(
        key_type="organization", policy=policy(statement(), statement("Deny", resource="model:o3"))
    )
    bound = await manager(desk, parent_key_id=above["id"])
    made = await desk.create()
    for patch in ({"granted_by": bound.key_id}, {"permissions": {"manage_keys": True}}):
        with pytest.raises(Forbidden, match="is not below all that binds"):
            await desk.keys.update(bound, made["id"], patch, desk.now)


async def test_the_denies_of_who_grants_bind(desk: Desk) -> None:
    actor = await manager(desk, policy=policy(statement(), statement("Deny", resource="model:o3")))
    made = await made_by(desk, actor)
    assert made["parent_key_id"] == desk.root.key_id
    assert await decided(desk, made["api_key"], "o3") == "policy_denied"


# -- Widening oneself

NARROW: dict[str, Any] = {
    "key_type": "organization",
    "permissions": {**RIGHTS, "models": ["a", "b"], "manage_billing": False},
    "policy": policy(statement(resource="model:a")),
    "rate_limits": {"per_minute": 60, "burst": 10},
    "budget_limits": {"daily": 10},
    "token_limits": {"per_request_max": 100, "on_backend_error": "deny"},
    "max_requests": 5,
    "ip_allowlist": {"enabled": True, "addresses": ["192.0.2.0/24"]},
    "permissions_apply_to": "subtree",
    "metadata": {"env": "dev"},
    "expires_at": "2027-01-01T00:00:00Z",
}


@pytest.mark.parametrize(
    ("patch", "told"),
    [
        ({"permissions": {"models": ["a", "c"]}}, "permissions.models"),
        ({"permissions": {"models": None}}, "permissions.models"),
        ({"permissions": {"manage_billing": True}}, "permissions.manage_billing"),
        ({"policy": None}, "policy"),
        ({"rate_limits": {"per_minute": 61}}, "rate_limits.per_minute"),
        ({"rate_limits": {"burst": 11}}, "rate_limits.per_minute"),
        ({"rate_limits": {"burst": None}}, "rate_limits.per_minute"),
        ({"rate_limits": {"per_second": 1}}, "rate_limits.per_minute"),
        ({"budget_limits": {"daily": 11}}, "budget_limits.daily"),
        ({"budget_limits": {"daily": None}}, "budget_limits.daily"),
        ({"budget_limits": {"on_backend_error": "allow"}}, "budget_limits.daily"),
        ({"token_limits": None}, "token_limits.per_request_max"),
        ({"token_limits": {"on_backend_error": None}}, "token_limits.per_request_max"),
        ({"max_requests": None}, "max_requests"),
        ({"ip_allowlist": {"enabled": False}}, "ip_allowlist"),
        ({"ip_allowlist": {"addresses": ["192.0.2.0/24", "::/0"]}}, "ip_allowlist"),
        ({"permissions_apply_to": "self"}, "permissions_apply_to"),
        ({"metadata": {"env": "prod"}}, "metadata"),
        ({"expires_at": "2027-01-02T00:00:00Z"}, "expires_at"),
        ({"expires_at": None}, "expires_at"),
    ],
)
async def test_a_key_does_not_widen_itself(desk: Desk, patch: dict[str, Any], told: str) -> None:
    actor = await actor_of(desk, await desk.create(**NARROW))
    before = await desk.dump()
    with pytest.raises(Forbidden, match=f"^a key cannot widen itself: {told}$"):
        await desk.keys.update(actor, actor.key_id, patch, desk.now)
    assert await desk.dump() == before


@pytest.mark.parametrize(
    "patch",
    [
        {"permissions": {"models": ["a"]}},
        {"permissions": {"manage_keys": False}},
        {"access": "read_only"},
        {"rate_limits": {"per_minute": 6, "burst": 6}},
        {"budget_limits": {"daily": 1, "total": 5}},
        {"budget_limits": {"on_backend_error": "deny"}},
        {"name": "x"},
        {"expires_at": "2026-12-01T00:00:00Z"},
    ],
)
async def test_a_key_may_narrow_itself(desk: Desk, patch: dict[str, Any]) -> None:
    actor = await actor_of(desk, await desk.create(**NARROW))
    after = await desk.keys.update(actor, actor.key_id, patch, desk.now)
    assert after["version"] > 0
    assert after["granted_by"] == desk.root.key_id


def row(**document: Any) -> KeyRow:
    return KeyRow(
        id="key",
        organization_id="org",
        version=1,
        status="active",
        key_type="application",
        name="key",
        created_at=0,
        document=Document(**document),
    )


def test_of_two_limits_of_one_period_each_holds() -> None:
    both = {
        "rate_limits": {"per_minute": 60, "burst": 10},
        "permissions": {"rate_limit_per_minute": 20},
    }
    lost = {"rate_limits": {"per_minute": 60}, "permissions": {"rate_limit_per_minute": 20}}
    assert widening_of(row(**both), row(**lost)).limits == ("rate_limits.per_minute",)
    assert widening_of(row(**both), row(rate_limits={"per_minute": 20, "burst": 10})).limits == ()
