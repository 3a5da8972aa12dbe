"""What administrators do is in the log: who, what, before and after, and no secret."""

from typing import Any

import msgspec

from pdp.control.organizations import update_settings
from tests.unit.control.callers import RIGHTS, actor_of, made_by, manager
from tests.unit.control.desk import Desk, rows

HOOK = {"enabled": True, "url": "https://example.com/h", "events": ["key.revoked"]}


async def entries(desk: Desk, action: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return (row, facts) of the entries of an action."""
    found = [row for row in (await rows(desk.database)).values() if row["action"] == action]
    return [(row, msgspec.json.decode(row["metadata"])) for row in found]


async def test_a_change_tells_who_and_what_it_was_and_became(desk: Desk) -> None:
    actor = await manager(desk, name="Ann")
    made = await made_by(desk, actor, name="a", team_id="t", rate_limits={"per_minute": 1})
    patch = {"name": "b", "rate_limits": {"per_minute": 2}}
    await desk.keys.update(actor, made["id"], patch, desk.now)
    ((row, facts),) = await entries(desk, "keys.update")
    assert (row["key_id"], row["key_name"], row["at"]) == (actor.key_id, "Ann", desk.now)
    assert (row["organization_id"], row["team_id"]) == ("org", "t")
    assert (row["status"], row["http_status"]) == ("success", 200)
    assert facts["target_key_id"] == made["id"]
    for side, name, limit in (("before", "a", 1), ("after", "b", 2)):
        assert facts[side]["name"] == name
        assert facts[side]["rate_limits"] == {"per_minute": limit}
        assert "permissions" not in facts[side]


async def test_every_kind_of_change_makes_an_entry_for_each_key(desk: Desk) -> None:
    made = await desk.create()
    await desk.create(parent_key_id=made["id"])
    keys, now = desk.keys, desk.now
    await keys.rotate(desk.actor, made["id"], {}, now)
    await keys.suspend(desk.actor, made["id"], now)
    await keys.resume(desk.actor, made["id"], now)
    await keys.report_compromised(desk.actor, made["id"], {"reason": "leaked"}, now)
    await keys.revoke(desk.actor, made["id"], now, cascade=True)
    await update_settings(desk.database, desk.actor, {"name": "x"}, now)
    expected = {
        "keys.create": 2,
        "keys.rotate": 1,
        "keys.suspend": 1,
        "keys.resume": 1,
        "keys.report_compromised": 1,
        "keys.revoke": 2,
        "organizations.update": 1,
    }
    found = {action: len(await entries(desk, action)) for action in expected}
    assert found == expected
    ((_, facts),) = await entries(desk, "keys.suspend")
    assert (facts["before"]["status"], facts["after"]["status"]) == ("active", "suspended")
    ((_, facts),) = await entries(desk, "keys.report_compromised")
    assert facts["reason"] == "leaked"


async def test_no_secret_is_in_the_log_nor_a_raw_key_in_the_database(desk: Desk) -> None:
    hooks = ["whsec_canaryone", "whsec_canarytwo"]
    actor = await manager(desk, webhooks={**HOOK, "secret": hooks[0]})
    made = await made_by(desk, actor, webhooks={**HOOK, "secret": hooks[0]}, permissions=RIGHTS)
    raws = [made["api_key"]]
    await desk.keys.update(actor, made["id"], {"webhooks": {"secret": hooks[1]}}, desk.now)
    await desk.keys.update(actor, made["id"], {"webhooks": None}, desk.now)
    raws.append((await desk.keys.rotate(actor, made["id"], {}, desk.now))["api_key"])
    body = {"expires_in": 60, "webhooks": {**HOOK, "secret": hooks[0]}}
    own = await actor_of(desk, {"api_key": raws[-1]})
    raws.append((await desk.keys.create_temporary(own, body, desk.now))["api_key"])
    await desk.keys.report_compromised(actor, made["id"], {"reason": "x"}, desk.now)
    await desk.keys.revoke(actor, made["id"], desk.now, cascade=True)
    dump = await desk.dump()
    told = str(dump["audit"])
    assert "keys.create" in told
    assert not [secret for secret in hooks if secret in told]
    bodies = [raw.rsplit("_", 1)[1] for raw in raws]
    assert not [body for body in bodies if body in str(dump)]
