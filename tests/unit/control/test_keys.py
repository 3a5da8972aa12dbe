"""Making and showing keys."""

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa
from msgspec.structs import asdict

from pdp.control.initialize import initialize
from pdp.control.keys import Actor, KeyFilter, Keys
from pdp.errors import InvalidDocument, NotFound
from pdp.secret import hash_secret, is_well_formed
from pdp.store import changes
from pdp.store import keys as key_store
from pdp.store.schema import api_keys
from tests.store import Store
from tests.unit.control.desk import (
    NOON,
    PEPPER,
    SECOND,
    Desk,
    opened,
    operator_of,
    refused,
    rows,
    status,
)

CONTRACT = (
    *("id", "name", "description", "status", "key_type", "organization_id", "team_id", "user_id"),
    *("parent_key_id", "granted_by", "permissions_apply_to", "environment", "access"),
    *("permissions", "policy", "rate_limits", "budget_limits", "token_limits"),
    *("effective_limits", "budget_alerts", "alerts", "ip_allowlist", "webhooks", "metadata"),
    *("prefix", "last_four", "created_at", "expires_at", "last_used_at", "rotated_at"),
)


async def other_organization(desk: Desk) -> Actor:
    """Make a second organization; return its root."""
    made = await initialize(desk.database, PEPPER, desk.now, "org2", "Other", "UTC")
    return operator_of(made)


# -- Create


async def test_a_created_key_has_the_fields_of_the_contract_and_its_secret(desk: Desk) -> None:
    made = await desk.create(name="Mobile", description="app")
    assert set(made) >= {*CONTRACT, "api_key"}
    assert (made["name"], made["description"], made["status"]) == ("Mobile", "app", "active")
    assert (made["key_type"], made["environment"]) == ("application", "prod")
    assert made["permissions_apply_to"] == "self"
    assert made["organization_id"] == "org"
    assert made["parent_key_id"] == made["granted_by"] == desk.root.key_id
    assert made["created_at"].startswith("2026-11-23T12:00:01")
    empty = ("team_id", "user_id", "access", "policy", "expires_at", "last_used_at", "rotated_at")
    assert [made[name] for name in empty] == [None] * len(empty)


async def test_the_secret_is_a_fresh_one_of_the_environment(desk: Desk) -> None:
    made = [await desk.create(environment="staging") for _ in range(2)]
    for each in made:
        assert each["api_key"].startswith("vsk_staging_")
        assert is_well_formed(each["api_key"])
        assert each["api_key"].startswith(each["prefix"])
        assert each["api_key"].endswith(each["last_four"])
    assert made[0]["api_key"] != made[1]["api_key"]


async def test_the_raw_secret_is_stored_nowhere_and_shown_once(desk: Desk) -> None:
    made = await desk.create()
    raw = made["api_key"]
    body = raw.rsplit("_", 1)[1]
    assert body not in str(await desk.dump())
    shown = [
        await desk.keys.get(desk.actor, made["id"], desk.now),
        *(await desk.keys.list(desk.actor, desk.now))["keys"],
        await desk.keys.revoke(desk.actor, made["id"], desk.now, cascade=False),
    ]
    assert body not in str(shown)
    async with desk.database.reading() as connection:
        assert await key_store.get_secret(connection, hash_secret(raw, PEPPER)) is not None
        assert await key_store.get_secret(connection, hash_secret(raw, b"q" * 64)) is None


