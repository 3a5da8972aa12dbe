"""New secrets of a key, and how long the old ones live."""

from typing import Any

import pytest

from pdp.compile import Compiler
from pdp.control.keys import Once
from pdp.control.resolve import resolve
from pdp.counters.memory import MemoryCounters
from pdp.errors import Conflict, Forbidden, InvalidDocument
from pdp.ids import IdSource
from pdp.quota.hold import Admitted, Hold, Reserve
from pdp.secret import hash_secret
from pdp.store.changes import current, since
from pdp.store.key_changes import live_secrets
from tests.unit.control.callers import actor_of, decided, made_by, manager
from tests.unit.control.desk import PEPPER, SECOND, Desk

DAY = 86_400


async def rotated(desk: Desk, key_id: str, **body: Any) -> str:
    """Rotate a second later; return the new secret."""
    desk.now += SECOND
    found: str = (await desk.keys.rotate(desk.actor, key_id, body, desk.now))["api_key"]
    return found


async def test_a_rotated_key_is_the_same_with_another_secret(desk: Desk) -> None:
    made = await desk.create(permissions={"models": ["gpt-4o"]})
    below = await desk.create(parent_key_id=made["id"])
    desk.now += SECOND
    after = await desk.keys.rotate(desk.actor, made["id"], {}, desk.now)
    changed = {name for name in made if after[name] != made[name]}
    assert changed == {"api_key", "prefix", "last_four", "rotated_at", "version"}
    assert after["api_key"].startswith(after["prefix"])
    assert after["api_key"].endswith(after["last_four"])
    shown = await desk.keys.get(desk.actor, made["id"], desk.now)
    assert {**shown, "api_key": after["api_key"]} == after
    assert [await decided(desk, each["api_key"]) for each in (made, after, below)] == [
        "key_revoked",
        "ok",
        "ok",
    ]


async def test_the_new_secret_goes_on_in_the_old_ones_budget(desk: Desk) -> None:
    made = await desk.create(budget_limits={"daily": 1.0})
    new = await rotated(desk, made["id"], grace_period=60)
    counters, ids = MemoryCounters(), IdSource("boot")
    verdicts = []
    for secret in (made["api_key"], new, made["api_key"], new):
        _, resolved = await resolve(desk.database, hash_secret(secret, PEPPER), "")
        assert resolved is not None
        key, made_up = Compiler().compile(resolved), ids()
        hold = Hold(
            f"res_{made_up}", f"dec_{made_up}", key.record.id, made_up, 0, "chat:completions",
            "gpt-4o", "openai", 400_000_000, 0, 10, 0, key.windows.at(desk.now), desk.now,
            desk.now + 60 * SECOND,
        )  # fmt: skip
        verdicts.append(counters.reserve(Reserve(hold, key.plan, (), desk.now)))
    assert [isinstance(each, Admitted) for each in verdicts] == [True, True, False, False]


async def test_the_old_secret_dies_on_the_instant(desk: Desk) -> None:
    made = await desk.create()
    new = await rotated(desk, made["id"], grace_period=60)
    for later, old in ((0, "ok"), (60 * SECOND - 1, "ok"), (1, "key_revoked")):
        desk.now += later
        assert [await decided(desk, each) for each in (made["api_key"], new)] == [old, "ok"]


async def test_grace_does_not_outlive_the_key(desk: Desk) -> None:
    made = await desk.create(expires_at="2026-11-23T12:01:00Z")
    new = await rotated(desk, made["id"], grace_period=30 * DAY)
    desk.now += 58 * SECOND - 1
    assert [await decided(desk, each) for each in (made["api_key"], new)] == ["ok", "ok"]
    desk.now += 1
    assert [await decided(desk, each) for each in (made["api_key"], new)] == ["key_expired"] * 2


async def test_a_second_rotation_never_lengthens_the_first_ones_grace(desk: Desk) -> None:
    made = await desk.create()
    second = await rotated(desk, made["id"], grace_period=10)
    third = await rotated(desk, made["id"], grace_period=DAY)
    desk.now += 9 * SECOND
    found = [await decided(desk, each) for each in (made["api_key"], second, third)]
    assert found == ["key_revoked", "ok", "ok"]
    fourth = await rotated(desk, made["id"])
    found = [await decided(desk, each) for each in (second, third, fourth)]
    assert found == ["key_revoked", "key_revoked", "ok"]


async def test_a_clock_that_went_back_makes_no_old_secret_the_newest(desk: Desk) -> None:
    made = await desk.create()
    desk.now -= 60 * SECOND
    for _ in range(6):
        new = await desk.keys.rotate(desk.actor, made["id"], {"grace_period": DAY}, desk.now)
        shown = await desk.keys.get(desk.actor, made["id"], desk.now)
        assert shown["last_four"] == new["last_four"] == new["api_key"][-4:]
        assert await decided(desk, new["api_key"]) == "ok"


async def test_at_most_five_secrets_live_at_once(desk: Desk) -> None:
    made = await desk.create()
    secrets = [made["api_key"]]
    for _ in range(7):
        secrets.append(await rotated(desk, made["id"], grace_period=DAY))
        living = [secret for secret in secrets if await decided(desk, secret) == "ok"]
        assert living == secrets[-5:]
    async with desk.database.reading() as connection:
        assert len(await live_secrets(connection, made["id"], desk.now)) == 5


