"""Who calls, with which rights: an intersection along the grant chain, as it is now."""

from typing import Any

import pytest

from pdp.control.keys import Actor
from pdp.control.organizations import get_settings, update_settings
from pdp.errors import Forbidden, Unauthorized
from tests.unit.control.callers import ADDRESS, RIGHTS, actor_of, made_by, manager
from tests.unit.control.desk import SECOND, Desk


async def writes(desk: Desk, actor: Actor, key_id: str) -> list[Any]:
    """Return every call that writes, about a key."""
    keys, now = desk.keys, desk.now
    return [
        keys.create(actor, {}, now),
        keys.create_temporary(actor, {"expires_in": 60}, now),
        keys.update(actor, key_id, {"name": "x"}, now),
        keys.rotate(actor, key_id, {}, now),
        keys.suspend(actor, key_id, now),
        keys.resume(actor, key_id, now),
        keys.report_compromised(actor, key_id, {}, now),
        keys.revoke(actor, key_id, now, cascade=False),
        update_settings(desk.database, actor, {"name": "x"}, now),
    ]


@pytest.mark.parametrize("right", list(RIGHTS))
async def test_a_key_has_a_right_if_its_granters_have_it(desk: Desk, right: str) -> None:
    rest = {name: True for name in RIGHTS if name != right} | {"manage_keys": True}
    lacking = await manager(desk, permissions={**dict.fromkeys(RIGHTS, False), **rest})
    below = await actor_of(desk, await made_by(desk, lacking, permissions=RIGHTS))
    assert (await manager(desk)).may(right)
    assert below.may(right) == (right == "manage_keys")


@pytest.mark.parametrize("given", [{}, {"manage_keys": False}, {"view_all_usage": True}])
async def test_without_the_right_to_manage_keys_a_key_reads_itself_alone(
    desk: Desk, given: dict[str, bool]
) -> None:
    other = await desk.create()
    actor = await actor_of(desk, await desk.create(permissions=given))
    assert (await desk.keys.get(actor, actor.key_id, desk.now))["id"] == actor.key_id
    with pytest.raises(Forbidden, match="lacks `manage_keys`"):
        await desk.keys.list(actor, desk.now)
    for write in await writes(desk, actor, other["id"]):
        with pytest.raises(Forbidden, match="lacks `manage_"):
            await write


async def test_without_it_a_key_may_end_itself_and_nothing_else(desk: Desk) -> None:
    made = await desk.create(key_type="team", team_id="a")
    below = await desk.create(team_id="a")
    actor = await actor_of(desk, made)
    with pytest.raises(Forbidden, match="lacks `manage_keys`"):
        await desk.keys.update(actor, actor.key_id, {"rate_limits": {"per_minute": 0}}, desk.now)
    with pytest.raises(Forbidden, match="lacks `manage_keys`"):
        await desk.keys.revoke(actor, actor.key_id, desk.now, cascade=True)
    new = await desk.keys.rotate(actor, actor.key_id, {}, desk.now)
    actor = await actor_of(desk, new)
    gone = await desk.keys.revoke(actor, actor.key_id, desk.now, cascade=False)
    assert (gone["status"], gone["live_children"]) == ("revoked", 1)
    assert (await desk.keys.get(desk.actor, below["id"], desk.now))["status"] == "active"


@pytest.mark.parametrize("whose", ["own", "granter's"])
async def test_a_read_only_key_changes_nothing_not_even_itself(desk: Desk, whose: str) -> None:
    first = await manager(desk)
    made = await made_by(desk, first, permissions=RIGHTS, key_type="organization")
    below = await made_by(desk, first, parent_key_id=made["id"])
    changed = made["id"] if whose == "own" else first.key_id
    await desk.keys.update(desk.actor, changed, {"access": "read_only"}, desk.now)
    actor = await actor_of(desk, made)
    assert (actor.may("view_all_usage"), actor.may("manage_keys")) == (True, False)
    for key_id in (actor.key_id, below["id"]):
        before = await desk.dump()
        for write in await writes(desk, actor, key_id):
            with pytest.raises(Forbidden):
                await write
        assert await desk.dump() == before
    assert (await get_settings(desk.database, actor))["id"] == "org"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [("", "missing_key"), ("nonsense", "invalid_api_key"), ("ü", "invalid_api_key")],
)
async def test_who_shows_no_key_of_ours_is_told_so(desk: Desk, raw: str, reason: str) -> None:
    with pytest.raises(Unauthorized) as caught:
        await desk.keys.authenticate(raw, ADDRESS, desk.now)
    assert caught.value.reason == reason


