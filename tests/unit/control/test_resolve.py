"""From a secret's hash to everything that decides for its key."""

import asyncio
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from msgspec.structs import replace

from pdp.compile import Compiler
from pdp.control.resolve import Resolver, resolve
from pdp.errors import Conflict, InvalidDocument, NotFound, Unavailable
from pdp.model import Resolved
from pdp.secret import hash_secret
from pdp.store import keys as store
from pdp.store.keys import SecretRow
from pdp.store.schema import api_keys
from tests.store import Store
from tests.unit.control.desk import NOON, PEPPER, SECOND, Desk, opened_desk, status


async def by_secret(desk: Desk, raw: str) -> tuple[int, Resolved | None]:
    return await resolve(desk.database, hash_secret(raw, PEPPER), "")


async def found(desk: Desk, raw: str) -> Resolved:
    _, resolved = await by_secret(desk, raw)
    assert resolved is not None
    return resolved


async def add_secret(desk: Desk, key_id: str, raw: str, **fields: Any) -> None:
    """Store another secret of a key, as a rotation does."""
    row = SecretRow(hash_secret(raw, PEPPER), key_id, "vsk_prod_", raw[-4:], desk.now)
    async with desk.database.writing() as connection:
        await store.insert_secret(connection, replace(row, **fields))


async def test_the_chains_go_from_the_key_to_the_root_and_have_each_record_once(
    desk: Desk,
) -> None:
    team = await desk.create(key_type="team", team_id="a")
    user = await desk.create(key_type="user", team_id="a", user_id="u")
    granter = await desk.create(key_type="organization", permissions={"manage_keys": True})
    actor = await desk.keys.authenticate(granter["api_key"], "", desk.now)
    leaf = await desk.keys.create(actor, {"parent_key_id": user["id"]}, desk.now)
    resolved = await found(desk, leaf["api_key"])
    root = desk.root.key_id
    assert resolved.parents == (leaf["id"], user["id"], team["id"], root)
    assert resolved.granters == (leaf["id"], granter["id"], root)
    ids = [each.id for each in resolved.records]
    assert len(ids) == len(set(ids))
    assert set(ids) == {*resolved.parents, *resolved.granters}


async def test_a_record_is_what_its_author_wrote(desk: Desk) -> None:
    body: dict[str, Any] = {
        "access": "custom",
        "permissions": {"models": ["gpt-4o"], "daily_budget": 5.0},
        "rate_limits": {"per_minute": 60},
        "metadata": {"app": "x"},
        "max_requests": 9,
        "permissions_apply_to": "subtree",
    }
    made = await desk.create(name="Mobile", expires_at="2026-12-01T00:00:00Z", **body)
    resolved = await found(desk, made["api_key"])
    (record,) = [each for each in resolved.records if each.id == made["id"]]
    assert {name: getattr(record, name) for name in body} == body
    assert (record.name, record.status, record.organization_id) == ("Mobile", "active", "org")
    assert record.parent_key_id == record.granted_by == desk.root.key_id
    assert record.expires_at == 1_796_083_200 * SECOND


async def test_what_is_resolved_compiles(desk: Desk) -> None:
    await desk.create(key_type="team", team_id="a", permissions={"monthly_budget": 5000.0})
    made = await desk.create(key_type="user", team_id="a", permissions={"daily_budget": 50.0})
    key = Compiler().compile(await found(desk, made["api_key"]))
    assert [len(scope.budgets) for scope in key.plan.scopes] == [1, 1, 0]


async def test_a_key_is_found_by_its_id_too(desk: Desk) -> None:
    made = await desk.create()
    _, by_id = await resolve(desk.database, None, made["id"])
    assert by_id == await found(desk, made["api_key"])
    assert await resolve(desk.database, None, "key_none") == (2, None)


async def test_an_unknown_secret_resolves_to_nothing_of_a_known_moment(desk: Desk) -> None:
    assert await by_secret(desk, "vsk_prod_nobody") == (1, None)
    made = await desk.create()
    assert await by_secret(desk, "vsk_prod_nobody") == (2, None)
    assert await resolve(desk.database, b"", made["id"]) == (2, None)