async def test_the_authored_documents_come_back_as_they_were_written(desk: Desk) -> None:
    body: dict[str, Any] = {
        "access": "custom",
        "permissions": {"models": ["gpt-4o-mini"], "monthly_budget": 5000.0},
        "policy": {
            "version": "2024-01-01",
            "statements": [{"effect": "Allow", "actions": ["*"], "resources": ["*"]}],
        },
        "rate_limits": {"per_minute": 60, "burst": 10},
        "budget_limits": {"daily": 100.0, "currency": "USD"},
        "token_limits": {"per_request_max": 100000},
        "max_requests": 7,
        "budget_alerts": {"thresholds": [50, 75], "notify_email": "admin@company.com"},
        "alerts": {"budget_threshold": [50], "failed_auth_threshold": 10, "unusual_patterns": True},
        "ip_allowlist": {"enabled": True, "addresses": ["203.0.113.0/24"]},
        "metadata": {"app": "support"},
        "permissions_apply_to": "subtree",
    }
    made = await desk.create(**body)
    assert {name: made[name] for name in body} == body
    found = await desk.keys.get(desk.actor, made["id"], desk.now)
    assert found == {name: value for name, value in made.items() if name != "api_key"}


async def test_effective_limits_are_long_forms_and_shorthands_side_by_side(desk: Desk) -> None:
    made = await desk.create(
        permissions={"daily_budget": 50.0, "rate_limit_per_minute": 20},
        budget_limits={"daily": 100.0},
        rate_limits={"per_minute": 60, "burst": 10},
    )
    limits = {each["name"]: each for each in made["effective_limits"]}
    assert limits["permissions.daily_budget"]["limit"] == 50_000_000_000
    assert limits["budget_limits.daily"]["limit"] == 100_000_000_000
    assert limits["rate_limits.per_minute"]["burst"] == 10
    assert limits["permissions.rate_limit_per_minute"]["limit"] == 20


async def test_a_key_without_a_name_is_named_after_what_it_is(desk: Desk) -> None:
    named = [await desk.create(name=None), await desk.create(name="", key_type="team", team_id="x")]
    assert [each["name"] for each in named] == ["application", "team x"]


async def test_the_webhook_secret_is_not_shown(desk: Desk) -> None:
    hooks = {"enabled": True, "url": "https://x.example/h", "events": ["key.created"]}
    made = await desk.create(webhooks={**hooks, "secret": "whsec_c2VjcmV0"})
    found = await desk.keys.get(desk.actor, made["id"], desk.now)
    assert found["webhooks"] == made["webhooks"] == {**hooks, "secret": "whsec_***"}


async def test_making_a_key_is_an_entry_of_the_audit_log(desk: Desk) -> None:
    made = await desk.create(name="Mobile")
    (entry,) = [
        row for row in (await rows(desk.database)).values() if row["action"] == "keys.create"
    ]
    assert entry["key_id"] == desk.root.key_id
    assert entry["at"] == desk.now
    assert made["id"] in entry["metadata"]
    assert "Mobile" in entry["metadata"]


async def test_keys_hashed_with_another_pepper_are_other_secrets(desk: Desk) -> None:
    other = Keys(desk.database, b"q" * 64)
    made = await other.create(desk.actor, {"name": "x"}, desk.now)
    async with desk.database.reading() as connection:
        assert await key_store.get_secret(connection, hash_secret(made["api_key"], PEPPER)) is None


# -- Parent by scope


@pytest.mark.parametrize("key_type", ["user", "application"])
async def test_keys_of_a_team_are_below_its_oldest_live_team_level_key(
    desk: Desk, key_type: str
) -> None:
    gone = await desk.create(key_type="team", team_id="a")
    over = await desk.create(key_type="team", team_id="a", expires_at="2026-11-23T12:00:10Z")
    oldest = await desk.create(key_type="team", team_id="a")
    await desk.create(key_type="team", team_id="a")
    await desk.create(key_type="team", team_id="b")
    await desk.keys.revoke(desk.actor, gone["id"], desk.now, cascade=False)
    first = await desk.create(key_type=key_type, team_id="a")
    assert first["parent_key_id"] == over["id"]
    desk.now = NOON + 10 * SECOND
    later = await desk.create(key_type=key_type, team_id="a", user_id="u")
    assert later["parent_key_id"] == oldest["id"]
    assert (later["team_id"], later["user_id"]) == ("a", "u")