async def test_a_key_of_another_installation_is_not_known(desk: Desk) -> None:
    made = await desk.create()
    tail = "1" if made["api_key"][-7] != "1" else "2"
    forged = made["api_key"][:-7] + tail + made["api_key"][-6:]
    with pytest.raises(Unauthorized, match="not known here"):
        await desk.keys.authenticate(forged, ADDRESS, desk.now)


async def test_a_dead_key_is_told_why(desk: Desk) -> None:
    end = "2026-11-23T12:10:00Z"
    revoked, suspended, expired, rotated = [await desk.create(expires_at=end) for _ in range(4)]
    await desk.keys.revoke(desk.actor, revoked["id"], desk.now, cascade=False)
    await desk.keys.suspend(desk.actor, suspended["id"], desk.now)
    await desk.keys.rotate(desk.actor, rotated["id"], {}, desk.now)
    for made, reason in (
        (revoked, "key_revoked"),
        (suspended, "key_suspended"),
        (rotated, "key_revoked"),
    ):
        with pytest.raises(Unauthorized) as caught:
            await actor_of(desk, made)
        assert caught.value.reason == reason
    desk.now += 600 * SECOND
    with pytest.raises(Unauthorized) as caught:
        await actor_of(desk, expired)
    assert caught.value.reason == "key_expired"


async def test_the_address_lists_of_all_parents_count(desk: Desk) -> None:
    lists = {"enabled": True, "addresses": ["192.0.2.0/24"]}
    above = await desk.create(ip_allowlist=lists)
    made = await desk.create(parent_key_id=above["id"])
    await desk.keys.authenticate(made["api_key"], "::ffff:192.0.2.7", desk.now)
    for address in ("198.51.100.1", "", "nonsense"):
        with pytest.raises(Unauthorized) as caught:
            await desk.keys.authenticate(made["api_key"], address, desk.now)
        assert caught.value.reason == "ip_not_allowed"


async def test_what_happened_since_it_was_asked_who_it_is_counts(desk: Desk) -> None:
    for end in ("revoke", "suspend", "rotate", "right"):
        actor = await manager(desk)
        key_id, now = actor.key_id, desk.now
        if end == "revoke":
            await desk.keys.revoke(desk.actor, key_id, now, cascade=False)
        elif end == "suspend":
            await desk.keys.suspend(desk.actor, key_id, now)
        elif end == "rotate":
            await desk.keys.rotate(desk.actor, key_id, {}, now)
        else:
            await desk.keys.update(desk.actor, key_id, {"permissions": None}, now)
        before = await desk.dump()
        for write in await writes(desk, actor, desk.root.key_id):
            with pytest.raises((Unauthorized, Forbidden)):
                await write
        assert await desk.dump() == before


async def test_two_that_take_each_other_over_make_no_circle(desk: Desk) -> None:
    one, two = await manager(desk), await manager(desk)
    await desk.keys.update(one, two.key_id, {"granted_by": one.key_id}, desk.now)
    with pytest.raises(Forbidden, match="is above the key that asks"):
        await desk.keys.update(two, one.key_id, {"granted_by": two.key_id}, desk.now)
    shown = [await desk.keys.get(desk.actor, each.key_id, desk.now) for each in (one, two)]
    assert [each["granted_by"] for each in shown] == [desk.root.key_id, one.key_id]