async def test_an_answer_has_the_number_of_the_last_change(desk: Desk) -> None:
    made = await desk.create()
    resolved = await found(desk, made["api_key"])
    assert resolved.revision == 2
    await desk.create()
    assert (await found(desk, made["api_key"])).revision == 3


async def test_a_root_key_is_its_own_chain_in_its_organizations_timezone(store: Store) -> None:
    async with store.empty() as url, opened_desk(url, timezone="Europe/Berlin") as desk:
        resolved = await found(desk, desk.root.api_key)
    assert resolved.timezone == "Europe/Berlin"
    assert resolved.parents == resolved.granters == (desk.root.key_id,) == (resolved.key_id,)
    assert [each.id for each in resolved.records] == [desk.root.key_id]


async def test_a_revoked_key_resolves_with_its_status_and_a_new_version(desk: Desk) -> None:
    team = await desk.create(key_type="team", team_id="a")
    user = await desk.create(key_type="user", team_id="a")
    await desk.keys.revoke(desk.actor, team["id"], desk.now, cascade=False)
    resolved = await found(desk, team["api_key"])
    versions = {each.id: (each.status, each.version) for each in resolved.records}
    assert versions[team["id"]] == ("revoked", 4)
    below = await found(desk, user["api_key"])
    status = {each.id: each.status for each in below.records}
    assert status == {user["id"]: "active", team["id"]: "revoked", desk.root.key_id: "active"}


@pytest.mark.parametrize(
    ("fields", "expires_at", "revoked"),
    [
        ({}, None, False),
        ({"expires_at": NOON + 60 * SECOND}, NOON + 60 * SECOND, False),
        ({"revoked_at": NOON}, None, True),
    ],
)
async def test_each_secret_of_a_rotated_key_has_its_own_end(
    desk: Desk, fields: dict[str, Any], expires_at: int | None, revoked: bool
) -> None:
    made = await desk.create()
    await add_secret(desk, made["id"], "vsk_prod_old", **fields)
    old, new = await found(desk, "vsk_prod_old"), await found(desk, made["api_key"])
    assert (old.secret_expires_at, old.secret_revoked) == (expires_at, revoked)
    assert (new.secret_expires_at, new.secret_revoked) == (None, False)
    assert old.key_id == new.key_id == made["id"]
    assert old.records == new.records


async def test_a_key_shows_its_newest_secret(desk: Desk) -> None:
    made = await desk.create()
    await add_secret(desk, made["id"], "vsk_prod_newer", created_at=desk.now + 1)
    await add_secret(desk, made["id"], "vsk_prod_oldest", created_at=desk.now - 1)
    shown = await desk.keys.get(desk.actor, made["id"], desk.now)
    assert (shown["prefix"], shown["last_four"]) == ("vsk_prod_", "ewer")
    assert len(await desk.keys.list(desk.actor, desk.now)) == 2


@pytest.mark.parametrize("key_id", ["", "a\0b", "\ud800", "x" * 100_000])
async def test_an_id_that_no_key_can_have_is_no_key(desk: Desk, key_id: str) -> None:
    assert await resolve(desk.database, None, key_id) == (1, None)
    with pytest.raises(NotFound):
        await desk.keys.get(desk.actor, key_id, desk.now)
    with pytest.raises(NotFound):
        await desk.keys.actor(key_id or "\0")


@pytest.mark.parametrize("upwards", ["parent_key_id", "granted_by"])
async def test_keys_in_a_circle_resolve_to_an_error_and_not_for_ever(
    desk: Desk, upwards: str
) -> None:
    first = await desk.create()
    second = await desk.create(parent_key_id=first["id"])
    async with desk.database.writing() as connection:
        change = sa.update(api_keys).where(api_keys.c.id == first["id"])
        await connection.execute(change.values({upwards: second["id"], "granted_by": second["id"]}))
        if upwards == "granted_by":
            change = sa.update(api_keys).where(api_keys.c.id == second["id"])
            await connection.execute(change.values(granted_by=first["id"]))
    with pytest.raises(Conflict, match="more than 64 keys above it, or is one of them"):
        await found(desk, second["api_key"])
    await desk.keys.revoke(desk.actor, first["id"], desk.now, cascade=True)
    assert await status(desk, second["id"]) == "revoked"