async def test_everything_else_is_below_the_root(desk: Desk) -> None:
    await desk.create(key_type="team", team_id="a")
    made = [
        await desk.create(key_type="team", team_id="a"),
        await desk.create(key_type="organization"),
        await desk.create(key_type="user", team_id="of nobody", user_id="u"),
        await desk.create(key_type="user", user_id="u"),
        await desk.create(),
    ]
    assert {each["parent_key_id"] for each in made} == {desk.root.key_id}


async def test_the_team_of_another_organization_is_another_team(desk: Desk) -> None:
    other = await other_organization(desk)
    body = {"key_type": "team", "team_id": "a"}
    await desk.keys.create(other, body, desk.now)
    made = await desk.create(key_type="user", team_id="a")
    assert made["parent_key_id"] == desk.root.key_id


async def test_a_chosen_parent_goes_before_scope_and_passes_on_where_it_belongs(
    desk: Desk,
) -> None:
    await desk.create(key_type="team", team_id="a")
    user = await desk.create(key_type="user", team_id="a", user_id="u")
    made = await desk.create(parent_key_id=user["id"])
    assert made["parent_key_id"] == user["id"]
    assert (made["team_id"], made["user_id"]) == ("a", "u")
    assert made["granted_by"] == desk.root.key_id


async def test_a_parent_out_of_reach_does_not_exist(desk: Desk) -> None:
    other = await other_organization(desk)
    for key_id in (other.key_id, "key_none"):
        await refused(desk, {"parent_key_id": key_id}, "parent_key_id")


@pytest.mark.parametrize(
    "above", [{"key_type": "team", "team_id": "a"}, {"key_type": "user"}, {"name": "app"}]
)
async def test_an_organization_level_key_goes_below_organization_level_keys_alone(
    desk: Desk, above: dict[str, str]
) -> None:
    parent = await desk.create(**above)
    await refused(
        desk, {"key_type": "organization", "parent_key_id": parent["id"]}, "parent_key_id"
    )
    first = await desk.create(key_type="organization")
    second = await desk.create(key_type="organization", parent_key_id=first["id"])
    assert second["parent_key_id"] == first["id"]


async def test_a_team_level_key_may_have_the_team_of_its_parent(desk: Desk) -> None:
    team = await desk.create(key_type="team", team_id="a")
    assert (await desk.create(key_type="team", parent_key_id=team["id"]))["team_id"] == "a"


@pytest.mark.parametrize("end", ["revoked", "suspended", "expired"])
async def test_a_chosen_parent_is_alive(desk: Desk, end: str) -> None:
    parent = await desk.create(expires_at="2026-11-23T12:00:30Z")
    await desk.create(parent_key_id=parent["id"])
    if end == "expired":
        desk.now = NOON + 30 * SECOND
    else:
        async with desk.database.writing() as connection:
            await connection.execute(
                sa.update(api_keys).where(api_keys.c.id == parent["id"]).values(status=end)
            )
    body = {"parent_key_id": parent["id"]}
    await refused(desk, body, "parent_key_id")
    with pytest.raises(InvalidDocument, match=f"is {end}: choose one that is active"):
        await desk.keys.create(desk.actor, body, desk.now)


@pytest.mark.parametrize("name", ["organization_id", "team_id", "user_id"])
async def test_ids_agree_with_those_of_the_parent(desk: Desk, name: str) -> None:
    user = await desk.create(key_type="user", team_id="a", user_id="u")
    same = await desk.create(parent_key_id=user["id"], **{name: user[name]})
    assert same[name] == user[name]
    await refused(desk, {"parent_key_id": user["id"], name: "else"}, name)


# -- Get and list


async def test_a_key_that_is_not_in_reach_is_not_found(desk: Desk) -> None:
    other = await other_organization(desk)
    made = await desk.create()
    for actor, key_id in ((other, made["id"]), (desk.actor, other.key_id), (desk.actor, "key_x")):
        with pytest.raises(NotFound, match=f"there is no key `{key_id}`"):
            await desk.keys.get(actor, key_id, desk.now)
        with pytest.raises(NotFound):
            await desk.keys.revoke(actor, key_id, desk.now, cascade=True)
    assert await status(desk, made["id"]) == "active"


