"""What was spent and what is held, as people read it."""

import base64
from typing import Any

import pytest
from msgspec.structs import replace

from pdp.control.organizations import update_settings
from pdp.control.usage import GROUPS, usage_by_group, usage_by_key
from pdp.errors import Forbidden, InvalidDocument, NotFound
from pdp.quota.calendar import Calendar
from pdp.quota.hold import Window
from pdp.records import Held
from pdp.store.organizations import Organization, insert_organization
from pdp.store.sight import Sight
from pdp.store.usage import spent_query
from tests.store import Store
from tests.unit.control.desk import (
    NOON,
    SECOND,
    Desk,
    denied,
    expired,
    held,
    opened_desk,
    settled,
    sight_for,
)
from tests.unit.control.test_audit_plan import plan_of

DAY = 86_400 * SECOND
USD = 1_000_000_000
ORG = Sight("org")


async def by_key(desk: Desk, now: int = NOON) -> dict[str, dict[str, Any]]:
    found = await usage_by_key(desk.database, ORG, now)
    return {row["api_key_id"]: row for row in found["usage"]}


async def by_group(desk: Desk, group: str, **asked: Any) -> dict[str, dict[str, Any]]:
    found = await usage_by_group(desk.database, ORG, group, **asked)
    return {row.pop(group): row for row in found["usage"]}


async def family(desk: Desk) -> tuple[str, str]:
    """Make a team with a user; return their ids."""
    team = await desk.create(key_type="team", team_id="a", name="Team")
    user = await desk.create(key_type="user", team_id="a", user_id="u", name="User")
    return team["id"], user["id"]


def hold_of(desk: Desk, decision_id: str, *key_ids: str, cost: int = USD, at: int = NOON) -> Held:
    """Return a hold on a chain that ends at the root, in the windows of its time."""
    chain = (*key_ids, desk.root.key_id)
    team_id, user_id = desk.whose.get(chain[0], ("", ""))
    record = held(decision_id, cost, 10, chain, at, team_id=team_id, user_id=user_id)
    calendar = Calendar("UTC")
    day, month = calendar.day(at)[0], calendar.month(at)[0]
    windows = tuple(Window(each.key_id, day, month) for each in record.hold.windows)
    return replace(record, hold=replace(record.hold, windows=windows))


def part(requests: int, tokens: int, spent: float, on_hold: float) -> dict[str, Any]:
    return {"requests": requests, "tokens": tokens, "spent_usd": spent, "held_usd": on_hold}


async def test_every_key_has_a_row_oldest_first_even_without_usage(desk: Desk) -> None:
    team, user = await family(desk)
    rows = await by_key(desk)
    assert list(rows) == [desk.root.key_id, team, user]
    assert rows[user] == {
        "api_key_id": user,
        "api_key_name": "User",
        "parent_key_id": team,
        **part(0, 0, 0.0, 0.0),
        "held_tokens": 0,
        "today": part(0, 0, 0.0, 0.0),
        "month": part(0, 0, 0.0, 0.0),
    }


