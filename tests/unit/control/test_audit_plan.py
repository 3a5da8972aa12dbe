"""How the database finds a page of the audit log: along an index, and nothing is sorted whole."""

import re
from itertools import combinations
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from pdp.store.audit import ASKED_BY, page_query, probe_query
from pdp.store.schema import audit
from tests.unit.control.desk import NOON, Desk, held

MANY = 2000
SPAN = (audit.c.organization_id == "org", audit.c.at >= NOON, audit.c.at < NOON + MANY)


async def plan_of(connection: AsyncConnection, query: Any) -> str:
    """Return what the database says it will do."""
    compiled = query.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True})
    explain = "EXPLAIN QUERY PLAN "
    if connection.dialect.name == "postgresql":
        explain = "EXPLAIN "
        # Of a table as small as a test's it reads all, and sorts: would it not have to?
        for name in ("seqscan", "bitmapscan", "sort"):
            await connection.execute(sa.text(f"SET LOCAL enable_{name} = off"))
    rows = await connection.execute(sa.text(explain + str(compiled).replace(":", r"\:")))
    return "\n".join(str(row[-1]) for row in rows)


def check(plan: str, path: str | None) -> None:
    """Require one index, from which the rows come in their order."""
    name = "ix_audit_organization_id_audit_" + (f"{path}_audit_at" if path else "at")
    if "Index" in plan:
        check_postgresql(plan, name)
        return
    assert re.search(rf"INDEX {name}\b", plan), plan
    assert not re.search(r"\bSCAN ", plan), plan
    # Rows of one instant may be put in order among themselves, the rest is in order.
    for line in plan.splitlines():
        if "TEMP B-TREE" in line:
            assert "RIGHT PART" in line, plan


def check_postgresql(plan: str, name: str) -> None:
    """The same; where every row is of one key, it knows that the time alone will do."""
    whole = "ix_audit_organization_id_audit_at"
    assert re.search(rf"Index (Only )?Scan Backward using ({name}|{whole}) ", plan), plan
    assert "Seq Scan" not in plan
    assert not re.search(r"(?<!Incremental )Sort  \(", plan), plan


async def fill(desk: Desk) -> None:
    """Give the planner something to think about."""
    await desk.take(
        *(
            held(f"d{number}", at=NOON + number, model=f"m{number % 7}", team_id=f"t{number % 5}")
            for number in range(MANY)
        )
    )
    async with desk.database.writing() as connection:
        if connection.dialect.name == "postgresql":
            await connection.execute(sa.text("ANALYZE audit"))


VALUES = {
    "request_id": "req_d7",
    "key_id": "leaf",
    "team_id": "t1",
    "model": "m1",
    "status": "pending",
    "action": "chat:completions",
    "provider": "openai",
}


def test_every_column_that_can_be_asked_for_is_tried() -> None:
    assert set(VALUES) == set(ASKED_BY)


@pytest.mark.parametrize("path", [None, *ASKED_BY])
async def test_one_question_goes_along_its_index(desk: Desk, path: str | None) -> None:
    await fill(desk)
    asked = {path: VALUES[path]} if path else {}
    async with desk.database.reading() as connection:
        for floor in (None, 1):
            plan = await plan_of(connection, page_query(asked, path, SPAN, floor, 100))
            check(plan, path)
        plan = await plan_of(connection, probe_query(path, VALUES.get(path or ""), SPAN, 100))
        check(plan, path)
        if connection.dialect.name == "sqlite":
            assert "COVERING INDEX" in plan


async def test_of_several_questions_the_chosen_one_is_the_way(desk: Desk) -> None:
    await fill(desk)
    async with desk.database.reading() as connection:
        for one, other in combinations(ASKED_BY, 2):
            asked = {name: VALUES[name] for name in (one, other)}
            for path in (one, other, None):
                query = page_query(asked, path, SPAN, 1, 100)
                check(await plan_of(connection, query), path)


async def test_all_questions_at_once_go_along_one_index(desk: Desk) -> None:
    await fill(desk)
    async with desk.database.reading() as connection:
        for path in ASKED_BY:
            check(await plan_of(connection, page_query(VALUES, path, SPAN, 1, 100)), path)


async def test_a_plan_without_the_index_would_be_seen(desk: Desk) -> None:
    await fill(desk)
    async with desk.database.writing() as connection:
        await connection.execute(
            sa.text("DROP INDEX ix_audit_organization_id_audit_model_audit_at")
        )
        if connection.dialect.name == "postgresql":
            await connection.execute(sa.text("DROP INDEX ix_audit_organization_id_audit_at"))
        query = page_query({"model": "m1"}, "model", SPAN, None, 100)
        with pytest.raises(AssertionError):
            check(await plan_of(connection, query), "model")
