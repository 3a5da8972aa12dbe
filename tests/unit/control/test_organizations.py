"""An organization's own settings."""

import asyncio
from typing import Any

import pytest

from pdp.control.audit import audit_log
from pdp.control.initialize import initialize
from pdp.control.organizations import get_settings, tag_of, update_settings
from pdp.control.resolve import resolve
from pdp.errors import Forbidden, InvalidDocument, PreconditionFailed
from pdp.model import Moved
from pdp.store.audit import AuditFilter
from pdp.store.changes import current, since
from pdp.store.sight import Sight
from tests.unit.control.callers import actor_of, manager
from tests.unit.control.desk import DAY, MONTH, PEPPER, SECOND, Desk, operator_of, rows

SHOWN = {"id": "org", "name": "Org", "timezone": "UTC", "created_at": "2026-11-23T12:00:00Z"}


async def test_every_key_may_read_the_settings_of_its_organization(desk: Desk) -> None:
    actor = await actor_of(desk, await desk.create())
    assert await get_settings(desk.database, actor) == SHOWN


async def test_a_change_touches_what_it_says_and_no_other_organization(desk: Desk) -> None:
    other = operator_of(await initialize(desk.database, PEPPER, desk.now, "org2", "Two", "UTC"))
    actor = await manager(desk)
    after = await update_settings(desk.database, actor, {"timezone": "Asia/Tokyo"}, desk.now)
    assert after == {**SHOWN, "timezone": "Asia/Tokyo"}
    assert await get_settings(desk.database, actor) == after
    after = await update_settings(desk.database, actor, {"name": None}, desk.now)
    assert after == {**SHOWN, "timezone": "Asia/Tokyo", "name": ""}
    theirs = await get_settings(desk.database, other)
    assert (theirs["name"], theirs["timezone"]) == ("Two", "UTC")


async def test_a_new_timezone_has_every_key_read_again(desk: Desk) -> None:
    key_id = (await desk.create(key_type="team", team_id="a"))["id"]
    async with desk.database.reading() as connection:
        number = await current(connection)
    await update_settings(desk.database, desk.actor, {"timezone": "Asia/Tokyo"}, desk.now)
    async with desk.database.reading() as connection:
        heard = await since(connection, number)
    _, resolved = await resolve(desk.database, None, key_id)
    assert resolved is not None
    assert heard.revision == number + 1
    assert set(heard.key_ids) <= set(resolved.parents)
    assert heard.key_ids
    assert resolved.timezone == "Asia/Tokyo"


async def test_the_windows_that_are_open_go_on_in_a_new_timezone(desk: Desk) -> None:
    key_id = (await desk.create())["id"]
    at = desk.now  # Noon.
    for timezone in ("America/New_York", "Europe/Berlin"):
        await update_settings(desk.database, desk.actor, {"timezone": timezone}, at)
        _, resolved = await resolve(desk.database, None, key_id)
        assert resolved is not None
        assert resolved.moved == Moved(at // SECOND, DAY, MONTH)
        at += 3600 * SECOND
    await update_settings(desk.database, desk.actor, {"name": "Two"}, at + 1)
    _, resolved = await resolve(desk.database, None, key_id)
    assert resolved is not None
    assert resolved.moved == Moved(at // SECOND - 3600, DAY, MONTH)


async def test_what_changes_nothing_is_no_change(desk: Desk) -> None:
    before = await desk.dump()
    same = dict(SHOWN)
    assert await update_settings(desk.database, desk.actor, same, desk.now) == SHOWN
    assert await update_settings(desk.database, desk.actor, {}, desk.now) == SHOWN
    assert await desk.dump() == before


@pytest.mark.parametrize(
    ("patch", "locations"),
    [
        (None, ["body"]),
        ([], ["body"]),
        ({"timezone": "Mars/Base"}, ["timezone"]),
        ({"timezone": "right/UTC"}, ["timezone"]),  # Debian has it, and leap seconds in it.
        ({"timezone": 3, "name": [], "id": "x", "nmae": 1}, ["id", "name", "nmae", "timezone"]),
        ({"name": "x" * 10_000}, ["name"]),
        ({"name": "a\nb"}, ["name"]),
        ({"timezone": "../../etc/passwd"}, ["timezone"]),
        ({"timezone": ""}, ["timezone"]),
        ({"timezone": None}, ["timezone"]),
        ({"created_at": "2026-01-01T00:00:00Z"}, ["created_at"]),
    ],
)
async def test_faults_come_all_at_once(desk: Desk, patch: Any, locations: list[str]) -> None:
    before = await desk.dump()
    with pytest.raises(InvalidDocument) as caught:
        await update_settings(desk.database, desk.actor, patch, desk.now)
    assert sorted(each.location for each in caught.value.problems) == locations
    assert await desk.dump() == before


async def test_only_an_organization_level_key_with_the_right_changes_them(desk: Desk) -> None:
    lacking = await manager(desk, permissions={"manage_billing": False})
    team = await manager(desk, key_type="team", team_id="a")
    for actor, words in ((lacking, "lacks `manage_billing`"), (team, "use a key of its level")):
        with pytest.raises(Forbidden, match=words):
            await update_settings(desk.database, actor, {"name": "x"}, desk.now)


async def test_a_change_is_in_the_log(desk: Desk) -> None:
    actor = await manager(desk)
    await update_settings(desk.database, actor, {"name": "New"}, desk.now)
    found = (await rows(desk.database)).values()
    (entry,) = [row for row in found if row["action"] == "organizations.update"]
    assert (entry["key_id"], entry["organization_id"]) == (actor.key_id, "org")


async def test_the_log_tells_what_changed_before_and_after(desk: Desk) -> None:
    patch = {"name": "New", "timezone": "Asia/Tokyo"}
    await update_settings(desk.database, desk.actor, patch, desk.now)
    await update_settings(desk.database, desk.actor, {"name": None}, desk.now + 1)
    sight, wanted = Sight("org"), AuditFilter(action="organizations.update")
    entries = (await audit_log(desk.database, sight, wanted))["logs"]
    told = [(each["metadata"]["before"], each["metadata"]["after"]) for each in entries]
    assert told == [
        ({"name": "New"}, {"name": ""}),
        ({"name": "Org", "timezone": "UTC"}, patch),
    ]


async def test_of_those_who_saw_the_same_settings_one_changes_them(desk: Desk) -> None:
    seen = tag_of(await get_settings(desk.database, desk.actor))
    calls = [
        update_settings(desk.database, desk.actor, {"name": f"N{number}"}, desk.now, seen)
        for number in range(4)
    ]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    (done,) = [each for each in answers if isinstance(each, dict)]
    assert sum(isinstance(each, PreconditionFailed) for each in answers) == 3
    assert await get_settings(desk.database, desk.actor) == done
    again = {"name": "Org"}
    assert await update_settings(desk.database, desk.actor, again, desk.now, tag_of(done)) == SHOWN
