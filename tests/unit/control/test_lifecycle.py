"""Suspended, resumed, reported as compromised; temporary keys."""

from typing import Any

import pytest

from pdp.errors import Conflict, Forbidden, InvalidDocument
from pdp.store.changes import current, since
from tests.unit.control.callers import RIGHTS, actor_of, decided, manager
from tests.unit.control.desk import SECOND, Desk, rows, status

DAY = 86_400


async def test_a_suspended_key_stops_at_once_and_goes_on_when_it_is_resumed(desk: Desk) -> None:
    made = await desk.create()
    below = await desk.create(parent_key_id=made["id"])
    suspended = await desk.keys.suspend(desk.actor, made["id"], desk.now)
    assert suspended["status"] == "suspended"
    found = [await decided(desk, each["api_key"]) for each in (made, below)]
    assert found == ["key_suspended", "ok"]
    resumed = await desk.keys.resume(desk.actor, made["id"], desk.now)
    assert resumed["status"] == "active"
    assert resumed["version"] > suspended["version"] > made["version"]
    assert await decided(desk, made["api_key"]) == "ok"


async def test_watchers_hear_of_every_step(desk: Desk) -> None:
    made = await desk.create()
    keys = desk.keys
    for step in (
        keys.suspend(desk.actor, made["id"], desk.now),
        keys.resume(desk.actor, made["id"], desk.now),
        keys.report_compromised(desk.actor, made["id"], {}, desk.now),
        keys.update(desk.actor, made["id"], {"name": "x"}, desk.now),
        keys.revoke(desk.actor, made["id"], desk.now, cascade=False),
    ):
        async with desk.database.reading() as connection:
            number = await current(connection)
        await step
        async with desk.database.reading() as connection:
            heard = await since(connection, number)
        assert (heard.revision, heard.key_ids) == (number + 1, (made["id"],))


async def test_the_same_again_changes_nothing(desk: Desk) -> None:
    made = await desk.create()
    for call, state in ((desk.keys.resume, "active"), (desk.keys.suspend, "suspended")):
        await call(desk.actor, made["id"], desk.now)
        before = await desk.dump()
        assert (await call(desk.actor, made["id"], desk.now))["status"] == state
        assert await desk.dump() == before


async def test_a_revoked_key_is_neither_suspended_nor_resumed(desk: Desk) -> None:
    made = await desk.create()
    await desk.keys.revoke(desk.actor, made["id"], desk.now, cascade=False)
    before = await desk.dump()
    for call in (
        desk.keys.suspend(desk.actor, made["id"], desk.now),
        desk.keys.resume(desk.actor, made["id"], desk.now),
        desk.keys.report_compromised(desk.actor, made["id"], {}, desk.now),
    ):
        with pytest.raises(Conflict, match="is revoked, for good: make a new one"):
            await call
    assert await desk.dump() == before


async def test_a_report_suspends_and_keeps_the_reason(desk: Desk) -> None:
    made = await desk.create()
    found = await desk.keys.report_compromised(
        desk.actor, made["id"], {"reason": "on a public page"}, desk.now
    )
    assert found["status"] == "suspended"
    assert await decided(desk, made["api_key"]) == "key_suspended"
    (entry,) = [
        row
        for row in (await rows(desk.database)).values()
        if row["action"] == "keys.report_compromised"
    ]
    assert "on a public page" in entry["metadata"]


async def test_a_report_of_a_suspended_key_is_kept_for_whoever_resumes_it(desk: Desk) -> None:
    made = await desk.create()
    await desk.keys.suspend(desk.actor, made["id"], desk.now)
    before = await desk.keys.get(desk.actor, made["id"], desk.now)
    told = [{"reason": "on a public page"}, {"reason": "vsk_prod_0aB1, in a log"}, {}]
    for body in told:
        await desk.keys.report_compromised(desk.actor, made["id"], body, desk.now)
    found = [str(row["metadata"]) for row in (await rows(desk.database)).values()]
    assert [sum(body["reason"] in each for each in found) for body in told[:2]] == [1, 1]
    assert sum("suspended" in each for each in found) == 3
    assert await desk.keys.get(desk.actor, made["id"], desk.now) == before


async def test_a_report_with_the_key_in_it_is_not_written_down(desk: Desk) -> None:
    made = await desk.create()
    body = {"reason": f"seen: {made['api_key']}."}
    with pytest.raises(InvalidDocument, match="reason: has an API key in it"):
        await desk.keys.report_compromised(desk.actor, made["id"], body, desk.now)


@pytest.mark.parametrize(
    ("body", "location"),
    [
        ([], "body"),
        (None, "body"),
        ({"reason": 1}, "reason"),
        ({"reason": "a\nb"}, "reason"),
        ({"reason": "x" * 501}, "reason"),
        ({"why": "x"}, "why"),
    ],
)
async def test_a_report_that_is_none_suspends_nothing(desk: Desk, body: Any, location: str) -> None:
    made = await desk.create()
    with pytest.raises(InvalidDocument) as caught:
        await desk.keys.report_compromised(desk.actor, made["id"], body, desk.now)
    assert [problem.location for problem in caught.value.problems] == [location]
    assert await status(desk, made["id"]) == "active"


# -- Temporary keys


