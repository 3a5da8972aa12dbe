"""Changing keys by JSON Merge Patch."""

from typing import Any

import pytest

from pdp.control.patching import merged
from pdp.errors import Conflict, InvalidDocument, PreconditionFailed
from pdp.store import keys as store
from tests.unit.control.callers import manager
from tests.unit.control.desk import SECOND, Desk

RFC_7396 = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]
HOOKS = {"enabled": True, "url": "https://example.com/h", "events": ["key.revoked"]}


@pytest.mark.parametrize(("target", "patch", "result"), RFC_7396)
def test_merging_is_that_of_the_appendix_of_rfc_7396(target: Any, patch: Any, result: Any) -> None:
    before = repr(target)
    assert merged(target, patch) == result
    assert repr(target) == before


async def patched(desk: Desk, key_id: str, **patch: Any) -> dict[str, Any]:
    return await desk.keys.update(desk.actor, key_id, patch, desk.now)


async def refused(desk: Desk, key_id: str, patch: Any, *locations: str) -> None:
    before = await desk.dump()
    with pytest.raises(InvalidDocument) as caught:
        await desk.keys.update(desk.actor, key_id, patch, desk.now)
    assert sorted(each.location for each in caught.value.problems) == sorted(locations)
    assert await desk.dump() == before


async def test_the_patch_of_the_seed_changes_two_limits_and_leaves_the_rest(desk: Desk) -> None:
    made = await desk.create(
        permissions={"models": ["gpt-4o-mini"], "actions": ["chat:completions"]},
        rate_limits={"per_minute": 100, "per_day": 1000},
        budget_limits={"monthly": 1000.0},
    )
    raw = made.pop("api_key")
    after = await patched(
        desk, made["id"], rate_limits={"per_minute": 200}, budget_limits={"monthly": 2000.0}
    )
    changed = {name for name in made if after[name] != made[name]}
    assert changed == {"rate_limits", "budget_limits", "effective_limits", "version"}
    assert after["rate_limits"] == {"per_minute": 200, "per_day": 1000}
    assert after["version"] > made["version"]
    assert raw not in str(after)
    assert await desk.keys.get(desk.actor, made["id"], desk.now) == after


async def test_null_takes_away(desk: Desk) -> None:
    made = await desk.create(
        description="d",
        expires_at="2030-01-01T00:00:00Z",
        permissions={"models": ["a"], "max_requests": 3},
        max_requests=0,
        metadata={"a": "b"},
    )
    after = await patched(
        desk,
        made["id"],
        description=None,
        expires_at=None,
        permissions={"models": None},
        metadata=None,
    )
    assert (after["description"], after["expires_at"], after["metadata"]) == ("", None, None)
    assert (after["permissions"], after["max_requests"]) == ({"max_requests": 3}, 0)


async def test_what_get_shows_may_be_sent_back_as_it_is(desk: Desk) -> None:
    made = await desk.keys.create_temporary(
        desk.actor,
        {"expires_in": 60, "webhooks": {**HOOKS, "secret": "whsec_abc"}, "name": "t"},
        desk.now + 123_456_789,
    )
    shown = await desk.keys.get(desk.actor, made["id"], desk.now)
    before = await desk.dump()
    later = desk.now + 3 * SECOND
    assert await desk.keys.update(desk.actor, made["id"], shown, later) == shown
    assert await desk.dump() == before


async def test_fields_that_move_by_themselves_may_come_back_old(desk: Desk) -> None:
    made = await desk.create()
    stale = {"last_used_at": "2020-01-01T00:00:00Z", "rotation_age_days": 77, "name": "new"}
    after = await patched(desk, made["id"], **stale)
    assert (after["name"], after["last_used_at"], after["rotation_age_days"]) == ("new", None, 0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", "key_x"),
        ("status", "revoked"),
        ("key_type", "organization"),
        ("organization_id", "org2"),
        ("team_id", "a"),
        ("user_id", "u"),
        ("parent_key_id", "key_x"),
        ("environment", "dev"),
        ("effective_limits", []),
        ("prefix", "vsk_x"),
        ("last_four", "abcd"),
        ("created_at", None),
        ("rotated_at", "2030-01-01T00:00:00Z"),
        ("version", 0),
        ("temporary", True),
        ("granted_by", "key_x"),
        ("api_key", "vsk_x"),
        ("nmae", "x"),
    ],
)
async def test_what_is_not_authored_cannot_be_changed(desk: Desk, name: str, value: Any) -> None:
    made = await desk.create(rate_limits={"per_minute": 1})
    await refused(desk, made["id"], {name: value, "name": "new"}, name)


