"""The audit log as people read it."""

import base64
from typing import Any

import pytest

from pdp.actions import ACTIONS
from pdp.control.audit import audit_log
from pdp.control.audit_query import instant_of
from pdp.errors import Forbidden, InvalidDocument, NotFound
from pdp.records import Record
from pdp.store.audit import AuditFilter
from pdp.store.sight import Sight
from tests.unit.control.desk import (
    NOON,
    SECOND,
    Desk,
    denied,
    expired,
    held,
    settled,
    sight_for,
    unchecked,
)

SEED: dict[str, Any] = {
    "timestamp": "2024-12-03T10:30:00Z",
    "api_key_id": "key_abc123",
    "api_key_name": "Production App",
    "request_id": "req_xyz789",
    "action": "chat.completions.create",
    "model": "gpt-4o",
    "provider": "openai",
    "status": "success",
    "latency_ms": 245,
    "tokens": {"prompt": 150, "completion": 200, "total": 350},
    "cost_usd": 0.00525,
    "metadata": {"user_id": "user_123", "app_name": "customer_support"},
    "ip_address": "203.0.113.42",
    "user_agent": "openai-python/1.3.0",
}
"""The entry of the product page, whose shape is a promise."""
MORE = {
    *("reason", "decision_id", "reservation_id", "organization_id", "team_id", "user_id"),
    "usage_source",
}


ORG = Sight("org")


async def logs(desk: Desk, **wanted: Any) -> list[dict[str, Any]]:
    """Return entries of requests, newest first."""
    found = await audit_log(desk.database, ORG, AuditFilter(**wanted))
    entries: list[dict[str, Any]] = found["logs"]
    return [entry for entry in entries if not entry["decision_id"].startswith("adm_")]


async def ids(desk: Desk, **wanted: Any) -> list[str]:
    return [entry["decision_id"] for entry in await logs(desk, **wanted)]


def history() -> list[Record]:
    """Return requests that differ in everything that can be filtered by, a second apart."""
    at = [NOON + number * SECOND for number in range(6)]
    first = held("d1", at=at[1])
    second = held("d2", at=at[2], model="claude-3-haiku", provider="anthropic")
    third = held("d3", at=at[3], chain=("other", "root"), action="embeddings:create")
    return [first, settled(first), second, third, expired(third), denied("d4"), unchecked("d5")]


# -- Shape


async def test_an_entry_has_the_shape_of_the_product_page_and_more(desk: Desk) -> None:
    hold = held(
        "d1",
        at=1_733_221_800 * SECOND,
        chain=("key_abc123", "root"),
        key_name="Production App",
        request_id="req_xyz789",
        metadata={"user_id": "user_123", "app_name": "customer_support"},
    )
    await desk.take(hold, settled(hold, 5_250_000, 150, completion_tokens=200))
    (entry,) = await logs(desk)
    assert entry.pop("timestamp") == "2024-12-03T10:30:00.000Z"
    assert {name: entry[name] for name in SEED if name != "timestamp"} == {
        name: value for name, value in SEED.items() if name != "timestamp"
    }
    assert set(entry) == (set(SEED) | MORE) - {"timestamp"}
    assert {name: entry[name] for name in MORE} == {
        "reason": "ok",
        "decision_id": "d1",
        "reservation_id": "res_d1",
        "organization_id": "org",
        "team_id": "team",
        "user_id": "user",
        "usage_source": "provider",
    }


async def test_every_entry_has_every_field_with_the_types_of_the_product_page(desk: Desk) -> None:
    await desk.take(*history())
    await desk.create()
    for entry in (await audit_log(desk.database, ORG))["logs"]:
        assert list(entry)[: len(SEED)] == list(SEED)
        assert set(entry) == {*SEED, *MORE}
        for name, value in SEED.items():
            assert type(entry[name]) is type(value), name


async def test_a_cost_that_nobody_knows_is_null_and_not_nothing(desk: Desk) -> None:
    known, unknown = held("d1"), held("d2", cost=None, at=NOON + 1)
    await desk.take(known, unknown, settled(known, 0), settled(unknown, None))
    assert [entry["cost_usd"] for entry in await logs(desk)] == [None, 0.0]


async def test_statuses_and_reasons_tell_what_became_of_a_request(desk: Desk) -> None:
    await desk.take(*history())
    told = {entry["decision_id"]: (entry["status"], entry["reason"]) for entry in await logs(desk)}
    assert told == {
        "d1": ("success", "ok"),
        "d2": ("pending", "ok"),
        "d3": ("expired", "ok"),
        "d4": ("denied", "budget_exceeded"),
        "d5": ("success", "ok"),
    }


@pytest.mark.parametrize("action", ACTIONS.values(), ids=lambda action: action.name)
async def test_actions_read_as_the_product_page_writes_them(desk: Desk, action: Any) -> None:
    await desk.take(held("d1", action=action.name))
    (entry,) = await logs(desk)
    assert entry["action"] == action.audit_name
    for spelling in (action.name, action.audit_name):
        assert await ids(desk, action=spelling) == ["d1"]