async def test_the_temporary_key_of_the_seed(desk: Desk) -> None:
    actor = await manager(desk)
    made = await desk.keys.create_temporary(
        actor,
        {
            "expires_in": 3600,
            "permissions": {"models": ["gpt-4o"], "max_requests": 100},
            "metadata": {"purpose": "demo_session", "user_id": "demo_user_123"},
        },
        desk.now,
    )
    assert (made["temporary"], made["expires_in"]) == (True, 3600)
    assert (made["parent_key_id"], made["granted_by"]) == (actor.key_id, actor.key_id)
    assert {"name": "permissions.max_requests", "limit": 100}.items() <= made["effective_limits"][
        0
    ].items()
    assert await decided(desk, made["api_key"]) == "ok"
    assert await decided(desk, made["api_key"], "o3") == "model_not_allowed"
    desk.now += 3600 * SECOND
    assert await decided(desk, made["api_key"]) == "key_expired"


@pytest.mark.parametrize("expires_in", [0, -1, 30 * DAY + 1, 1.5, "60", True, None])
async def test_a_temporary_key_says_for_how_long(desk: Desk, expires_in: Any) -> None:
    before = await desk.dump()
    with pytest.raises(InvalidDocument, match=r"^expires_in: not a whole number of seconds"):
        await desk.keys.create_temporary(desk.actor, {"expires_in": expires_in}, desk.now)
    assert await desk.dump() == before


@pytest.mark.parametrize(
    ("body", "locations"),
    [
        ([], ["body"]),
        (None, ["body"]),
        ({"expires_at": "2030-01-01T00:00:00Z"}, ["expires_at", "expires_in"]),
        ({"expires_in": 1, "parent_key_id": "key_x"}, ["parent_key_id"]),
        ({"expires_in": 1, "nmae": "x", "max_requests": -1}, ["nmae", "max_requests"]),
    ],
)
async def test_faults_of_a_temporary_key_come_all_at_once(
    desk: Desk, body: Any, locations: list[str]
) -> None:
    with pytest.raises(InvalidDocument) as caught:
        await desk.keys.create_temporary(desk.actor, body, desk.now)
    assert [problem.location for problem in caught.value.problems] == locations


async def test_temporary_keys_die_with_their_maker(desk: Desk) -> None:
    actor = await manager(desk)
    body = {"expires_in": 3600, "permissions": RIGHTS}
    first = await desk.keys.create_temporary(actor, body, desk.now)
    second = await desk.keys.create_temporary(await actor_of(desk, first), body, desk.now)
    plain = await desk.keys.create(actor, {"parent_key_id": actor.key_id}, desk.now)
    gone = await desk.keys.revoke(desk.actor, actor.key_id, desk.now, cascade=False)
    assert gone["live_children"] == 1
    found = [await decided(desk, each["api_key"]) for each in (first, second, plain)]
    assert found == ["key_revoked", "key_revoked", "ok"]


async def test_a_temporary_key_does_not_outlive_who_made_it(desk: Desk) -> None:
    actor = await manager(desk)
    body = {"expires_in": 600, "permissions": RIGHTS}
    first = await desk.keys.create_temporary(actor, body, desk.now)
    desk.now += 500 * SECOND
    second = await desk.keys.create_temporary(await actor_of(desk, first), body, desk.now)
    assert (first["expires_in"], second["expires_in"]) == (600, 100)
    assert second["expires_at"] == first["expires_at"]
    desk.now += 100 * SECOND
    assert await decided(desk, second["api_key"]) == "key_expired"


@pytest.mark.parametrize(
    ("makers_end", "asked"),
    [
        (None, None),
        (None, "2026-12-23T12:00:02Z"),
        ("2026-12-18T12:00:00Z", None),
        ("2026-12-18T12:00:00Z", "2026-12-18T12:00:01Z"),
    ],
)
async def test_a_change_does_not_make_a_temporary_key_live_longer_than_it_may(
    desk: Desk, makers_end: str | None, asked: str | None
) -> None:
    actor = await manager(desk, expires_at=makers_end)
    made = await desk.keys.create_temporary(actor, {"expires_in": 600}, desk.now)
    before = await desk.dump()
    with pytest.raises(InvalidDocument, match=r"^expires_at: .*: use a time up to `20"):
        await desk.keys.update(actor, made["id"], {"expires_at": asked}, desk.now)
    assert await desk.dump() == before
    allowed = makers_end or "2026-12-23T12:00:01Z"
    after = await desk.keys.update(actor, made["id"], {"expires_at": allowed}, desk.now)
    assert after["expires_at"] == allowed


async def test_a_temporary_key_has_no_more_than_its_maker(desk: Desk) -> None:
    actor = await manager(desk, permissions={"models": ["gpt-4o"]})
    made = await desk.keys.create_temporary(
        actor, {"expires_in": 60, "permissions": {"models": ["*"]}}, desk.now
    )
    assert await decided(desk, made["api_key"]) == "ok"
    assert await decided(desk, made["api_key"], "o3") == "model_not_allowed"


async def test_without_the_right_nobody_makes_temporary_keys(desk: Desk) -> None:
    actor = await actor_of(desk, await desk.create())
    with pytest.raises(Forbidden, match="lacks `manage_keys`"):
        await desk.keys.create_temporary(actor, {"expires_in": 60}, desk.now)