async def test_spent_and_held_are_shown_apart_for_a_key_and_all_above_it(desk: Desk) -> None:
    team, user = await family(desk)
    first, second = hold_of(desk, "d1", user, team), hold_of(desk, "d2", team, cost=3 * USD)
    await desk.take(first, second, settled(first, USD // 4, prompt=3))
    rows = await by_key(desk)
    for name in ("today", "month"):
        assert rows[user][name] == part(1, 7, 0.25, 0.0)
        assert rows[team][name] == rows[desk.root.key_id][name] == part(2, 7, 0.25, 3.0)
    for key_id, sums in ((user, part(1, 7, 0.25, 0.0)), (team, part(2, 7, 0.25, 3.0))):
        assert {name: rows[key_id][name] for name in sums} == sums
    assert rows[team]["held_tokens"] == 10


async def test_today_and_this_month_end_and_the_total_does_not(desk: Desk) -> None:
    hold = hold_of(desk, "d1", desk.root.key_id)
    hold = replace(hold, hold=replace(hold.hold, windows=hold.hold.windows[:1]))
    await desk.take(hold, settled(hold, USD))
    spent = []
    for now in (NOON, NOON + DAY, NOON + 30 * DAY, NOON - DAY):
        row = (await by_key(desk, now))[desk.root.key_id]
        spent.append((row["today"]["spent_usd"], row["month"]["spent_usd"], row["spent_usd"]))
    assert spent == [(1.0, 1.0, 1.0), (0.0, 1.0, 1.0), (0.0, 0.0, 1.0), (0.0, 1.0, 1.0)]


async def test_an_expired_hold_is_spent_and_no_longer_held(desk: Desk) -> None:
    _, user = await family(desk)
    hold = hold_of(desk, "d1", user)
    await desk.take(hold, expired(hold, USD, 10), denied("d2", key_id=user))
    assert (await by_key(desk))[user]["today"] == part(1, 10, 1.0, 0.0)


@pytest.mark.parametrize("group", GROUPS)
async def test_no_usage_is_no_row(desk: Desk, group: str) -> None:
    await family(desk)
    assert await by_group(desk, group) == {}


async def test_groups_count_each_usage_once_by_what_it_was(desk: Desk) -> None:
    team, user = await family(desk)
    holds = [
        hold_of(desk, "d1", user, team),
        hold_of(desk, "d2", user, team),
        hold_of(desk, "d3", team, at=NOON + DAY),
        hold_of(desk, "d4"),
    ]
    reports = [
        settled(holds[0], USD, 3),
        settled(holds[1], USD, 5, model="claude-3-5-haiku", provider="anthropic"),
        settled(holds[2], USD // 2, 7),
        settled(holds[3], None, 11),
    ]
    await desk.take(*holds, *reports)

    def row(requests: int, prompt: int, cost: float) -> dict[str, Any]:
        return {
            "requests": requests,
            "prompt_tokens": prompt,
            "completion_tokens": 4 * requests,
            "cached_tokens": requests,
            "cost_usd": cost,
        }

    assert await by_group(desk, "day") == {
        "2026-11-23": row(3, 19, 2.0),
        "2026-11-24": row(1, 7, 0.5),
    }
    assert await by_group(desk, "model") == {
        "claude-3-5-haiku": row(1, 5, 1.0),
        "gpt-4o": row(3, 21, 1.5),
    }
    assert await by_group(desk, "provider") == {
        "anthropic": row(1, 5, 1.0),
        "openai": row(3, 21, 1.5),
    }
    assert await by_group(desk, "key") == {
        user: {"key_name": "User", **row(2, 8, 2.0)},
        team: {"key_name": "Team", **row(1, 7, 0.5)},
        desk.root.key_id: {"key_name": "root", **row(1, 11, 0.0)},
    }
    assert await by_group(desk, "team") == {"a": row(3, 15, 2.5), None: row(1, 11, 0.0)}
    assert await by_group(desk, "user") == {"u": row(2, 8, 2.0), None: row(2, 18, 0.5)}


async def test_what_is_held_or_denied_is_not_used(desk: Desk) -> None:
    _, user = await family(desk)
    await desk.take(hold_of(desk, "d1", user), denied("d2", key_id=user))
    assert await by_group(desk, "key") == {}


async def test_an_organization_sees_its_own_usage_alone(desk: Desk) -> None:
    _, user = await family(desk)
    hold = hold_of(desk, "d1", user)
    await desk.take(hold, settled(hold))
    async with desk.database.writing() as connection:
        await insert_organization(connection, Organization("org2", "", "UTC", NOON))
    nothing: dict[str, Any] = {"usage": [], "next_cursor": None}
    assert await usage_by_key(desk.database, Sight("org2"), NOON) == nothing
    for group in GROUPS:
        assert await usage_by_group(desk.database, Sight("org2"), group) == nothing


async def test_what_was_spent_today_stays_so_in_another_timezone(desk: Desk) -> None:
    team, user = await family(desk)
    await desk.take(hold_of(desk, "d1", user, team))
    before = (await by_key(desk))[team]
    for timezone in ("America/New_York", "Europe/Berlin"):
        await update_settings(desk.database, desk.actor, {"timezone": timezone}, NOON)
        assert (await by_key(desk))[team] == before
    assert before["today"]["held_usd"] == before["month"]["held_usd"] == 1.0


async def test_a_day_is_named_by_its_date_in_the_organizations_timezone(store: Store) -> None:
    async with store.empty() as url, opened_desk(url, timezone="Pacific/Auckland") as desk:
        calendar = Calendar("Pacific/Auckland")  # Noon in UTC is 1 in the morning there.
        window = Window(desk.root.key_id, calendar.day(NOON)[0], calendar.month(NOON)[0])
        hold = held("d1", chain=(desk.root.key_id,))
        hold = replace(hold, hold=replace(hold.hold, windows=(window,)))
        await desk.take(hold, settled(hold, USD))
        assert list(await by_group(desk, "day")) == ["2026-11-24"]
        assert (await by_key(desk))[desk.root.key_id]["today"]["spent_usd"] == 1.0


async def test_a_group_that_is_none_is_named_with_those_that_are(desk: Desk) -> None:
    with pytest.raises(InvalidDocument, match="`colour` is not one of day, model, provider"):
        await usage_by_group(desk.database, ORG, "colour")


# -- Days, sight, pages


async def days(desk: Desk) -> tuple[str, str]:
    """Let a team and its user each use something on three days; return their ids."""
    team, user = await family(desk)
    holds = [
        hold_of(desk, f"d{day}{number}", *chain, at=NOON + day * DAY)
        for day in range(3)
        for number, chain in enumerate(((team,), (user, team)))
    ]
    await desk.take(*holds, *(settled(hold, USD) for hold in holds))
    return team, user


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, ["2026-11-23", "2026-11-24", "2026-11-25"]),
        ({"start": "2026-11-24"}, ["2026-11-24", "2026-11-25"]),
        ({"end": "2026-11-24"}, ["2026-11-23", "2026-11-24"]),
        ({"start": "2026-11-24", "end": "2026-11-24"}, ["2026-11-24"]),
        ({"start": "2026-11-25", "end": "2026-11-24"}, []),
    ],
)
async def test_days_are_those_from_start_to_end_both_included(
    desk: Desk, asked: dict[str, str], found: list[str]
) -> None:
    team, user = await days(desk)
    rows = await by_group(desk, "day", **asked)
    assert list(rows) == found
    assert {row["requests"] for row in rows.values()} <= {2}
    keys = await by_group(desk, "key", **asked)
    assert {each: row["requests"] for each, row in keys.items()} == (
        {team: len(found), user: len(found)} if found else {}
    )


