"""A control plane's database, and records to put into its ledger."""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from msgspec.structs import replace

from pdp.control import access
from pdp.control.ingest import ingest
from pdp.control.initialize import Initialized, initialize
from pdp.control.keys import Actor, Keys, Resource
from pdp.control.sight import sight_of
from pdp.errors import InvalidDocument
from pdp.quota.hold import Hold, Window
from pdp.records import Denied, Expired, Facts, Held, Record, Settled, encode
from pdp.store.database import Database
from pdp.store.migrate import migrate
from pdp.store.schema import audit, key_spend, metadata, usage_daily
from pdp.store.sight import Sight

NOON = 1_795_435_200 * 1_000_000_000
"""2026-11-23T12:00:00Z."""
SECOND = 1_000_000_000
DAY, MONTH = 1_795_392_000, 1_793_491_200
"""Where the windows of `NOON` begin, in seconds."""
PEPPER = b"p" * 64


def operator_of(root: Initialized) -> Actor:
    """Return the operator of an organization, as the CLI is."""
    return access.operator_of(root.key_id, root.organization_id)


class Desk:
    """A migrated database with one organization; time stands unless a test moves it."""

    def __init__(self, database: Database, root: Initialized, url: str) -> None:
        self.database = database
        self.url = url
        self.keys = Keys(database, PEPPER)
        self.root = root
        self.actor = operator_of(root)
        self.now = NOON
        self.whose: dict[str, tuple[str, str]] = {}
        """Team and user of the keys made here."""

    async def create(self, **body: Any) -> Resource:
        """Make a key; each one a second after the one before, so that their order is known."""
        self.now += SECOND
        made = await self.keys.create(self.actor, {"name": "key", **body}, self.now)
        self.whose[made["id"]] = made["team_id"] or "", made["user_id"] or ""
        return made

    async def take(self, *records: Record, first: int = 0, spool: str = "spool") -> int:
        """Ingest records."""
        return await ingest(self.database, spool, first, list(map(encode, records)))

    async def dump(self) -> dict[str, list[tuple[Any, ...]]]:
        """Return every row of every table."""
        async with self.database.reading() as connection:
            found = {}
            for table in metadata.sorted_tables:
                query = sa.select(table).order_by(*table.primary_key.columns)
                found[table.name] = [tuple(row) for row in await connection.execute(query)]
            return found


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    """Give a database of the newest schema."""
    database = Database(url)
    try:
        await migrate(database)
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def opened_desk(url: str, timezone: str = "UTC") -> AsyncIterator[Desk]:
    """Give a desk with an initialized organization, which may be there already."""
    async with opened(url) as database:
        root = await initialize(database, PEPPER, NOON, "org", "Org", timezone)
        yield Desk(database, root, url)


def sight_for(
    organization_id: str, key_id: str, key_type: str, team_id: str, *, all_usage: bool
) -> Sight:
    """Return what a key sees, with and without `view_all_usage`."""
    rights = frozenset({"view_all_usage"} if all_usage else ())
    return sight_of(Actor(key_id, organization_id, rights, key_type, team_id))


async def rows(database: Database) -> dict[str, dict[str, Any]]:
    """Return the ledger's rows by decision."""
    async with database.reading() as connection:
        found = (await connection.execute(sa.select(audit))).mappings()
        return {row["decision_id"]: dict(row) for row in found}


async def spend(database: Database) -> dict[tuple[str, str, int], tuple[int, ...]]:
    """Return (cost, tokens, requests, held cost, held tokens) by (key, period, start)."""
    async with database.reading() as connection:
        return {tuple(row[:3]): tuple(row[3:]) for row in await _all(connection, key_spend)}


async def used(database: Database) -> dict[tuple[str, int, str, str], tuple[int, ...]]:
    """Return (requests, prompt, completion, cached, cost) by (key, day, model, provider)."""
    async with database.reading() as connection:
        return {tuple(row[:4]): tuple(row[7:]) for row in await _all(connection, usage_daily)}


async def _all(connection: Any, table: sa.Table) -> Sequence[Any]:
    found: Sequence[Any] = (await connection.execute(sa.select(table))).all()
    return found