async def test_a_chain_beyond_its_bound_is_an_error_and_leaves_out_no_limit(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = await desk.create()
    for _ in range(2):
        last = await desk.create(parent_key_id=last["id"])
    monkeypatch.setattr(store, "MOST_LEVELS", 4)
    assert len((await found(desk, last["api_key"])).parents) == 4
    monkeypatch.setattr(store, "MOST_LEVELS", 3)
    with pytest.raises(Conflict, match="more than 3 keys above it"):
        await found(desk, last["api_key"])


async def test_a_chain_of_granters_has_a_bound(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pdp.control.placing.MOST_LEVELS", 3)
    actor = desk.actor
    for _ in range(2):
        made = await desk.keys.create(actor, {}, desk.now)
        actor = replace(actor, key_id=made["id"])
    with pytest.raises(InvalidDocument, match="3 keys grant what you may"):
        await desk.keys.create(actor, {}, desk.now)


async def test_what_is_asked_at_the_same_time_is_answered_each_by_itself(desk: Desk) -> None:
    made = [await desk.create() for _ in range(3)]
    circle, healthy = made[0], made[1:]
    async with desk.database.writing() as connection:
        update = sa.update(api_keys).where(api_keys.c.id == circle["id"])
        await connection.execute(update.values(granted_by=circle["id"]))
    resolver, gone = Resolver(desk.database), asyncio.Event()

    async def leaves() -> None:
        try:
            await resolver.resolve(healthy[0]["id"])
        finally:
            gone.set()

    impatient = asyncio.create_task(leaves())
    asked = [
        *(asyncio.create_task(resolver.resolve(each["id"])) for each in made),
        asyncio.create_task(resolver.resolve(hash_secret(healthy[0]["api_key"], PEPPER))),
        asyncio.create_task(resolver.resolve("key_none")),
        asyncio.create_task(resolver.resolve(healthy[0]["id"])),
    ]
    await asyncio.sleep(0)
    impatient.cancel()
    await gone.wait()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(answers[0], Conflict), "a circle is nobody else's fault"
    alone = [await resolve(desk.database, None, each["id"]) for each in healthy]
    assert answers[1:3] == alone
    assert answers[3] == await by_secret(desk, healthy[0]["api_key"])
    assert answers[4] == (4, None)
    assert answers[5] == alone[0]


async def test_a_row_that_cannot_be_read_is_nobody_elses_fault(desk: Desk) -> None:
    made = [await desk.create() for _ in range(5)]
    async with desk.database.writing() as connection:
        update = sa.update(api_keys).where(api_keys.c.id == made[3]["id"])
        await connection.execute(update.values(document='{"permissions": 5}'))
    resolver = Resolver(desk.database)
    asked = (resolver.resolve(each["id"]) for each in made)
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(answers[3], msgspec.ValidationError)
    assert [answers[n] for n in (0, 1, 2, 4)] == [
        await resolve(desk.database, None, made[n]["id"]) for n in (0, 1, 2, 4)
    ]


async def test_questions_that_come_in_meanwhile_see_what_was_changed_before_them(
    desk: Desk,
) -> None:
    made = await desk.create()
    resolver = Resolver(desk.database)
    before = asyncio.create_task(resolver.resolve(made["id"]))
    await asyncio.sleep(0)
    await desk.keys.revoke(desk.actor, made["id"], desk.now, cascade=False)
    number, after = await resolver.resolve(made["id"])
    assert after is not None
    assert (number, after.records[0].status) == (3, "revoked")
    await before


async def test_a_database_that_is_away_is_told_to_all_who_ask_and_asked_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, resolver = await desk.create(), Resolver(desk.database)

    def away() -> None:
        raise Unavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(desk.database, "reading", away)
        both = [asyncio.create_task(resolver.resolve(made["id"])) for _ in range(2)]
        answers = await asyncio.gather(*both, return_exceptions=True)
    assert [str(each) for each in answers] == ["away", "away"]
    number, found = await resolver.resolve(made["id"])
    assert (number, found is not None) == (2, True)