async def test_days_begin_at_midnight_of_the_organization(store: Store) -> None:
    async with store.empty() as url, opened_desk(url, timezone="Pacific/Auckland") as desk:
        calendar = Calendar("Pacific/Auckland")
        hold = held("d1", chain=(desk.root.key_id,))
        window = Window(desk.root.key_id, calendar.day(NOON)[0], calendar.month(NOON)[0])
        hold = replace(hold, hold=replace(hold.hold, windows=(window,)))
        await desk.take(hold, settled(hold, USD))
        day = "2026-11-24"
        assert list(await by_group(desk, "day", start=day, end=day)) == [day]
        assert await by_group(desk, "day", end="2026-11-23") == {}
        assert await by_group(desk, "day", start="2026-11-25") == {}


@pytest.mark.parametrize("text", ["", "today", "2026-13-01", "0001-01-01", "9999-12-31"])
async def test_a_day_that_is_none_is_told_how_to_write_one(desk: Desk, text: str) -> None:
    with pytest.raises(InvalidDocument, match=r"start: `.*` is no day: write it like `2030-12-31`"):
        await by_group(desk, "key", start=text)


async def test_who_sees_what(desk: Desk) -> None:
    team, user = await days(desk)
    root = desk.root.key_id
    below = [
        (sight_for("org", root, "organization", "", all_usage=True), [root, team, user]),
        (sight_for("org", team, "team", "a", all_usage=True), [team, user]),
        (sight_for("org", team, "application", "", all_usage=True), [team, user]),
        (sight_for("org", user, "user", "a", all_usage=False), [user]),
    ]
    for sight, seen in below:
        found = await usage_by_key(desk.database, sight, NOON)
        assert [row["api_key_id"] for row in found["usage"]] == seen
        found = await usage_by_group(desk.database, sight, "key")
        assert {row["key"] for row in found["usage"]} == {*seen} - {root}
        assert [row["key"] for row in found["usage"]] == sorted({*seen} - {root})


