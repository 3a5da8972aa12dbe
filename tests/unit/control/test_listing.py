"""Lists of keys: filters, and cursors that inserts and revokes do not move."""

from typing import Any

import pytest

from pdp.control.keys import KeyFilter
from pdp.errors import InvalidDocument
from tests.unit.control.callers import RIGHTS, actor_of, made_by
from tests.unit.control.desk import SECOND, Desk

DAY = 86_400


async def listed(desk: Desk, **wanted: Any) -> list[str]:
    """Return the names of the keys that a filter leaves, but for the root's."""
    found = await desk.keys.list(desk.actor, desk.now, KeyFilter(**wanted))
    return [key["name"] for key in found["keys"] if key["id"] != desk.root.key_id]


async def test_filters_leave_what_they_say(desk: Desk) -> None:
    await desk.create(name="team", key_type="team", team_id="a")
    await desk.create(name="user", key_type="user", team_id="a", user_id="u")
    await desk.create(name="other", key_type="user", team_id="b", user_id="u")
    await desk.create(name="app")
    assert await listed(desk) == ["team", "user", "other", "app"]
    assert await listed(desk, key_type="user") == ["user", "other"]
    assert await listed(desk, team_id="a") == ["team", "user"]
    assert await listed(desk, user_id="u", team_id="b") == ["other"]
    assert await listed(desk, key_type="organization") == []


async def test_a_status_is_the_one_that_is_shown(desk: Desk) -> None:
    end = "2026-11-23T12:01:00Z"
    ids = {
        name: (await desk.create(name=name, expires_at=end if "ends" in name else None))["id"]
        for name in ("plain", "ends", "suspended", "suspended ends", "revoked", "revoked ends")
    }
    for name, key_id in ids.items():
        if name.startswith("suspended"):
            await desk.keys.suspend(desk.actor, key_id, desk.now)
        if name.startswith("revoked"):
            await desk.keys.revoke(desk.actor, key_id, desk.now, cascade=False)

    async def by_status() -> dict[str, list[str]]:
        names = ("active", "expired", "revoked", "suspended")
        return {status: await listed(desk, status=status) for status in names}

    later = {"revoked": ["revoked", "revoked ends"], "suspended": ["suspended", "suspended ends"]}
    assert await by_status() == {"active": ["plain", "ends"], "expired": [], **later}
    desk.now += 60 * SECOND
    assert await by_status() == {"active": ["plain"], "expired": ["ends"], **later}


async def test_those_are_due_whose_newest_secret_is_that_old(desk: Desk) -> None:
    first = await desk.create(name="rotated")
    await desk.create(name="old")
    desk.now += 90 * DAY * SECOND
    await desk.keys.create(desk.actor, {"name": "new"}, desk.now)
    assert await listed(desk, older_than=90 * DAY) == ["rotated"]
    desk.now += SECOND
    assert await listed(desk, older_than=90 * DAY) == ["rotated", "old"]
    await desk.keys.rotate(desk.actor, first["id"], {}, desk.now)
    assert await listed(desk, older_than=90 * DAY) == ["old"]
    assert await listed(desk, older_than=0) == ["old", "new"]


@pytest.mark.parametrize(
    ("wanted", "location"),
    [
        ({"status": "dead"}, "status"),
        ({"key_type": "x"}, "key_type"),
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"older_than": -1}, "older_than"),
        ({"older_than": 10**30}, "older_than"),
        ({"team_id": "a\0"}, "team_id"),
        ({"user_id": "\ud800"}, "user_id"),
    ],
)
async def test_a_filter_that_is_none_is_told(
    desk: Desk, wanted: dict[str, Any], location: str
) -> None:
    with pytest.raises(InvalidDocument) as caught:
        await listed(desk, **wanted)
    assert [problem.location for problem in caught.value.problems] == [location]


async def test_sql_in_a_filter_is_text(desk: Desk) -> None:
    await desk.create(team_id="a", key_type="team")
    for text in ("' OR 1=1 --", "%", "a' --", '"'):
        assert await listed(desk, team_id=text) == await listed(desk, user_id=text) == []


@pytest.mark.parametrize(
    "cursor", ["x", "...", "é", "MTIz", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OngK", "MTprAA"]
)
async def test_a_cursor_that_is_none_is_told(desk: Desk, cursor: str) -> None:
    with pytest.raises(InvalidDocument, match=r"^cursor: not one of ours"):
        await desk.keys.list(desk.actor, desk.now, cursor=cursor)


async def test_every_key_comes_once_while_others_are_made_and_revoked(desk: Desk) -> None:
    made = [(await desk.create(name=str(number)))["id"] for number in range(9)]
    found: list[str] = []
    cursor = None
    while True:
        page = await desk.keys.list(desk.actor, desk.now, KeyFilter(limit=2), cursor)
        found += [key["id"] for key in page["keys"]]
        if (cursor := page["next_cursor"]) is None:
            break
        if len(made) < 14:
            made.append((await desk.create(name="late"))["id"])
        for gone in (made[0], found[-1], made[-2]):
            if gone != desk.root.key_id:
                await desk.keys.revoke(desk.actor, gone, desk.now, cascade=False)
    assert found == [desk.root.key_id, *made]


async def test_a_status_goes_on_where_the_last_page_ended_though_its_keys_have_left(
    desk: Desk,
) -> None:
    made = [(await desk.create(name=str(number)))["id"] for number in range(5)]
    wanted = KeyFilter(status="active", limit=3)
    page = await desk.keys.list(desk.actor, desk.now, wanted)
    for key_id in made[:3]:
        await desk.keys.revoke(desk.actor, key_id, desk.now, cascade=False)
    rest = await desk.keys.list(desk.actor, desk.now, wanted, page["next_cursor"])
    assert [key["id"] for key in page["keys"]] == [desk.root.key_id, *made[:2]]
    assert [key["id"] for key in rest["keys"]] == made[3:]


async def test_keys_of_one_moment_come_once(desk: Desk) -> None:
    for _ in range(5):
        await desk.keys.create(desk.actor, {}, desk.now)
    found, cursor = [], None
    while True:
        page = await desk.keys.list(desk.actor, desk.now, KeyFilter(limit=1), cursor)
        found += [key["id"] for key in page["keys"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert len(found) == len(set(found)) == 6


async def test_a_team_lists_its_keys_each_once_wherever_they_stand(desk: Desk) -> None:
    team = await desk.create(name="team", key_type="team", team_id="a", permissions=RIGHTS)
    actor = await actor_of(desk, team)
    await made_by(desk, actor, name="below")
    await made_by(desk, desk.actor, name="beside", parent_key_id=desk.root.key_id, team_id="a")
    await made_by(desk, desk.actor, name="other")
    found, cursor = [], None
    while True:
        page = await desk.keys.list(actor, desk.now, KeyFilter(limit=1), cursor)
        found += [key["name"] for key in page["keys"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert found == ["team", "below", "beside"]
