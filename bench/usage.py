"""Usage at 10^6 entries: what each group costs, and that it is what the entries add up to.

    .venv/bin/python -m bench.usage [ROWS]

Fills the database of PDP_DATABASE_URL (default: a new SQLite in a temporary folder) with
entries of a month (bench.audit) and the sums that the ledger keeps with them. Times are in
ms, the best of the rounds: on the clock, and CPU of this process, which for SQLite is all
there is. `raw` is the same question to the entries themselves. At last retention deletes
three quarters of them, and the sums must stay.
"""

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bench.audit import ORGANIZATION, PEPPER, START, entries
from pdp.control.fold import Fold, Row
from pdp.control.initialize import initialize
from pdp.control.retention import Retention
from pdp.control.usage import GROUPS, usage_by_group
from pdp.quota.calendar import Calendar
from pdp.quota.hold import Window
from pdp.store import ledger
from pdp.store.database import Database
from pdp.store.migrate import migrate
from pdp.store.schema import api_keys, audit
from pdp.store.sight import Sight

ROUNDS = 5
MONTH = 30 * 86_400 * 10**9
_LOT = 10_000
_COLUMNS = {"key": "key_id", "team": "team_id", "user": "user_id"}


def sums(rows: list[Row], calendar: Calendar) -> dict[Any, Any]:
    """Return what the ledger adds to its sums of days for entries that are settled."""
    fold = Fold({}, {})
    for row in rows:
        if row.status != "denied":
            fold._use(row, (Window(row.key_id, calendar.day(row.at)[0], 0),))  # noqa: SLF001
    return fold.usage


async def fill(database: Database, rows: int) -> None:
    """Insert entries with their sums, and the keys that they are of."""
    await migrate(database)
    if not (await initialize(database, PEPPER, START, ORGANIZATION, "Bench", "UTC")).api_key:
        return
    calendar, waiting = Calendar("UTC"), mine(rows)
    await make_keys(database)
    while batch := list(islice(waiting, _LOT)):
        async with database.writing() as connection:
            await ledger.save(connection, batch)
            await ledger.add_usage(connection, sums(batch, calendar))
    async with database.writing() as connection:
        if connection.dialect.name == "postgresql":
            await connection.execute(sa.text("ANALYZE"))


def mine(rows: int) -> Iterator[Row]:
    """Yield the entries of bench.audit, all of one organization and one month."""
    for number, row in enumerate(entries(rows)):
        row.organization_id = ORGANIZATION
        row.at = START + number * MONTH // rows
        yield row


async def make_keys(database: Database) -> None:
    """Copy the root key to the keys that the entries name."""
    async with database.writing() as connection:
        root = dict((await connection.execute(sa.select(api_keys))).mappings().one())
        await connection.execute(
            sa.insert(api_keys),
            [
                {**root, "id": f"key_{n:024d}", "name": f"Service {n}", "key_type": "application"}
                for n in range(2000)
            ],
        )


async def raw(database: Database, group: str) -> dict[Any, tuple[int, int]]:
    """Return (requests, nano-USD) by the values of a group, from the entries."""
    day = audit.c.at - audit.c.at % 86_400_000_000_000
    column = day if group == "day" else audit.c[_COLUMNS.get(group, group)]
    query = (
        sa.select(column, sa.func.count(), sa.func.sum(audit.c.charged_cost))
        .where(audit.c.organization_id == ORGANIZATION, ~audit.c.status.in_(("denied", "pending")))
        .where(audit.c.decision_id.like("dec_%"))
        .group_by(column)
    )
    async with database.reading() as connection:
        return {row[0]: (int(row[1]), int(row[2])) for row in await connection.execute(query)}


async def told(database: Database, group: str, **asked: Any) -> list[tuple[int, int]]:
    """Return the same, as the use case tells it, all pages."""
    found, cursor = [], None
    while True:
        page = await usage_by_group(database, Sight(ORGANIZATION), group, cursor=cursor, **asked)
        found += [(row["requests"], round(row["cost_usd"] * 1e9)) for row in page["usage"]]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


async def timed(work: Callable[[], Awaitable[Any]], rounds: int = ROUNDS) -> tuple[float, float]:
    """Return the best (ms on the clock, ms of CPU)."""
    best = []
    for _ in range(rounds):
        began, worked = time.perf_counter(), time.process_time()
        await work()
        best.append((time.perf_counter() - began, time.process_time() - worked))
    return min(each[0] for each in best) * 1e3, min(each[1] for each in best) * 1e3


async def ask(database: Database) -> None:
    """Print what each group costs, and compare it with the entries."""
    print("group      all      cpu |   a day     cpu |      raw     cpu")
    for group in GROUPS:
        whole = await timed(lambda group=group: told(database, group))
        day = await timed(
            lambda group=group: told(database, group, start="2026-10-01", end="2026-10-01")
        )
        entry = await timed(lambda group=group: raw(database, group), 1)
        assert sorted(await told(database, group)) == sorted((await raw(database, group)).values())
        figures = " | ".join(f"{clock:8.1f} {cpu:7.1f}" for clock, cpu in (whole, day, entry))
        print(f"{group:8} {figures}", flush=True)


async def retain(database: Database, rows: int) -> None:
    """Delete what is older than a quarter of the month; sums stay."""
    before = {group: await told(database, group) for group in GROUPS}
    now = START + MONTH + 8 * 86_400 * 10**9  # Expired ones go a week later.
    began, worked = time.perf_counter(), time.process_time()
    gone = await Retention(database, 15, lambda: now, lambda _: asyncio.sleep(0)).sweep()
    seconds, cpu = time.perf_counter() - began, time.process_time() - worked
    print(f"retention: {gone} entries in {seconds:.1f} s, {cpu / max(1, gone) * 1e6:.1f} us of CPU")
    assert {group: await told(database, group) for group in GROUPS} == before


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", nargs="?", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        url = os.environ.get("PDP_DATABASE_URL", f"sqlite+aiosqlite:///{Path(folder) / 'pdp.db'}")
        database = Database(url)
        try:
            await fill(database, rows)
            await ask(database)
            await retain(database, rows)
        finally:
            await database.close()


if __name__ == "__main__":
    asyncio.run(main())