async def test_one_key_is_asked_for_within_sight(desk: Desk) -> None:
    team, user = await days(desk)
    root = desk.root.key_id
    own = sight_for("org", user, "user", "a", all_usage=False)
    under = sight_for("org", user, "application", "", all_usage=True)
    for sight in (ORG, own, under, Sight("org", team_id="a")):
        found = await usage_by_key(desk.database, sight, NOON, key_id=user)
        assert [row["api_key_id"] for row in found["usage"]] == [user]
        found = await usage_by_group(desk.database, sight, "team", key_id=user)
        assert [(row["team"], row["requests"]) for row in found["usage"]] == [("a", 3)]
    for sight, key_id, error in (
        (own, team, Forbidden),
        (under, team, NotFound),
        (Sight("org", team_id="a"), root, NotFound),
        (ORG, "nobody", NotFound),
    ):
        with pytest.raises(error):
            await usage_by_key(desk.database, sight, NOON, key_id=key_id)
        with pytest.raises(error):
            await usage_by_group(desk.database, sight, "day", key_id=key_id)


async def test_pages_of_keys_show_every_key_once(desk: Desk) -> None:
    team, user = await days(desk)
    seen: list[str] = []
    cursor, pages = None, 0
    while pages == 0 or cursor:
        page = await usage_by_key(desk.database, ORG, NOON, limit=2, cursor=cursor)
        seen += [row["api_key_id"] for row in page["usage"]]
        cursor, pages = page["next_cursor"], pages + 1
    assert (seen, pages) == ([desk.root.key_id, team, user], 2)


@pytest.mark.parametrize("group", GROUPS)
async def test_pages_of_groups_show_every_group_once(desk: Desk, group: str) -> None:
    await days(desk)
    hold = hold_of(desk, "d9", at=NOON + 5 * DAY)
    await desk.take(hold, settled(hold, USD, model="o3", provider="other"), first=12)
    whole = (await usage_by_group(desk.database, ORG, group))["usage"]
    assert len(whole) >= 2
    seen: list[Any] = []
    cursor = None
    while not seen or cursor:
        page = await usage_by_group(desk.database, ORG, group, limit=1, cursor=cursor)
        assert len(page["usage"]) == 1
        seen += page["usage"]
        cursor = page["next_cursor"]
    assert seen == whole


@pytest.mark.parametrize("limit", [0, -1, 1001])
async def test_a_page_has_bounds(desk: Desk, limit: int) -> None:
    for asking in (
        usage_by_key(desk.database, ORG, NOON, limit=limit),
        usage_by_group(desk.database, ORG, "day", limit=limit),
    ):
        with pytest.raises(InvalidDocument, match=f"limit: `{limit}` is not from 1 to 1000"):
            await asking


@pytest.mark.parametrize("text", ["x", "%%%", "ü", '[1,"x\\u0000"]', f'[{10**30},"x"]', "{}"])
async def test_a_cursor_of_somebody_else_is_refused(desk: Desk, text: str) -> None:
    for cursor in (text, base64.urlsafe_b64encode(text.encode()).decode()):
        for asking in (
            usage_by_key(desk.database, ORG, NOON, cursor=cursor),
            usage_by_group(desk.database, ORG, "model", cursor=cursor),
            usage_by_group(desk.database, ORG, "day", cursor=cursor),
        ):
            with pytest.raises(InvalidDocument, match="cursor: not one of ours"):
                await asking


async def test_windows_of_long_ago_are_not_read(desk: Desk) -> None:
    query = spent_query(ORG, {"day": 1, "month": 2, "total": 0}, None, 10)
    async with desk.database.reading() as connection:
        plan = await plan_of(connection, query)
        if connection.dialect.name == "sqlite":
            windows = [line for line in plan.splitlines() if "key_id=?" in line]
            assert len(windows) == 3
            assert all("(key_id=? AND period=? AND start=?)" in line for line in windows)
            assert "SCAN" not in plan
            assert "TEMP" not in plan
        else:
            assert plan.count("start = ") >= 3
