"""Revoking keys, and what becomes of those below."""

from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec.structs import replace

from pdp.control.keys import Resource
from pdp.store import keys as store
from pdp.store.schema import api_keys
from tests.unit.control.desk import NOON, SECOND, Desk, rows, status


async def temporary(desk: Desk, parent: Resource) -> str:
    """Store a temporary key below another; return its id."""
    async with desk.database.writing() as connection:
        above = await store.get_key(connection, parent["id"])
        assert above is not None
        row = replace(above, id=f"tmp_{parent['id']}", parent_key_id=above.id, temporary=True)
        await store.insert_key(connection, row)
    return row.id


async def test_a_revoked_key_leaves_its_children_and_tells_their_number(desk: Desk) -> None:
    team = await desk.create(key_type="team", team_id="a")
    user = await desk.create(key_type="user", team_id="a", user_id="u")
    below = await desk.create(parent_key_id=user["id"])
    revoked = await desk.keys.revoke(desk.actor, team["id"], desk.now, cascade=False)
    assert (revoked["id"], revoked["status"]) == (team["id"], "revoked")
    assert revoked["live_children"] == 2
    assert [await status(desk, each["id"]) for each in (user, below)] == ["active", "active"]


async def test_cascade_revokes_everything_below_and_nothing_beside(desk: Desk) -> None:
    beside = await desk.create(key_type="team", team_id="b")
    team = await desk.create(key_type="team", team_id="a")
    user = await desk.create(key_type="user", team_id="a", user_id="u")
    below = await desk.create(parent_key_id=user["id"])
    revoked = await desk.keys.revoke(desk.actor, team["id"], desk.now, cascade=True)
    assert (revoked["status"], revoked["live_children"]) == ("revoked", 0)
    assert [await status(desk, each["id"]) for each in (user, below)] == ["revoked", "revoked"]
    assert await status(desk, beside["id"]) == await status(desk, desk.root.key_id) == "active"


async def test_temporary_descendants_die_with_the_key(desk: Desk) -> None:
    team = await desk.create(key_type="team", team_id="a")
    user = await desk.create(key_type="user", team_id="a", user_id="u")
    short = [await temporary(desk, team), await temporary(desk, user)]
    beside = await temporary(desk, await desk.create())
    revoked = await desk.keys.revoke(desk.actor, team["id"], desk.now, cascade=False)
    assert revoked["live_children"] == 1
    assert [await status(desk, each) for each in short] == ["revoked", "revoked"]
    assert await status(desk, user["id"]) == await status(desk, beside) == "active"


async def test_children_that_have_expired_are_not_live(desk: Desk) -> None:
    team = await desk.create(key_type="team", team_id="a")
    end = "2026-11-23T12:00:30Z"
    await desk.create(key_type="user", team_id="a", expires_at=end)
    await desk.create(key_type="user", team_id="a")
    found = [
        (await desk.keys.revoke(desk.actor, team["id"], NOON + after * SECOND, cascade=False))
        for after in (29, 30)
    ]
    assert [each["live_children"] for each in found] == [2, 1]


async def test_revoking_again_changes_nothing(desk: Desk) -> None:
    team = await desk.create(key_type="team", team_id="a")
    await desk.create(key_type="user", team_id="a")
    first = await desk.keys.revoke(desk.actor, team["id"], desk.now, cascade=False)
    before = await desk.dump()
    again = await desk.keys.revoke(desk.actor, team["id"], desk.now + SECOND, cascade=False)
    assert again == first
    assert await desk.dump() == before


async def test_a_revoked_key_can_take_its_children_along_later(desk: Desk) -> None:
    team = await desk.create(key_type="team", team_id="a")
    user = await desk.create(key_type="user", team_id="a")
    for cascade, live in ((False, 1), (True, 0)):
        revoked = await desk.keys.revoke(desk.actor, team["id"], desk.now, cascade=cascade)
        assert revoked["live_children"] == live
    assert await status(desk, user["id"]) == "revoked"


async def test_revoking_is_an_entry_of_the_audit_log(desk: Desk) -> None:
    made = await desk.create()
    await desk.keys.revoke(desk.actor, made["id"], desk.now, cascade=False)
    (entry,) = [
        row for row in (await rows(desk.database)).values() if row["action"] == "keys.revoke"
    ]
    assert entry["key_id"] == desk.root.key_id
    assert made["id"] in entry["metadata"]
    assert "revoked" in entry["metadata"]


async def test_every_key_that_cascade_revokes_is_an_entry_of_the_audit_log(desk: Desk) -> None:
    team = await desk.create(key_type="team", team_id="a")
    user = await desk.create(key_type="user", team_id="a", user_id="u")
    gone = await desk.create(parent_key_id=user["id"])
    below = await desk.create(parent_key_id=gone["id"])
    await desk.keys.revoke(desk.actor, gone["id"], desk.now, cascade=False)
    await desk.keys.revoke(desk.actor, team["id"], desk.now + SECOND, cascade=True)
    entries = [
        row
        for row in (await rows(desk.database)).values()
        if row["action"] == "keys.revoke" and row["at"] == desk.now + SECOND
    ]
    facts = [msgspec.json.decode(entry["metadata"]) for entry in entries]
    assert {each["target_key_id"] for each in facts} == {team["id"], user["id"], below["id"]}
    assert len(facts) == 3
    assert {each["target_status"] for each in facts} == {"revoked"}
    assert {(each["key_id"], each["key_name"]) for each in entries} == {(desk.root.key_id, "root")}


async def test_cascade_has_no_bound_on_the_keys_below(desk: Desk) -> None:
    numbers = sa.select(sa.literal(1).label("number")).cte("numbers", recursive=True)
    following = sa.select(numbers.c.number + 1).where(numbers.c.number < 33_000)
    numbers = numbers.union_all(following)
    copied: dict[str, sa.ColumnElement[Any]] = {column.name: column for column in api_keys.c}
    copied["id"] = sa.literal("key_") + sa.cast(numbers.c.number, sa.Text)
    copied["parent_key_id"] = api_keys.c.id
    each = api_keys.join(numbers, sa.true())
    many = sa.select(*copied.values()).select_from(each).where(api_keys.c.id == desk.root.key_id)
    async with desk.database.writing() as connection:
        await connection.execute(sa.insert(api_keys).from_select([*copied], many))
    revoked = await desk.keys.revoke(desk.actor, desk.root.key_id, desk.now, cascade=True)
    assert revoked["live_children"] == 0
    async with desk.database.reading() as connection:
        left = sa.select(sa.func.count()).where(api_keys.c.revoked_at.is_(None))
        assert await connection.scalar(left) == 0
