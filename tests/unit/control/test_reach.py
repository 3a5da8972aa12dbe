"""How far managers of each level reach, and where the keys go that they make."""

from typing import Any

import pytest

from pdp.control.initialize import initialize
from pdp.control.keys import Actor, KeyFilter
from pdp.errors import Forbidden, InvalidDocument, NotFound
from tests.unit.control.callers import RIGHTS, actor_of, decided, made_by, manager
from tests.unit.control.desk import NOON, PEPPER, Desk, operator_of

TEAM: dict[str, Any] = {"key_type": "team", "permissions": RIGHTS}


class Town:
    """A tree with two teams, and a manager of each level."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    async def build(self) -> "Town":
        desk = self.desk
        self.ids: dict[str, str] = {"root": desk.root.key_id}
        self.secrets: dict[str, str] = {}
        await self._add("admin", key_type="organization", permissions=RIGHTS)
        await self._add("team a", **TEAM, team_id="a")
        await self._add("team b", **TEAM, team_id="b")
        await self._add("second a", **TEAM, team_id="a")
        await self._add("user a", key_type="user", team_id="a", user_id="u", permissions=RIGHTS)
        await self._add("user b", key_type="user", team_id="b", user_id="v")
        await self._add("app", permissions=RIGHTS)
        await self._add("below user a", parent_key_id=self.ids["user a"])
        await self._add("below app", parent_key_id=self.ids["app"])
        other = await initialize(desk.database, PEPPER, desk.now, "org2", "Other", "UTC")
        self.ids["elsewhere"] = other.key_id
        return self

    async def _add(self, name: str, **body: Any) -> None:
        made = await self.desk.create(name=name, **body)
        self.ids[name], self.secrets[name] = made["id"], made["api_key"]

    async def actor(self, name: str) -> Actor:
        return await actor_of(self.desk, {"api_key": self.secrets[name]})


@pytest.fixture
async def town(desk: Desk) -> Town:
    return await Town(desk).build()


IN_A = {"team a", "second a", "user a", "below user a"}
REACHED = {
    "admin": {"root", "admin", "team b", "user b", "app", "below app", *IN_A},
    "team a": IN_A,
    "second a": IN_A,
    "user a": {"user a", "below user a"},
    "app": {"app", "below app"},
}


@pytest.mark.parametrize("name", list(REACHED))
async def test_a_manager_sees_and_lists_exactly_what_it_reaches(town: Town, name: str) -> None:
    desk, actor = town.desk, await town.actor(name)
    listed = (await desk.keys.list(actor, desk.now))["keys"]
    assert {key["id"] for key in listed} == {town.ids[each] for each in REACHED[name]}
    for each, key_id in town.ids.items():
        if each in REACHED[name]:
            assert (await desk.keys.get(actor, key_id, desk.now))["id"] == key_id
            continue
        for call in (
            desk.keys.get(actor, key_id, desk.now),
            desk.keys.update(actor, key_id, {}, desk.now),
            desk.keys.rotate(actor, key_id, {}, desk.now),
            desk.keys.suspend(actor, key_id, desk.now),
            desk.keys.resume(actor, key_id, desk.now),
            desk.keys.report_compromised(actor, key_id, {}, desk.now),
            desk.keys.revoke(actor, key_id, desk.now, cascade=True),
        ):
            with pytest.raises(NotFound, match=f"^there is no key `{key_id}`$"):
                await call


@pytest.mark.parametrize(
    "key_id", ["", "key_x", "../x", "key_' OR 1=1 --", "k\x00", "\ud800", "x" * 5000]
)
async def test_an_id_that_is_none_is_not_found(town: Town, key_id: str) -> None:
    for actor in (await town.actor("admin"), town.desk.actor):
        with pytest.raises(NotFound):
            await town.desk.keys.get(actor, key_id, town.desk.now)


async def test_a_filter_does_not_widen_the_reach(town: Town) -> None:
    actor = await town.actor("team a")
    for wanted in (
        KeyFilter(team_id="b"),
        KeyFilter(user_id="v"),
        KeyFilter(key_type="organization"),
    ):
        assert (await town.desk.keys.list(actor, town.desk.now, wanted))["keys"] == []


@pytest.mark.parametrize("name", ["team a", "second a", "user a", "app"])
async def test_a_key_above_may_be_looked_at_by_who_reaches_it_and_never_changed(
    town: Town, name: str
) -> None:
    desk = town.desk
    below = await made_by(desk, desk.actor, parent_key_id=town.ids[name], permissions=RIGHTS)
    actor = await actor_of(desk, below)
    with pytest.raises(NotFound):
        await desk.keys.update(actor, town.ids[name], {"permissions": None}, desk.now)
    admin = await town.actor("admin")
    with pytest.raises(Forbidden, match="is above the key that asks"):
        await desk.keys.revoke(admin, town.ids["root"], desk.now, cascade=False)


@pytest.mark.parametrize(
    ("name", "body", "above"),
    [
        ("admin", {}, "root"),
        ("admin", {"team_id": "b"}, "team b"),
        ("admin", {"key_type": "team", "team_id": "a"}, "root"),
        ("team a", {}, "team a"),
        ("team a", {"key_type": "user", "user_id": "w"}, "team a"),
        ("team a", {"team_id": "a"}, "team a"),
        ("second a", {}, "team a"),
        ("user a", {}, "user a"),
        ("user a", {"team_id": "a"}, "user a"),
        ("app", {}, "app"),
        ("app", {"user_id": "w"}, "app"),
    ],
)
async def test_the_parent_follows_scope_within_reach(
    town: Town, name: str, body: dict[str, Any], above: str
) -> None:
    actor = await town.actor(name)
    made = await made_by(town.desk, actor, **body)
    assert made["parent_key_id"] == town.ids[above]
    assert made["granted_by"] == actor.key_id
    if name in IN_A:
        assert made["team_id"] == "a"
        assert (await town.desk.keys.get(actor, made["id"], town.desk.now))["id"] == made["id"]


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("team a", {"team_id": "b"}),
        ("team a", {"key_type": "team", "team_id": "b"}),
        ("team a", {"key_type": "team"}),
        ("team a", {"key_type": "organization"}),
    ],
)
async def test_a_place_out_of_reach_is_refused_without_a_word_of_what_is_there(
    town: Town, name: str, body: dict[str, Any]
) -> None:
    actor = await town.actor(name)
    before = await town.desk.dump()
    with pytest.raises(Forbidden) as caught:
        await made_by(town.desk, actor, **body)
    assert not [each for each, key_id in town.ids.items() if key_id in str(caught.value)]
    assert "team b" not in str(caught.value)
    assert await town.desk.dump() == before


@pytest.mark.parametrize(
    ("name", "parent"),
    [
        ("team a", "team b"),
        ("team a", "root"),
        ("user a", "team a"),
        ("app", "user a"),
        ("admin", "elsewhere"),
    ],
)
async def test_a_chosen_parent_out_of_reach_does_not_exist(
    town: Town, name: str, parent: str
) -> None:
    with pytest.raises(InvalidDocument) as caught:
        await made_by(town.desk, await town.actor(name), parent_key_id=town.ids[parent])
    (problem,) = caught.value.problems
    assert (problem.location, problem.message) == (
        "parent_key_id",
        f"there is no key `{town.ids[parent]}`",
    )


@pytest.mark.parametrize("name", ["user a", "app"])
@pytest.mark.parametrize("team_id", ["a", "new"])
async def test_who_reaches_what_is_below_makes_no_manager_of_a_team(
    town: Town, name: str, team_id: str
) -> None:
    with pytest.raises(InvalidDocument) as caught:
        await made_by(town.desk, await town.actor(name), **TEAM, team_id=team_id)
    assert "key_type" in [problem.location for problem in caught.value.problems]


async def test_a_team_level_key_taken_over_by_a_narrow_one_reaches_what_is_below_it(
    town: Town,
) -> None:
    desk, app = town.desk, await town.actor("app")
    planted = await made_by(desk, desk.actor, **TEAM, team_id="a", parent_key_id=app.key_id)
    listed = await desk.keys.list(await actor_of(desk, planted), desk.now)
    assert len(listed["keys"]) > 1
    await desk.keys.update(app, planted["id"], {"granted_by": app.key_id}, desk.now)
    taken = await actor_of(desk, await desk.keys.rotate(app, planted["id"], {}, desk.now))
    assert [key["id"] for key in (await desk.keys.list(taken, desk.now))["keys"]] == [planted["id"]]
    with pytest.raises(NotFound):
        await desk.keys.suspend(taken, town.ids["user a"], desk.now)


async def test_a_key_goes_only_below_what_binds_its_maker(desk: Desk) -> None:
    deny = {"effect": "Deny", "actions": ["*"], "resources": ["model:gpt-4o"]}
    above = await desk.create(
        key_type="organization",
        policy={
            "version": "2024-01-01",
            "statements": [deny, {**deny, "effect": "Allow", "resources": ["*"]}],
        },
    )
    bound = await manager(desk, parent_key_id=above["id"])
    for body in ({}, {"team_id": "new"}, {"parent_key_id": desk.root.key_id}):
        with pytest.raises(Forbidden, match="not below all that binds"):
            await made_by(desk, bound, **body)
    made = await made_by(desk, bound, parent_key_id=above["id"])
    assert await decided(desk, made["api_key"]) == "policy_denied"


async def test_the_hierarchy_of_the_seed_works_together(desk: Desk) -> None:
    root = await initialize(desk.database, PEPPER, NOON, "org_abc123", "Seed", "UTC")
    first = await desk.keys.create(
        operator_of(root),
        {"key_type": "organization", "organization_id": "org_abc123", "permissions": RIGHTS},
        desk.now,
    )
    admin = await actor_of(desk, first)
    ids = {"organization_id": "org_abc123", "team_id": "team_xyz789"}
    team = await made_by(
        desk,
        admin,
        key_type="team",
        **ids,
        permissions={"models": ["gpt-4o", "claude-3-5-sonnet-20241022"], "monthly_budget": 5000.0},
    )
    user = await made_by(
        desk,
        admin,
        key_type="user",
        **ids,
        user_id="user_123",
        permissions={
            "models": ["gpt-3.5-turbo"],
            "daily_budget": 50.0,
            "rate_limit_per_minute": 20,
        },
    )
    assert (team["parent_key_id"], user["parent_key_id"]) == (root.key_id, team["id"])
    assert "warnings" not in team
    assert "warnings" not in user
    assert await decided(desk, user["api_key"], "gpt-3.5-turbo") == "ok"
    assert await decided(desk, user["api_key"], "gpt-4o") == "model_not_allowed"
    assert await decided(desk, team["api_key"], "gpt-4o") == "ok"


async def test_ids_of_another_organization_are_faults_of_the_body(desk: Desk) -> None:
    await initialize(desk.database, PEPPER, NOON, "org2", "Other", "UTC")
    with pytest.raises(InvalidDocument) as caught:
        await made_by(desk, await manager(desk), organization_id="org2")
    assert [problem.location for problem in caught.value.problems] == ["organization_id"]


async def test_a_suspended_team_keeps_its_next_key(desk: Desk) -> None:
    team = await desk.create(key_type="team", team_id="a", name="Team A")
    await desk.keys.suspend(desk.actor, team["id"], desk.now)
    made = await desk.create(team_id="a")
    assert made["parent_key_id"] == team["id"]
    assert made["warnings"] == [
        f"key `Team A` ({team['id']}) is suspended: this key is denied until that one is resumed"
    ]
    active = await desk.create(key_type="team", team_id="a")
    assert (await desk.create(team_id="a"))["parent_key_id"] == active["id"]


@pytest.mark.parametrize("end", ["revoke", "expire"])
async def test_a_key_of_a_team_without_a_live_key_of_its_own_is_told_so(
    desk: Desk, end: str
) -> None:
    told = "team `a` has no team-level key that lives: no limit of the team binds this key"
    first = await desk.create(team_id="a")
    team = await desk.create(key_type="team", team_id="a")
    below = await desk.create(team_id="a")
    if end == "revoke":
        await desk.keys.revoke(desk.actor, team["id"], desk.now, cascade=False)
    else:
        past = {"expires_at": "2026-01-01T00:00:00Z"}
        await desk.keys.update(desk.actor, team["id"], past, desk.now)
    lost = await desk.create(team_id="a")
    assert lost["warnings"] == [told]
    kept = await desk.create(parent_key_id=below["id"])
    elsewhere = await made_by(desk, await manager(desk, key_type="application"), team_id="a")
    other = await desk.create(team_id="b")
    for made in (first, below, kept, elsewhere, other):
        assert told not in made.get("warnings", [])
