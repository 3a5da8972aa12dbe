"""Administrators at one key at once, each with a connection of their own."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest

from pdp.control.keys import Keys
from pdp.errors import Conflict, PdpError, PreconditionFailed
from pdp.store import keys as store
from pdp.store.changes import since
from pdp.store.database import Database
from tests.unit.control.callers import decided
from tests.unit.control.desk import PEPPER, SECOND, Desk

Answer = dict[str, Any] | PdpError


@pytest.fixture
async def others(desk: Desk) -> AsyncIterator[list[Keys]]:
    """Three more control planes on the desk's database."""
    databases = [Database(desk.url) for _ in range(3)]
    yield [Keys(database, PEPPER) for database in databases]
    for database in databases:
        await database.close()


async def at_once(*calls: Awaitable[dict[str, Any]]) -> list[Answer]:
    """Return the answers and refusals of calls that are made together."""

    async def refused_or_not(call: Awaitable[dict[str, Any]]) -> Answer:
        try:
            return await call
        except PdpError as error:
            return error

    return await asyncio.gather(*map(refused_or_not, calls))


def versions(answers: list[Answer]) -> list[int]:
    return [each["version"] for each in answers if isinstance(each, dict)]


async def test_no_change_of_another_field_is_lost(desk: Desk, others: list[Keys]) -> None:
    made = await desk.create(metadata={"all": "of them"})
    patches = [{"metadata": {f"n{number}": "x"}} for number in range(12)]
    answers = await at_once(
        *(
            others[number % 3].update(desk.actor, made["id"], patch, desk.now)
            for number, patch in enumerate(patches)
        )
    )
    shown = await desk.keys.get(desk.actor, made["id"], desk.now)
    assert len(shown["metadata"]) == 13
    assert len(set(versions(answers))) == 12
    assert shown["version"] == max(versions(answers))


async def test_of_those_who_saw_one_version_one_changes_it(desk: Desk, others: list[Keys]) -> None:
    made = await desk.create()
    answers = await at_once(
        *(
            keys.update(desk.actor, made["id"], {"name": str(n)}, desk.now, {made["version"]})
            for n, keys in enumerate(others * 2)
        )
    )
    done = [each for each in answers if isinstance(each, dict)]
    assert len(done) == 1
    assert sum(isinstance(each, PreconditionFailed) for each in answers) == 5
    assert (await desk.keys.get(desk.actor, made["id"], desk.now))["name"] == done[0]["name"]


async def test_a_key_that_changed_meanwhile_is_not_revoked_unseen(
    desk: Desk, others: list[Keys]
) -> None:
    """`If-Match` is held against the key within the revocation, not before it."""
    for _ in range(5):
        made = await desk.create()
        seen, key_id = made["version"], made["id"]
        answers = await at_once(
            others[0].update(desk.actor, key_id, {"name": "needed"}, desk.now),
            others[1].revoke(desk.actor, key_id, desk.now, cascade=False, if_match={seen}),
        )
        shown = await desk.keys.get(desk.actor, key_id, desk.now)
        if isinstance(answers[1], PreconditionFailed):
            assert (shown["name"], shown["status"]) == ("needed", "active")
        else:
            assert isinstance(answers[0], Conflict)
            assert (shown["name"], shown["status"]) == ("key", "revoked")
        last = shown["version"]
        await desk.keys.revoke(desk.actor, key_id, desk.now, cascade=False, if_match={last})


async def test_a_revoked_key_keeps_no_living_secret_whoever_rotates_it_meanwhile(
    desk: Desk, others: list[Keys]
) -> None:
    for turn in range(5):
        made = await desk.create()
        desk.now += SECOND
        now, key_id = desk.now, made["id"]
        one, two, three = others
        answers = await at_once(
            one.rotate(desk.actor, key_id, {"grace_period": 600}, now),
            two.update(desk.actor, key_id, {"name": "patched"}, now),
            *([three.revoke(desk.actor, key_id, now, cascade=False)] if turn % 2 else []),
            two.rotate(desk.actor, key_id, {"grace_period": 600}, now),
            one.suspend(desk.actor, key_id, now),
            *([] if turn % 2 else [three.revoke(desk.actor, key_id, now, cascade=False)]),
            one.resume(desk.actor, key_id, now),
        )
        assert all(isinstance(each, dict | Conflict) for each in answers), answers
        raws = [each["api_key"] for each in answers if isinstance(each, dict) and "api_key" in each]
        for raw in (made["api_key"], *raws):
            assert await decided(desk, raw) == "key_revoked"
        async with desk.database.reading() as connection:
            row = await store.get_key(connection, key_id)
        assert row is not None
        assert (row.status, row.version) == ("revoked", max(versions(answers)))


async def test_of_rotations_at_once_all_secrets_but_the_newest_have_an_end(
    desk: Desk, others: list[Keys]
) -> None:
    made = await desk.create()
    desk.now += SECOND
    body = {"grace_period": 60}
    answers = await at_once(
        *(keys.rotate(desk.actor, made["id"], body, desk.now) for keys in others * 2)
    )
    raws = [each["api_key"] for each in answers if isinstance(each, dict)]
    assert len(raws) == 6
    living = [raw for raw in raws if await decided(desk, raw) == "ok"]
    assert len(living) == 5
    desk.now += 60 * SECOND
    (left,) = [raw for raw in raws if await decided(desk, raw) == "ok"]
    shown = await desk.keys.get(desk.actor, made["id"], desk.now)
    assert left.endswith(shown["last_four"])


async def test_every_version_has_a_number_of_its_own_and_is_told(
    desk: Desk, others: list[Keys]
) -> None:
    made = [await desk.create() for _ in range(3)]
    start = made[-1]["version"]
    answers = await at_once(
        *(
            keys.update(desk.actor, each["id"], {"name": f"{n}"}, desk.now)
            for n, keys in enumerate(others)
            for each in made
        )
    )
    assert sorted(versions(answers)) == list(range(start + 1, start + 10))
    async with desk.database.reading() as connection:
        heard = await since(connection, start)
    assert heard.revision == start + 9
    assert set(heard.key_ids) == {each["id"] for each in made}
