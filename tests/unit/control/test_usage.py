"""What was spent and what is held, as people read it."""

from typing import Any

import pytest
from msgspec.structs import replace

from pdp.control.usage import usage_by_group, usage_by_key
from pdp.errors import InvalidDocument
from pdp.quota.calendar import Calendar
from pdp.quota.hold import Window
from pdp.records import Held
from pdp.store.organizations import Organization, insert_organization
from pdp.store.usage import GROUPS
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
)

DAY = 86_400 * SECOND
USD = 1_000_000_000


async def by_key(desk: Desk, now: int = NOON) -> dict[str, dict[str, Any]]:
    found = await usage_by_key(desk.database, "org", now)
    return {row["api_key_id"]: row for row in found["usage"]}


async def by_group(desk: Desk, group: str) -> dict[str, dict[str, Any]]:
    found = await usage_by_group(desk.database, "org", group)
    return {row.pop(group): row for row in found["usage"]}


async def family(desk: Desk) -> tuple[str, str]:
    """Make a team with a user; return their ids."""
    team = await desk.create(key_type="team", team_id="a", name="Team")
    user = await desk.create(key_type="user", team_id="a", user_id="u", name="User")
    return team["id"], user["id"]


def hold_of(desk: Desk, decision_id: str, *key_ids: str, cost: int = USD, at: int = NOON) -> Held:
    """Return a hold on a chain that ends at the root, in the windows of its time."""
    record = held(decision_id, cost, 10, chain=(*key_ids, desk.root.key_id), at=at)
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
        user: row(2, 8, 2.0),
        team: row(1, 7, 0.5),
        desk.root.key_id: row(1, 11, 0.0),
    }
    assert await by_group(desk, "team") == {"a": row(3, 15, 2.5), "": row(1, 11, 0.0)}
    assert await by_group(desk, "user") == {"u": row(2, 8, 2.0), "": row(2, 18, 0.5)}


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
    assert await usage_by_key(desk.database, "org2", NOON) == {"usage": []}
    for group in GROUPS:
        assert await usage_by_group(desk.database, "org2", group) == {"usage": []}


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
        await usage_by_group(desk.database, "org", "colour")