@pytest.mark.parametrize("patch", [None, [], "x", 1])
async def test_a_patch_is_an_object(desk: Desk, patch: Any) -> None:
    await refused(desk, (await desk.create())["id"], patch, "body")


async def test_a_patch_that_is_too_deep_is_refused(desk: Desk) -> None:
    deep: dict[str, Any] = {}
    for _ in range(2000):
        deep = {"a": deep}
    await refused(desk, (await desk.create())["id"], {"permissions": deep}, "body")


async def test_what_comes_of_a_patch_is_checked_like_a_new_key(desk: Desk) -> None:
    made = await desk.create(access="custom", permissions={"models": ["a"]})
    await refused(desk, made["id"], {"permissions": None}, "access")
    await refused(
        desk,
        made["id"],
        {"rate_limits": {"per_minute": -1}, "policy": {"version": "1"}, "metadata": {"a": 1}},
        *("rate_limits.per_minute", "policy.version", "policy.statements", "metadata.a"),
    )


async def test_a_webhooks_secret_is_masked_and_kept_when_the_mask_comes_back(desk: Desk) -> None:
    made = await desk.create(webhooks={**HOOKS, "secret": "whsec_abc"})
    assert made["webhooks"] == {**HOOKS, "secret": "whsec_***"}
    url = "https://example.com/other"
    after = await patched(desk, made["id"], webhooks={**made["webhooks"], "url": url})
    assert after["webhooks"] == {**HOOKS, "url": url, "secret": "whsec_***"}
    assert await secret_of(desk, made["id"]) == "whsec_abc"
    await patched(desk, made["id"], webhooks={"secret": "whsec_new"})
    assert await secret_of(desk, made["id"]) == "whsec_new"
    after = await patched(desk, made["id"], webhooks={"secret": None})
    assert after["webhooks"] == {**HOOKS, "url": url}
    assert await secret_of(desk, made["id"]) is None


async def test_the_mask_never_becomes_a_secret(desk: Desk) -> None:
    mask = {"webhooks": {**HOOKS, "secret": "whsec_***"}}
    with pytest.raises(InvalidDocument, match="stands for a secret"):
        await desk.create(**mask)
    await refused(desk, (await desk.create())["id"], mask, "webhooks.secret")


async def secret_of(desk: Desk, key_id: str) -> str | None:
    async with desk.database.reading() as connection:
        row = await store.get_key(connection, key_id)
    assert row is not None
    found: str | None = (row.document.webhooks or {}).get("secret")
    return found


async def test_an_end_in_the_past_is_taken_and_told(desk: Desk) -> None:
    made = await desk.create(expires_at="2020-01-01T00:00:00Z")
    assert made["status"] == "expired"
    assert made["warnings"] == ["expires_at is in the past: the key is expired already"]
    live = await desk.create()
    after = await patched(desk, live["id"], expires_at="2020-01-01T00:00:00Z")
    assert (after["status"], len(after["warnings"])) == ("expired", 1)
    back = await patched(desk, live["id"], expires_at=None)
    assert back["status"] == "active"
    assert "warnings" not in back


async def test_two_editors_do_not_overwrite_each_other(desk: Desk) -> None:
    made = await desk.create()
    seen = {made["version"]}
    first = await desk.keys.update(desk.actor, made["id"], {"name": "a"}, desk.now, seen)
    with pytest.raises(PreconditionFailed, match=f"to version {first['version']}"):
        await desk.keys.update(desk.actor, made["id"], {"name": "b"}, desk.now, seen)
    last = await desk.keys.update(
        desk.actor, made["id"], {"description": "c"}, desk.now, {first["version"]}
    )
    assert (last["name"], last["description"]) == ("a", "c")


async def test_what_changes_nothing_is_no_change(desk: Desk) -> None:
    made = await desk.create(name="a")
    before = await desk.dump()
    after = await patched(desk, made["id"], name="a", description=None)
    assert after["version"] == made["version"]
    assert await desk.dump() == before


async def test_a_revoked_key_stays_as_it_is(desk: Desk) -> None:
    made = await desk.create()
    await desk.keys.revoke(desk.actor, made["id"], desk.now, cascade=False)
    with pytest.raises(Conflict, match="is revoked: make a new one"):
        await patched(desk, made["id"], name="x")


async def test_a_patch_may_come_from_whoever_manages_the_key(desk: Desk) -> None:
    actor = await manager(desk)
    made = await desk.create()
    after = await desk.keys.update(actor, made["id"], {"name": "x"}, desk.now)
    assert (after["name"], after["granted_by"]) == ("x", desk.root.key_id)
