"""When a key was used last comes with the ledger's batches, and is no change of the key."""

from datetime import datetime

from msgspec.structs import replace

from pdp.store.changes import current
from pdp.wording import instant
from tests.unit.control.desk import NOON, SECOND, Desk, denied, expired, held, settled, unchecked


async def last_used(desk: Desk, key_id: str) -> str | None:
    found: str | None = (await desk.keys.get(desk.actor, key_id, desk.now))["last_used_at"]
    return found


async def test_the_newest_use_of_a_batch_is_shown_and_an_older_one_later_is_no_news(
    desk: Desk,
) -> None:
    one, two = (await desk.create())["id"], (await desk.create())["id"]
    assert await last_used(desk, one) is None
    first = [held(f"a{at}", chain=(one, two), at=NOON + at * SECOND) for at in (5, 9, 7)]
    following = await desk.take(*first)
    assert await last_used(desk, one) == instant(NOON + 9 * SECOND)
    assert await last_used(desk, two) is None
    older = held("b", chain=(one,), at=NOON + 8 * SECOND)
    newer = held("c", chain=(two,), at=NOON + 10 * SECOND)
    await desk.take(older, newer, first=following)
    assert await last_used(desk, one) == instant(NOON + 9 * SECOND)
    assert await last_used(desk, two) == instant(NOON + 10 * SECOND)


async def test_what_was_denied_is_no_use_and_what_was_only_reported_is_one(desk: Desk) -> None:
    one, two = (await desk.create())["id"], (await desk.create())["id"]
    report = unchecked("b")
    report = replace(report, facts=replace(report.facts, key_id=two))
    await desk.take(denied("a", key_id=one), report)
    assert await last_used(desk, one) is None
    assert await last_used(desk, two) is not None


async def test_the_end_of_a_hold_is_no_use_of_its_own(desk: Desk) -> None:
    key_id = (await desk.create())["id"]
    holds = [held(name, chain=(key_id,), at=NOON + SECOND) for name in "ab"]
    await desk.take(*holds, settled(holds[0]), expired(holds[1]))
    assert await last_used(desk, key_id) == instant(NOON + SECOND)


async def test_a_use_is_no_change(desk: Desk) -> None:
    made = await desk.create()
    async with desk.database.reading() as connection:
        number = await current(connection)
    await desk.take(held("a", chain=(made["id"],)))
    async with desk.database.reading() as connection:
        assert await current(connection) == number
    shown = await desk.keys.get(desk.actor, made["id"], desk.now)
    assert shown["version"] == made["version"]
    assert datetime.fromisoformat(shown["last_used_at"]).timestamp() * SECOND == NOON


async def test_a_change_leaves_the_last_use_alone(desk: Desk) -> None:
    key_id = (await desk.create())["id"]
    await desk.take(held("a", chain=(key_id,)))
    for call in (
        desk.keys.update(desk.actor, key_id, {"name": "x"}, desk.now),
        desk.keys.rotate(desk.actor, key_id, {}, desk.now),
        desk.keys.revoke(desk.actor, key_id, desk.now, cascade=False),
    ):
        await call
        assert await last_used(desk, key_id) == instant(NOON)