async def test_a_key_expires_on_the_instant(desk: Desk) -> None:
    made = await desk.create(expires_at="2026-11-23T14:00:00+01:00")
    end = NOON + 3600 * SECOND
    seen = [(await desk.keys.get(desk.actor, made["id"], now))["status"] for now in (end - 1, end)]
    assert seen == ["active", "expired"]


async def test_a_list_has_the_organizations_keys_oldest_first(desk: Desk) -> None:
    other = await other_organization(desk)
    made = [(await desk.create(name=name))["id"] for name in "cab"]
    await desk.keys.revoke(desk.actor, made[0], desk.now, cascade=False)
    found = await desk.keys.list(desk.actor, desk.now)
    assert [each["id"] for each in found["keys"]] == [desk.root.key_id, *made]
    assert [each["status"] for each in found["keys"]] == ["active", "revoked", "active", "active"]
    assert found["next_cursor"] is None
    theirs = await desk.keys.list(other, desk.now)
    assert [each["id"] for each in theirs["keys"]] == [other.key_id]
    first = await desk.keys.list(desk.actor, desk.now, KeyFilter(limit=2))
    assert [each["id"] for each in first["keys"]] == [desk.root.key_id, made[0]]
    rest = await desk.keys.list(desk.actor, desk.now, KeyFilter(limit=2), first["next_cursor"])
    assert [each["id"] for each in rest["keys"]] == made[1:]
    assert rest["next_cursor"] is None


async def test_all_keys_of_an_organization_come_page_by_page_each_once(desk: Desk) -> None:
    other = await other_organization(desk)
    async with desk.database.writing() as connection:
        root = await key_store.get_key(connection, desk.root.key_id)
        assert root is not None
        values = {**asdict(root), "document": "{}", "temporary": 0}
        del values["prefix"], values["last_four"]
        many = [
            {**values, "id": f"key_{number:05}", "created_at": NOON + number // 700}
            for number in range(2500)
        ]
        await connection.execute(sa.insert(api_keys), many)
    found = [key["id"] async for key in desk.keys.every(desk.actor, desk.now)]
    assert len(found) == len(set(found)) == 2501
    assert [each for each in found if each != root.id] == [each["id"] for each in many]
    assert [key["id"] async for key in desk.keys.every(other, desk.now)] == [other.key_id]


async def test_the_actor_is_the_root_of_the_oldest_organization(desk: Desk) -> None:
    desk.now += SECOND
    other = await other_organization(desk)
    assert await desk.keys.actor() == desk.actor
    assert await desk.keys.actor("org2") == other
    with pytest.raises(NotFound, match="there is no organization `org3`: run `pdp init`"):
        await desk.keys.actor("org3")


async def test_a_parent_that_is_being_revoked_is_waited_for_and_then_refused(desk: Desk) -> None:
    team = await desk.create(key_type="team", team_id="a")
    async with desk.database.writing() as connection:
        await changes.lock(connection)
        body = {"parent_key_id": team["id"]}
        creating = asyncio.create_task(desk.keys.create(desk.actor, body, desk.now))
        done, _ = await asyncio.wait([creating], timeout=0.2)
        assert not done
        await key_store.revoke(connection, [team["id"]], await changes.bump(connection), desk.now)
    with pytest.raises(InvalidDocument, match="is revoked: choose one that is active"):
        await creating


async def test_two_first_starts_at_once_make_one_organization(store: Store) -> None:
    async with store.empty() as url, opened(url) as one, opened(url) as two:
        made = await asyncio.gather(
            *(initialize(each, PEPPER, NOON, None, "", "UTC") for each in (one, two, one))
        )
    assert len({each.organization_id for each in made}) == 1
    assert sorted(bool(each.api_key) for each in made) == [False, False, True]