async def test_changes_by_administrators_are_entries_with_their_name(desk: Desk) -> None:
    made = await desk.create(name="Mobile")
    await desk.keys.revoke(desk.actor, made["id"], desk.now + SECOND, cascade=False)
    found = (await audit_log(desk.database, ORG))["logs"]
    assert [entry["action"] for entry in found] == [
        "keys.revoke",
        "keys.create",
        "organizations.create",
    ]
    for entry in found:
        assert (entry["api_key_id"], entry["api_key_name"]) == (desk.root.key_id, "root")
        assert (entry["status"], entry["cost_usd"]) == ("success", 0.0)
    assert found[0]["metadata"] == {
        "target_key_id": made["id"],
        "target_key_name": "Mobile",
        "target_status": "revoked",
        "before": {"status": "active"},
        "after": {"status": "revoked"},
    }


# -- Order, filters, pages


async def test_the_newest_come_first(desk: Desk) -> None:
    await desk.take(held("d1", at=NOON + 2), held("d2", at=NOON + 3), held("d3", at=NOON + 1))
    assert await ids(desk) == ["d2", "d1", "d3"]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"key_id": "other"}, ["d3"]),
        ({"status": "success"}, ["d1", "d5"]),
        ({"status": "pending"}, ["d2"]),
        ({"action": "embeddings:create"}, ["d3"]),
        ({"action": "embeddings.create"}, ["d3"]),
        ({"start": NOON + 2 * SECOND}, ["d2", "d3"]),
        ({"end": NOON + 2 * SECOND}, ["d1", "d4", "d5"]),
        ({"start": NOON + SECOND, "end": NOON + 3 * SECOND}, ["d1", "d2", "d5"]),
        ({"key_id": "other", "start": NOON, "end": NOON + 9 * SECOND}, ["d3"]),
        ({"key_id": "other", "status": "expired"}, ["d3"]),
        ({"model": "gpt-4o", "provider": "anthropic"}, []),
        ({"model": "claude-3-haiku"}, ["d2"]),
        ({"provider": "openai"}, ["d1", "d3", "d4", "d5"]),
        ({"request_id": "req_d4"}, ["d4"]),
        ({"status": "success", "request_id": "req_d1"}, ["d1"]),
        ({"status": "denied", "request_id": "req_d1"}, []),
    ],
)
async def test_filters_leave_what_they_name(
    desk: Desk, wanted: dict[str, Any], found: list[str]
) -> None:
    await desk.take(*history())
    assert sorted(await ids(desk, **wanted)) == found


async def test_an_organization_sees_its_own_log_alone(desk: Desk) -> None:
    await desk.take(held("d1"), held("d2", organization_id="org2"))
    assert await ids(desk) == ["d1"]
    found = await audit_log(desk.database, Sight("org2"))
    assert [entry["decision_id"] for entry in found["logs"]] == ["d2"]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8])
async def test_pages_show_every_entry_once(desk: Desk, size: int) -> None:
    # Three at the same instant: a page may end between them.
    places = (NOON, NOON + 1, NOON + 1, NOON + 1, NOON + 2, NOON + 3, NOON + 4)
    await desk.take(*(held(f"d{index}", at=at) for index, at in enumerate(places)))
    whole = await ids(desk, key_id="leaf")
    assert len(whole) == len(places)
    seen: list[str] = []
    cursor, pages = None, 0
    leaf = AuditFilter(key_id="leaf", limit=size)
    while pages == 0 or cursor:
        page = await audit_log(desk.database, ORG, leaf, cursor)
        assert 0 < len(page["logs"]) <= size
        seen += [entry["decision_id"] for entry in page["logs"]]
        cursor, pages = page["next_cursor"], pages + 1
    assert seen == whole
    assert pages == -(-len(places) // size)


async def test_a_page_after_new_entries_goes_on_where_the_last_one_ended(desk: Desk) -> None:
    await desk.take(*(held(f"d{number}", at=NOON + number) for number in range(4)))
    first = await audit_log(desk.database, ORG, AuditFilter(key_id="leaf", limit=2))
    await desk.take(held("d9", at=NOON + 9), first=4)
    second = await audit_log(
        desk.database, ORG, AuditFilter(key_id="leaf", limit=2), first["next_cursor"]
    )
    assert [entry["decision_id"] for entry in second["logs"]] == ["d1", "d0"]
    assert second["next_cursor"] is None


def coded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        *("x", "%%%", "ü", "gICA", coded("[]"), coded('["audit"]'), coded("1")),
        *(coded(f'["audit",{place}]') for place in ('"1","d1"', f'{10**30},"d1"', '1,"d\\u0000"')),
    ],
)
async def test_a_cursor_of_somebody_else_is_refused(desk: Desk, cursor: str) -> None:
    with pytest.raises(InvalidDocument, match="cursor: not one of ours"):
        await audit_log(desk.database, ORG, AuditFilter(), cursor)


