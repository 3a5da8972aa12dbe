"""Keys by the million: what the admin API's calls cost as the store fills.

    .venv/bin/python -m bench.keys [KEYS ...]

Prints ms of each call, the median of several, at every number of keys (default 1,000,
100,000 and 1,000,000; about 1 GB at the last). It fills the database of PDP_DATABASE_URL,
which is to be empty, or else a new SQLite in a temporary folder.
"""

import asyncio
import os
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from pdp.control.initialize import initialize
from pdp.control.keys import Actor, KeyFilter, Keys
from pdp.control.resolve import resolve
from pdp.secret import hash_secret, last_four_of, make_secret, prefix_of
from pdp.store.database import Database
from pdp.store.migrate import migrate
from pdp.store.schema import api_keys
from pdp.store.schema import secrets as secret_table
from pdp.store.sqlite import default_url

_NUMBERS = (1_000, 100_000, 1_000_000)
_CHUNK, _RUNS, _TEAM = 20_000, 15, 500
_NOW = 1_795_435_200 * 10**9
_PEPPER = b"b" * 64
_DOCUMENT = (
    '{"permissions":{"models":["gpt-4o","claude-3-5-sonnet-20241022"],"monthly_budget":5000.0},'
    '"rate_limits":{"per_minute":60,"burst":10},"metadata":{"app":"support","env":"prod"}}'
)


class Store:
    """A database that fills: teams of 500 keys, one in twenty revoked, one in thirty expired."""

    def __init__(self, database: Database, root: str) -> None:
        self.database = database
        self.root = root
        self.filled = 0
        self.sample: list[bytes] = []

    async def fill(self, upto: int) -> None:
        """Insert keys and secrets as they are stored, many at once."""
        while self.filled < upto:
            numbers = range(self.filled, min(upto, self.filled + _CHUNK))
            async with self.database.writing() as connection:
                await connection.execute(sa.insert(api_keys), [self._key(n) for n in numbers])
                await connection.execute(
                    sa.insert(secret_table), [self._secret(n) for n in numbers]
                )
            self.filled = numbers.stop
        async with self.database.writing() as connection:
            await connection.exec_driver_sql("ANALYZE")  # PostgreSQL does so by itself, later.

    def _key(self, number: int) -> dict[str, Any]:
        team, place = divmod(number, _TEAM)
        return {
            "id": f"key_{number:024x}",
            "organization_id": "org",
            "version": number + 2,
            "status": "revoked" if number % 20 == 7 else "active",
            "key_type": "user" if place else "team",
            "name": f"Key {number}",
            "team_id": f"team_{team}",
            "user_id": f"user_{number % 9973}" if place else "",
            "parent_key_id": f"key_{team * _TEAM:024x}" if place else self.root,
            "granted_by": self.root,
            "permissions_apply_to": "self",
            "environment": "prod",
            "document": _DOCUMENT,
            "created_at": _NOW + number,
            "expires_at": _NOW if number % 30 == 11 else None,
        }

    def _secret(self, number: int) -> dict[str, Any]:
        raw = make_secret("prod", secrets.token_bytes(24))
        hashed = hash_secret(raw, _PEPPER)
        if number % 997 == 1:
            self.sample.append(hashed)
        return {
            "hash": hashed,
            "key_id": f"key_{number:024x}",
            "prefix": prefix_of(raw),
            "last_four": last_four_of(raw),
            "created_at": _NOW + number,
        }


async def measured(store: Store, keys: Keys, admin: Actor, team: Actor) -> dict[str, float]:
    """Return the median ms of every call."""
    now = _NOW + 10**12
    middle = (await keys.list(admin, now, KeyFilter(limit=1)))["next_cursor"]

    def some(**wanted: Any) -> KeyFilter:
        return KeyFilter(limit=100, **wanted)

    def key_id() -> str:
        return f"key_{secrets.randbelow(store.filled):024x}"

    calls: dict[str, Callable[[], Awaitable[Any]]] = {
        "create": lambda: keys.create(admin, {"name": "new"}, now),
        "create in a team": lambda: keys.create(admin, {"team_id": "team_1"}, now),
        "get": lambda: keys.get(admin, key_id(), now),
        "patch": lambda: keys.update(admin, f"key_{0:024x}", {"name": secrets.token_hex(4)}, now),
        "first resolve": lambda: resolve(store.database, secrets.choice(store.sample), ""),
        "list": lambda: keys.list(admin, now, some()),
        "list, next page": lambda: keys.list(admin, now, some(), middle),
        "list of a team": lambda: keys.list(admin, now, some(team_id="team_1")),
        "list of a user": lambda: keys.list(admin, now, some(user_id="user_17")),
        "list, revoked": lambda: keys.list(admin, now, some(status="revoked")),
        "list, expired": lambda: keys.list(admin, now, some(status="expired")),
        "list, suspended": lambda: keys.list(admin, now, some(status="suspended")),
        "list, organization-level": lambda: keys.list(admin, now, some(key_type="organization")),
        "list, older than 90 d": lambda: keys.list(admin, now, some(older_than=90 * 86_400)),
        "list by a team's key": lambda: keys.list(team, now, some()),
        "the same, expired": lambda: keys.list(team, now, some(status="expired")),
    }
    found: dict[str, float] = {}
    for name, call in calls.items():
        times = []
        for _ in range(_RUNS):
            start = time.perf_counter()
            await call()
            times.append(time.perf_counter() - start)
            if sum(times) > 5:
                break
        found[name] = statistics.median(times) * 1000
    return found


async def play(url: str, numbers: list[int]) -> None:
    """Fill and measure."""
    database = Database(url)
    await migrate(database)
    root = await initialize(database, _PEPPER, _NOW, "org", "Org", "UTC")
    store, keys = Store(database, root.key_id), Keys(database, _PEPPER)
    admin = await keys.actor()
    rows = []
    for number in numbers:
        await store.fill(number)
        last, rights = number // _TEAM - 1, frozenset({"manage_keys"})
        head = f"key_{last * _TEAM:024x}"
        team = Actor(head, "org", rights, "team", team_id=f"team_{last}")
        rows.append(await measured(store, keys, admin, team))
    await database.close()
    print(f"{'ms':26}" + "".join(f"{number:>12,}" for number in numbers))
    for name in rows[0]:
        print(f"{name:26}" + "".join(f"{row[name]:12.2f}" for row in rows))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="pdp-bench-") as made:
        address = os.environ.get("PDP_DATABASE_URL", default_url(Path(made)))
        asyncio.run(play(address, list(map(int, sys.argv[1:])) or list(_NUMBERS)))
