"""Pages of keys are read in their order from an index: no scan, no sort, however many there are."""

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from pdp.store.key_list import Reach, Wanted, list_keys
from tests.store import Store
from tests.unit.control.desk import NOON, opened_desk

ORG, TEAM, BELOW = Reach("org"), Reach("org", team_id="a"), Reach("org", below="key_a")
AFTER = (NOON, "key_x")


async def plan_of(connection: AsyncConnection, reach: Reach, wanted: Wanted) -> list[str]:
    """Return SQLite's plan of a page."""
    asked: list[tuple[str, Any]] = []

    def note(_: object, __: object, statement: str, parameters: Any, *___: object) -> None:
        asked.append((statement, parameters))

    engine = connection.sync_connection
    assert engine is not None
    sa.event.listen(engine, "before_cursor_execute", note)
    await list_keys(connection, reach, wanted)
    sa.event.remove(engine, "before_cursor_execute", note)
    ((statement, parameters),) = asked
    found = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", tuple(parameters))
    return [str(row._mapping["detail"]) for row in found]


@pytest.mark.parametrize("after", [None, AFTER])
@pytest.mark.parametrize(
    ("reach", "wanted", "index"),
    [
        (ORG, {}, "ix_api_keys_organization_id"),
        (ORG, {"team_id": "a"}, "ix_api_keys_team_id "),
        (ORG, {"user_id": "u"}, "ix_api_keys_user_id "),
        (ORG, {"key_type": "team"}, "ix_api_keys_key_type "),
        (ORG, {"status": "active"}, "ix_api_keys_status "),
        (ORG, {"status": "revoked"}, "ix_api_keys_status "),
        (ORG, {"status": "suspended"}, "ix_api_keys_status "),
        (ORG, {"status": "expired"}, "ix_api_keys_"),
        (ORG, {"secret_before": NOON}, "ix_api_keys_organization_id"),
        (TEAM, {}, "ix_api_keys_team_id "),
        (TEAM, {"status": "revoked"}, "ix_api_keys_team_id "),
        (TEAM, {"status": "expired"}, "ix_api_keys_team_id "),
        (ORG, {"user_id": "u", "status": "active"}, "ix_api_keys_user_id "),
        (TEAM, {"user_id": "u"}, "ix_api_keys_"),
    ],
)
async def test_a_page_is_read_in_order_from_an_index(
    sqlite_store: Store,
    reach: Reach,
    wanted: dict[str, Any],
    index: str,
    after: tuple[int, str] | None,
) -> None:
    async with (
        sqlite_store.initialized() as url,
        opened_desk(url) as desk,
        desk.database.reading() as connection,
    ):
        plan = await plan_of(connection, reach, Wanted(now=NOON, after=after, **wanted))
    steps = [step for step in plan if "api_keys" in step]
    assert steps, plan
    assert any(index in f"{step} " for step in steps), plan
    assert not [step for step in plan if "TEMP B-TREE" in step or step.startswith("SCAN api_keys")]


async def test_what_is_below_a_key_is_walked_to_from_it(sqlite_store: Store) -> None:
    async with (
        sqlite_store.initialized() as url,
        opened_desk(url) as desk,
        desk.database.reading() as connection,
    ):
        plan = await plan_of(connection, BELOW, Wanted(now=NOON))
    assert not [step for step in plan if step.startswith("SCAN api_keys")], plan
    assert any("ix_api_keys_parent_key_id" in step for step in plan), plan