async def status(desk: Desk, key_id: str) -> str:
    """Return the status that a key shows."""
    found: str = (await desk.keys.get(desk.actor, key_id, desk.now))["status"]
    return found


async def refused(desk: Desk, body: Any, *locations: str) -> None:
    """Creating says what is wrong at exactly these places, and leaves no trace."""
    before = await desk.dump()
    with pytest.raises(InvalidDocument) as caught:
        await desk.keys.create(desk.actor, body, desk.now)
    problems = caught.value.problems
    assert sorted(each.location for each in problems) == sorted(locations)
    for each in problems:
        assert re.fullmatch(r"[^A-Z.].*[^.]", each.message, re.DOTALL), each.message
    assert await desk.dump() == before


def windows(*key_ids: str) -> tuple[Window, ...]:
    """Return the windows of `NOON`, leaf first."""
    return tuple(Window(key_id, DAY, MONTH) for key_id in key_ids)


def facts(decision_id: str, key_id: str = "leaf", **fields: Any) -> Facts:
    """Return what is known of a request at its Check."""
    known = Facts(
        decision_id,
        f"req_{decision_id}",
        key_id,
        key_id.title(),
        "org",
        "team",
        "user",
        "chat:completions",
        "gpt-4o",
        "openai",
        "203.0.113.42",
        "openai-python/1.3.0",
        {"app_name": "support"},
    )
    return replace(known, **fields)


def held(
    decision_id: str,
    cost: int | None = 100,
    tokens: int = 10,
    chain: tuple[str, ...] = ("leaf", "root"),
    at: int = NOON,
    **fields: Any,
) -> Held:
    """Return the record of a hold."""
    known = facts(decision_id, chain[0], **fields)
    hold = Hold(
        reservation_id=f"res_{decision_id}",
        decision_id=decision_id,
        key_id=chain[0],
        request_id=known.request_id,
        fingerprint=0,
        action=known.action,
        model=known.model,
        provider=known.provider,
        cost=cost,
        input_cost=0,
        tokens=tokens,
        prompt_tokens=tokens,
        windows=windows(*chain),
        admitted_at=at,
        expires_at=at + 600 * SECOND,
    )
    return Held(at, known, hold, ())


def settled(of: Held, cost: int | None = 40, prompt: int = 3, **fields: Any) -> Settled:
    """Return the record that settles a hold; facts beyond the ids say nothing."""
    hold = of.hold
    said = {name: fields.pop(name) for name in Facts.__struct_fields__ if name in fields}
    silent: dict[str, Any] = dict.fromkeys(Facts.__struct_fields__, "") | {"metadata": {}}
    told = replace(facts(hold.decision_id), **silent | _ids(hold))
    usual = Settled(
        at=of.at + SECOND,
        facts=replace(told, **said),
        reservation_id=hold.reservation_id,
        status="success",
        http_status=200,
        prompt_tokens=prompt,
        completion_tokens=4,
        cached_tokens=1,
        counted_tokens=prompt + 4,
        cost=cost,
        latency_ms=245,
        started_at=None,
        usage_source="provider",
        windows=hold.windows,
    )
    return replace(usual, **fields)


def _ids(hold: Hold) -> dict[str, str]:
    return {
        "decision_id": hold.decision_id,
        "request_id": hold.request_id,
        "key_id": hold.key_id,
    }


def unchecked(decision_id: str, cost: int | None = 40, **fields: Any) -> Settled:
    """Return the record of a usage that nobody asked for beforehand."""
    usual = settled(held(decision_id), cost)
    return replace(usual, facts=facts(decision_id), reservation_id="", **fields)


def expired(of: Held, cost: int = 100, tokens: int = 10) -> Expired:
    """Return the record of a hold that ran out."""
    hold = of.hold
    return Expired(
        hold.expires_at,
        hold.decision_id,
        hold.reservation_id,
        hold.key_id,
        hold.request_id,
        cost,
        tokens,
        hold.windows,
    )


def denied(decision_id: str, reason: str = "budget_exceeded", **fields: Any) -> Denied:
    """Return the record of a denial."""
    return Denied(NOON, facts(decision_id, **fields), reason, 403, ("leaf", "root"))
