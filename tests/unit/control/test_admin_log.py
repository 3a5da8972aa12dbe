"""Changes by administrators: who, what, and what was before, without secrets."""

from typing import Any

import pytest
from msgspec.structs import replace

from pdp.control.access import Origin
from pdp.control.admin_log import ADMIN_ACTIONS, log_change
from pdp.control.audit import audit_log
from pdp.store.audit import AuditFilter
from pdp.store.keys import KeyRow, get_key
from pdp.store.reconcile import unchecked
from pdp.store.sight import Sight
from tests.unit.control.callers import manager
from tests.unit.control.desk import Desk

HOOKS = {"enabled": True, "url": "https://x.example/h", "secret": "whsec_c2VjcmV0"}


async def row_of(desk: Desk, key_id: str) -> KeyRow:
    async with desk.database.reading() as connection:
        row = await get_key(connection, key_id)
    assert row is not None
    return row


async def noted(
    desk: Desk, action: str, rows: list[KeyRow], before: list[KeyRow] | None
) -> list[dict[str, Any]]:
    """Log a change; return its entries."""
    async with desk.database.writing() as connection:
        await log_change(connection, desk.actor, action, rows, desk.now, before=before)
    found = await audit_log(desk.database, Sight("org"), AuditFilter(action=action))
    entries: list[dict[str, Any]] = found["logs"]
    return entries


async def test_a_new_key_is_told_with_all_it_has_but_secrets(desk: Desk) -> None:
    made = await desk.create(
        name="Mobile", team_id="a", webhooks=HOOKS, permissions={"models": ["gpt-4o"]}
    )
    found = await audit_log(desk.database, Sight("org"), AuditFilter(action="keys.create"))
    (entry,) = found["logs"]
    assert (entry["api_key_id"], entry["api_key_name"]) == (desk.root.key_id, "root")
    assert (entry["status"], entry["cost_usd"], entry["team_id"]) == ("success", 0.0, "a")
    metadata = entry["metadata"]
    after = metadata.pop("after")
    assert metadata == {
        "target_key_id": made["id"],
        "target_key_name": "Mobile",
        "target_status": "active",
        "before": {},
    }
    assert after["permissions"] == {"models": ["gpt-4o"]}
    assert after["webhooks"] == {**HOOKS, "secret": "whsec_***"}
    assert None not in after.values()
    for secret in (made["api_key"], HOOKS["secret"]):
        assert str(secret) not in str(entry)


async def test_a_change_is_told_by_the_fields_that_changed(desk: Desk) -> None:
    made = await desk.create(name="Mobile", rate_limits={"per_minute": 5})
    old = await row_of(desk, made["id"])
    new = replace(
        old, name="Web", version=9, document=replace(old.document, rate_limits=None, max_requests=7)
    )
    (entry,) = await noted(desk, "keys.update", [new], [old])
    assert entry["metadata"] == {
        "target_key_id": made["id"],
        "target_key_name": "Web",
        "target_status": "active",
        "before": {"name": "Mobile", "rate_limits": {"per_minute": 5}, "max_requests": None},
        "after": {"name": "Web", "rate_limits": None, "max_requests": 7},
    }


async def test_another_webhook_secret_is_a_change_without_either(desk: Desk) -> None:
    made = await desk.create(webhooks=HOOKS)
    old = await row_of(desk, made["id"])
    new = replace(old, document=replace(old.document, webhooks={**HOOKS, "secret": "whsec_bmV3"}))
    (entry,) = await noted(desk, "keys.update", [new], [old])
    shown = {"webhooks": {**HOOKS, "secret": "whsec_***"}}
    assert (entry["metadata"]["before"], entry["metadata"]["after"]) == (shown, shown)


async def test_each_key_is_told_with_its_own_past(desk: Desk) -> None:
    made = [await desk.create(name=name) for name in ("One", "Two", "Three")]
    old = [await row_of(desk, each["id"]) for each in made]
    new = [replace(each, status="suspended") for each in old]
    entries = await noted(desk, "keys.suspend", new, [old[1], old[0]])
    told = {entry["metadata"]["target_key_name"]: entry["metadata"] for entry in entries}
    for name in ("One", "Two"):
        assert told[name]["before"] == {"status": "active"}
        assert told[name]["after"] == {"status": "suspended"}
    assert (told["Three"]["before"], told["Three"]["after"]) == ({}, {})


async def test_it_is_told_where_a_change_was_asked_for(desk: Desk) -> None:
    actor = replace(await manager(desk), origin=Origin("req_1", "192.0.2.1", "curl\0" + "x" * 600))
    await desk.keys.create(actor, {"name": "made"}, desk.now)
    found = await audit_log(desk.database, Sight("org"), AuditFilter(request_id="req_1"))
    (entry,) = found["logs"]
    assert (entry["api_key_id"], entry["ip_address"]) == (actor.key_id, "192.0.2.1")
    assert entry["user_agent"] == "curl\N{REPLACEMENT CHARACTER}" + "x" * 507
    # It is no usage of a request that has the same id.
    async with desk.database.reading() as connection:
        assert await unchecked(connection, "org", ["req_1"]) == {}


async def test_what_the_operator_does_is_told_as_such(desk: Desk) -> None:
    await desk.create()
    found = await audit_log(desk.database, Sight("org"), AuditFilter(action="keys.create"))
    assert found["logs"][0]["user_agent"].startswith("pdp/")


@pytest.mark.parametrize("action", ADMIN_ACTIONS)
async def test_the_log_can_be_asked_for_what_administrators_do(desk: Desk, action: str) -> None:
    made = await desk.create()
    entries = await noted(desk, action, [await row_of(desk, made["id"])], None)
    assert made["id"] in {entry["metadata"]["target_key_id"] for entry in entries}
    assert {entry["action"] for entry in entries} == {action}


async def test_an_action_that_nobody_could_ask_for_is_a_defect(desk: Desk) -> None:
    with pytest.raises(AssertionError):
        await noted(desk, "keys.paint", [await row_of(desk, desk.root.key_id)], None)