# -- What is asked wrongly


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"status": "lost"}, "status: `lost` is not one of pending, success, error, denied"),
        ({"action": "embeddings"}, "action: `embeddings` is not one of chat:completions, "),
        ({"action": "keys"}, "keys.create, keys.update"),
        ({"limit": 0}, "limit: `0` is not from 1 to 1000"),
        ({"limit": 1001}, "limit: `1001` is not from 1 to 1000"),
        ({"model": "gpt\0"}, "model: has characters that no entry has"),
        ({"key_id": "\udcff"}, "key_id: has characters that no entry has"),
    ],
)
async def test_a_wrong_question_is_told_what_is_right(
    desk: Desk, wanted: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidDocument) as caught:
        await logs(desk, **wanted)
    assert words in str(caught.value)


async def test_every_fault_of_a_question_is_told(desk: Desk) -> None:
    with pytest.raises(InvalidDocument) as caught:
        await logs(desk, status="x", action="y", limit=0)
    assert [each.location for each in caught.value.problems] == ["status", "action", "limit"]


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-11-23T12:00:00Z", NOON),
        ("2026-11-23T13:00:00.000000001+01:00", NOON + 1),
        ("9999-12-31T23:59:59Z", 2**63 - 1),
        ("0001-01-01T00:00:00Z", 1 - 2**63),
    ],
)
async def test_times_are_rfc_3339(desk: Desk, text: str, at: int) -> None:
    assert instant_of(text, "start") == at
    await desk.take(held("d1"))
    assert await ids(desk, start=at) == (["d1"] if at <= NOON else [])
    assert await ids(desk, end=at) == (["d1"] if at > NOON else [])


@pytest.mark.parametrize("text", ["", "yesterday", "2026-11-23", "2026-11-23T12:00:00", "NOON"])
def test_what_is_no_time_is_told_how_to_write_one(text: str) -> None:
    with pytest.raises(InvalidDocument, match=r"end: `.*` is no time: use RFC 3339 with an offset"):
        instant_of(text, "end")


async def test_a_key_that_is_not_there_is_told_apart_from_one_without_entries(desk: Desk) -> None:
    made = await desk.create()
    assert await ids(desk, key_id=made["id"]) == []
    with pytest.raises(NotFound, match="there is no key `nobody`"):
        await logs(desk, key_id="nobody")


# -- Who sees what


async def family(desk: Desk) -> tuple[str, str, str]:
    """Make a team's key, one below it, and one beside it; return their ids."""
    team = await desk.create(key_type="team", team_id="a", name="Team")
    user = await desk.create(key_type="user", team_id="a", user_id="u", name="User")
    other = await desk.create(name="Other")
    ids = team["id"], user["id"], other["id"]
    for name, key_id in zip(("d1", "d2", "d3"), ids, strict=True):
        team_id = "" if name == "d3" else "a"
        chain = (key_id, desk.root.key_id)
        await desk.take(held(name, chain=chain, team_id=team_id), spool=name)
    return ids


async def seen(desk: Desk, sight: Sight, **wanted: Any) -> list[str]:
    found = await audit_log(desk.database, sight, AuditFilter(**wanted))
    entries = [entry["decision_id"] for entry in found["logs"]]
    return sorted(each for each in entries if not each.startswith("adm_"))


async def test_a_key_without_the_right_sees_itself(desk: Desk) -> None:
    team, user, _ = await family(desk)
    sight = sight_for("org", user, "user", "a", all_usage=False)
    assert await seen(desk, sight) == ["d2"]
    assert await seen(desk, sight, key_id=user) == ["d2"]
    for other in (team, "nobody"):
        with pytest.raises(Forbidden, match=r"use one that has `permissions.view_all_usage`"):
            await seen(desk, sight, key_id=other)


async def test_a_team_level_key_sees_its_team_and_who_changed_its_keys(desk: Desk) -> None:
    team, user, other = await family(desk)
    sight = sight_for("org", team, "team", "a", all_usage=True)
    assert await seen(desk, sight) == ["d1", "d2"]
    assert await seen(desk, sight, key_id=user) == ["d2"]
    with pytest.raises(NotFound):
        await seen(desk, sight, key_id=other)
    found = (await audit_log(desk.database, sight, AuditFilter(action="keys.create")))["logs"]
    assert [entry["metadata"]["target_key_id"] for entry in found] == [user, team]


async def test_an_organization_level_key_sees_everything_in_it(desk: Desk) -> None:
    await family(desk)
    await desk.take(held("d9", organization_id="org2"), spool="d9")
    sight = sight_for("org", desk.root.key_id, "organization", "", all_usage=True)
    assert await seen(desk, sight) == ["d1", "d2", "d3"]


async def test_another_key_with_the_right_sees_those_below_it(desk: Desk) -> None:
    _, _, other = await family(desk)
    below = await desk.create(parent_key_id=other)
    chain = (below["id"], other, desk.root.key_id)
    await desk.take(held("d4", chain=chain, at=NOON + 1), spool="d4")
    sight = sight_for("org", other, "application", "", all_usage=True)
    assert await seen(desk, sight) == ["d3", "d4"]
    assert await seen(desk, sight, key_id=below["id"]) == ["d4"]
    assert await seen(desk, sight, status="pending", model="gpt-4o") == ["d3", "d4"]
    with pytest.raises(NotFound):
        await seen(desk, sight, key_id=desk.root.key_id)
