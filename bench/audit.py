"""The audit log with 10^6 entries: how long the first page of each question takes.

`python -m bench.audit [ROWS]` fills the database of PDP_DATABASE_URL (default: a new SQLite
in a temporary folder) unless that is done, and asks. Times are in ms: the best of the rounds
on the clock, and CPU of this process, which for SQLite is all there is; then how many entries
the page has, `...` where it is short of the end.
"""

import argparse
import asyncio
import os
import random
import tempfile
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from pdp.control.audit import audit_log
from pdp.control.fold import Row
from pdp.control.initialize import initialize
from pdp.errors import NotFound
from pdp.store import ledger
from pdp.store.audit import AuditFilter
from pdp.store.database import Database
from pdp.store.migrate import migrate
from pdp.store.sight import Sight

ORGANIZATION = "org_4f6b1c2d3e4f5a6b"
START = 1_790_000_000_000_000_000
STEP = 2_592_000_000  # 10^6 of them are thirty days.
PEPPER = b"p" * 64
ROUNDS = 5

_MODELS = {
    "openai": ("gpt-4o", "gpt-4o-mini", "o3", "text-embedding-3-small"),
    "anthropic": ("claude-3-5-sonnet-20241022", "claude-3-haiku"),
    "google": ("gemini-2.0-flash",),
}


def entries(rows: int) -> Iterator[Row]:
    """Yield what a month of one organization looks like: a few keys and models do most."""
    dice = random.Random(1)
    for number in range(rows):
        provider = dice.choices(tuple(_MODELS), (70, 29, 1))[0]
        models = _MODELS[provider]
        model = models[min(int(dice.expovariate(1.5)), len(models) - 1)]
        key = min(int(dice.expovariate(0.01)), 1999)
        status = dice.choices(
            ("success", "denied", "error", "expired", "cancelled"), (9500, 400, 80, 19, 1)
        )[0]
        embedding = model.startswith("text-")
        yield Row(
            decision_id=f"dec_{dice.getrandbits(96):024x}",
            at=START + number * STEP,
            key_id=f"key_{key:024d}",
            key_name=f"Service {key}",
            request_id=f"req_{number:032d}",
            organization_id=ORGANIZATION if number % 10 else "org_another",
            team_id=f"team_{key % 40}",
            user_id=f"user_{key}",
            action="embeddings:create" if embedding else "chat:completions",
            model=model,
            provider=provider,
            status=status,
            http_status=200,
            latency_ms=245,
            prompt_tokens=150,
            completion_tokens=200,
            cost=5_250_000,
            charged_cost=5_250_000,
            reservation_id=f"res_{number:020d}",
            usage_source="provider",
            client_ip="203.0.113.42",
            user_agent="openai-python/1.3.0",
            metadata='{"app_name":"customer_support","environment":"production"}',
            ancestors=f'["key_{key:024d}","key_team","key_root"]',
        )


async def fill(database: Database, rows: int) -> None:
    """Insert entries, ten thousand in a transaction."""
    await migrate(database)
    if not (await initialize(database, PEPPER, START, ORGANIZATION, "Bench", "UTC")).api_key:
        return
    waiting = entries(rows)
    while batch := [row for row, _ in zip(waiting, range(10_000), strict=False)]:
        async with database.writing() as connection:
            await ledger.save(connection, batch)
    async with database.writing() as connection:
        # As a database does by itself; only PostgreSQL plans by it here.
        if connection.dialect.name == "postgresql":
            await connection.execute(sa.text("ANALYZE audit"))


def questions() -> Iterator[tuple[str, Sight, dict[str, Any]]]:
    """Yield what people ask: each filter, two together, and what has no answer."""
    whole = Sight(ORGANIZATION)
    month = 1_000_000 * STEP
    parts: dict[str, dict[str, Any]] = {
        "key, busy": {"key_id": f"key_{1:024d}"},
        "key, rare": {"key_id": f"key_{900:024d}"},
        "model, common": {"model": "gpt-4o"},
        "model, rare": {"model": "o3"},
        "provider, common": {"provider": "openai"},
        "provider, rare": {"provider": "google"},
        "status success": {"status": "success"},
        "status denied": {"status": "denied"},
        "status cancelled": {"status": "cancelled"},
        "status pending": {"status": "pending"},
        "action chat": {"action": "chat:completions"},
        "action images": {"action": "images:generate"},
        "a week ago": {"end": START + month * 3 // 4},
        "one hour": {"start": START + month // 2, "end": START + month // 2 + 3_600 * 10**9},
    }
    yield "everything", whole, {}
    yield "one request", whole, {"request_id": f"req_{123_456:032d}"}
    yield "one team", Sight(ORGANIZATION, team_id="team_7"), {}
    yield "one key's own", Sight(ORGANIZATION, key_id=f"key_{1:024d}"), {}
    yield "one key's own errors", Sight(ORGANIZATION, key_id=f"key_{1:024d}"), {"status": "error"}
    for name, part in parts.items():
        yield name, whole, part
    pairs = [
        pair
        for pair in product(parts.items(), repeat=2)
        if pair[0][0] < pair[1][0] and not set(pair[0][1]) & set(pair[1][1])
    ]
    for (first, one), (second, other) in pairs:
        yield f"{first} + {second}", whole, {**one, **other}
    for name, part in parts.items():
        if "key_id" not in part:
            yield f"one team + {name}", Sight(ORGANIZATION, team_id="team_7"), part


async def ask(database: Database) -> float:
    """Print how long each question takes; return the longest of the best times."""
    longest = 0.0
    for name, sight, wanted in questions():
        times, costs = [], []
        for _ in range(ROUNDS):
            began, worked = time.perf_counter(), time.process_time()
            try:
                found = await audit_log(database, sight, AuditFilter(**wanted))
            except NotFound:
                found = {"logs": [], "next_cursor": None}
            times.append((time.perf_counter() - began) * 1000)
            costs.append((time.process_time() - worked) * 1000)
        short = "..." if found["next_cursor"] and len(found["logs"]) < 100 else ""
        print(f"{min(times):7.1f} {min(costs):7.1f}  {len(found['logs']):4}{short:3}  {name}")
        longest = max(longest, min(times))
    return longest


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", nargs="?", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        url = os.environ.get("PDP_DATABASE_URL", f"sqlite+aiosqlite:///{Path(folder) / 'pdp.db'}")
        database = Database(url)
        try:
            began = time.perf_counter()
            await fill(database, rows)
            print(f"{rows} entries in {time.perf_counter() - began:.0f} s")
            print(f"the slowest question: {await ask(database):.1f} ms")
        finally:
            await database.close()


if __name__ == "__main__":
    asyncio.run(main())