@pytest.mark.parametrize("grace", [-1, 30 * DAY + 1, 1.5, "60", True, None, [], 10**30])
async def test_a_grace_that_is_none_changes_nothing(desk: Desk, grace: Any) -> None:
    made = await desk.create()
    before = await desk.dump()
    with pytest.raises(InvalidDocument, match="grace_period: not a whole number of seconds"):
        await desk.keys.rotate(desk.actor, made["id"], {"grace_period": grace}, desk.now)
    assert await desk.dump() == before


@pytest.mark.parametrize(("body", "location"), [([], "body"), (None, "body"), ({"x": 1}, "x")])
async def test_a_body_that_is_none_is_refused(desk: Desk, body: Any, location: str) -> None:
    made = await desk.create()
    with pytest.raises(InvalidDocument) as caught:
        await desk.keys.rotate(desk.actor, made["id"], body, desk.now)
    assert [problem.location for problem in caught.value.problems] == [location]


async def test_only_what_is_over_cannot_be_rotated(desk: Desk) -> None:
    revoked = await desk.create()
    expired = await desk.create(expires_at="2026-11-23T12:00:02Z")
    await desk.keys.revoke(desk.actor, revoked["id"], desk.now, cascade=False)
    for made, word in ((revoked, "revoked"), (expired, "expired")):
        with pytest.raises(Conflict, match=f"is {word}: it needs no new secret"):
            await desk.keys.rotate(desk.actor, made["id"], {}, desk.now)


async def test_a_compromised_key_gets_a_new_secret_before_it_is_resumed(desk: Desk) -> None:
    made = await desk.create()
    await desk.keys.report_compromised(desk.actor, made["id"], {}, desk.now)
    new = await rotated(desk, made["id"])
    assert await decided(desk, new) == "key_suspended"
    await desk.keys.resume(desk.actor, made["id"], desk.now)
    assert [await decided(desk, each) for each in (made["api_key"], new)] == ["key_revoked", "ok"]


async def test_a_key_rotates_itself_but_not_by_a_secret_on_its_way_out(desk: Desk) -> None:
    made = await desk.create()
    actor = await actor_of(desk, made)
    new = await desk.keys.rotate(actor, made["id"], {"grace_period": 600}, desk.now)
    with pytest.raises(Forbidden, match="is being rotated out: use the new one"):
        await desk.keys.rotate(await actor_of(desk, made), made["id"], {}, desk.now)
    desk.now += SECOND
    newest = await desk.keys.rotate(await actor_of(desk, new), made["id"], {}, desk.now)
    assert await decided(desk, newest["api_key"]) == "ok"


async def test_a_secret_is_given_to_the_key_itself_and_to_its_granters(desk: Desk) -> None:
    maker, peer = await manager(desk), await manager(desk)
    made = await made_by(desk, maker)
    with pytest.raises(Forbidden, match="was granted by another key"):
        await desk.keys.rotate(peer, made["id"], {}, desk.now)
    for who in ("operator", "maker", "itself"):
        desk.now += SECOND
        actor = {"operator": desk.actor, "maker": maker}.get(who) or await actor_of(desk, made)
        made = await desk.keys.rotate(actor, made["id"], {}, desk.now)
    assert await decided(desk, made["api_key"]) == "ok"


async def test_a_rotation_that_is_asked_for_again_is_done_once(desk: Desk) -> None:
    made = await desk.create()
    actor, once = await actor_of(desk, made), Once("retry-1", b"f" * 32)
    first = await desk.keys.rotate(actor, made["id"], {"grace_period": 9}, desk.now, once)
    before = await desk.dump()
    again = await desk.keys.rotate(actor, made["id"], {"grace_period": 9}, desk.now, once)
    assert again == {
        **{name: value for name, value in first.items() if name != "api_key"},
        "idempotent_replayed": True,
    }
    assert await desk.dump() == before


async def test_watchers_hear_of_the_key_and_of_the_new_secret(desk: Desk) -> None:
    made = await desk.create()
    async with desk.database.reading() as connection:
        number = await current(connection)
    await rotated(desk, made["id"])
    async with desk.database.reading() as connection:
        heard = await since(connection, number)
    assert heard.key_ids == (made["id"],)
    assert len(heard.secret_hashes) == 1


async def test_rotation_by_hand_leaves_the_children_unharmed(desk: Desk) -> None:
    body = {"key_type": "team", "team_id": "a", "permissions": {"models": ["gpt-4o"]}}
    old = await desk.create(**body)
    child = await desk.create(key_type="user", team_id="a", user_id="u")
    new = await desk.create(**body)
    gone = await desk.keys.revoke(desk.actor, old["id"], desk.now, cascade=False)
    assert (gone["status"], gone["live_children"]) == ("revoked", 1)
    found = [await decided(desk, each["api_key"]) for each in (old, new, child)]
    assert found == ["key_revoked", "ok", "ok"]
    later = await desk.create(key_type="user", team_id="a", user_id="v")
    assert later["parent_key_id"] == new["id"]


async def test_the_age_of_the_newest_secret_is_shown(desk: Desk) -> None:
    made = await desk.create()
    desk.now += 91 * DAY * SECOND
    shown = await desk.keys.get(desk.actor, made["id"], desk.now)
    assert shown["rotation_age_days"] == 91
    assert (await desk.keys.rotate(desk.actor, made["id"], {}, desk.now))["rotation_age_days"] == 0
