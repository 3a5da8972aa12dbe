"""A request that is sent again does its work once."""

import asyncio
from typing import Any

import pytest

from pdp.control.keys import Keys, Once
from pdp.errors import Conflict, Forbidden, InvalidDocument
from pdp.store.database import Database
from tests.unit.control.callers import manager
from tests.unit.control.desk import PEPPER, SECOND, Desk

DAY = 86_400 * SECOND
ONCE = Once("order-7", b"a" * 32)
OTHER = Once("order-7", b"b" * 32)


def without_secret(made: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in made.items() if name != "api_key"}


@pytest.mark.parametrize("temporary", [False, True])
async def test_a_replay_shows_the_key_without_its_secret(desk: Desk, temporary: bool) -> None:
    create = desk.keys.create_temporary if temporary else desk.keys.create
    body = {"name": "a", "expires_in": 60} if temporary else {"name": "a"}
    made = await create(desk.actor, body, desk.now, ONCE)
    before = await desk.dump()
    again = await create(desk.actor, body, desk.now, ONCE)
    assert again == {**without_secret(made), "idempotent_replayed": True}
    assert await desk.dump() == before


async def test_a_replay_shows_the_key_as_it_is_now(desk: Desk) -> None:
    made = await desk.keys.create(desk.actor, {}, desk.now, ONCE)
    await desk.keys.revoke(desk.actor, made["id"], desk.now, cascade=False)
    again = await desk.keys.create(desk.actor, {}, desk.now, ONCE)
    assert (again["id"], again["status"]) == (made["id"], "revoked")


async def test_another_request_of_that_name_is_a_conflict(desk: Desk) -> None:
    made = await desk.keys.create(desk.actor, {}, desk.now, ONCE)
    before = await desk.dump()
    for call in (
        desk.keys.create(desk.actor, {"name": "b"}, desk.now, OTHER),
        desk.keys.rotate(desk.actor, made["id"], {}, desk.now, OTHER),
    ):
        with pytest.raises(Conflict, match="Idempotency-Key `order-7` was used for another"):
            await call
    assert await desk.dump() == before


async def test_after_a_day_the_name_is_free(desk: Desk) -> None:
    made = await desk.keys.create(desk.actor, {}, desk.now, ONCE)
    again = await desk.keys.create(desk.actor, {}, desk.now + DAY, ONCE)
    assert again["id"] == made["id"]
    other = await desk.keys.create(desk.actor, {}, desk.now + DAY + 1, OTHER)
    assert other["id"] != made["id"]
    assert "api_key" in other


async def test_a_name_is_one_callers_own(desk: Desk) -> None:
    made = await desk.keys.create(desk.actor, {}, desk.now, ONCE)
    theirs = await desk.keys.create(await manager(desk), {}, desk.now, OTHER)
    assert theirs["id"] != made["id"]


async def test_what_was_refused_takes_no_name(desk: Desk) -> None:
    with pytest.raises(InvalidDocument):
        await desk.keys.create(desk.actor, {"nmae": 1}, desk.now, ONCE)
    actor = await manager(desk, key_type="team", team_id="a")
    with pytest.raises(Forbidden):
        await desk.keys.create(actor, {"team_id": "b"}, desk.now, ONCE)
    for each in (desk.actor, actor):
        assert "api_key" in await desk.keys.create(each, {}, desk.now, OTHER)


async def test_a_caller_that_lost_its_right_gets_no_replay(desk: Desk) -> None:
    actor = await manager(desk)
    await desk.keys.create(actor, {}, desk.now, ONCE)
    await desk.keys.update(desk.actor, actor.key_id, {"permissions": None}, desk.now)
    with pytest.raises(Forbidden):
        await desk.keys.create(actor, {}, desk.now, ONCE)


async def test_of_two_at_once_one_does_the_work(desk: Desk) -> None:
    other = Database(desk.url)
    try:
        made = await asyncio.gather(
            *(
                keys.create(desk.actor, {"name": "a"}, desk.now, ONCE)
                for keys in (desk.keys, Keys(other, PEPPER)) * 3
            )
        )
    finally:
        await other.close()
    assert len({each["id"] for each in made}) == 1
    assert sum("api_key" in each for each in made) == 1
    assert sum(each.get("idempotent_replayed", False) for each in made) == 5
