"""One run: traffic under kill -9, then counters and ledger against the oracle."""

import asyncio
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing

from msgspec import Struct

from tests.crash.oracle import Asked, Key, Sums, run_out, sums_of
from tests.crash.traffic import HELD_COST, HELD_TOKENS, Book, Client
from tests.stack import Stack, eventually_async

TARGETS = ("data", "control", "both", "supervisor")
_CLIENTS = 6
_PLENTY = 100_000.0
_LONG = 120.0


class Done(Struct, frozen=True):
    """What a run did."""

    kills: Counter[str]
    reports: int
    again: int
    seconds: float
    asked: int
    expired: int


def make_keys(stack: Stack) -> tuple[Key, ...]:
    """Make two teams of two keys each below the root; all have limits that show their sums."""
    limits = {
        "budget_limits": {"total": _PLENTY},
        "token_limits": {"total": 10**12},
        "permissions": {"max_requests": 10**9},
    }
    root = stack.root["key_id"]
    keys: list[Key] = []
    for name in ("a", "b"):
        team = stack.create_key(key_type="team", team_id=name, **limits)
        keys.append(Key(team["id"], team["api_key"], (team["id"], root)))
        for _ in range(2):
            key = stack.create_key(team_id=name, **limits)
            keys.append(Key(key["id"], key["api_key"], (key["id"], team["id"], root)))
    return tuple(keys)


async def crash(stack: Stack, kills: int, reports: int, seed: str, *, expire: bool = False) -> Done:
    """Run a stack that is initialized, with `kills` among `reports` at least, and compare.

    `expire`: wait until what nobody reported has run out.
    """
    keys, book, dice = make_keys(stack), Book(), random.Random(seed)
    stack.start()
    began, killed = time.monotonic(), Counter[str]()
    stop = asyncio.Event()
    async with stack.channel() as channel:
        clients = [
            Client(channel, keys, book, random.Random(f"{seed} {i}")) for i in range(_CLIENTS)
        ]
        running = [asyncio.create_task(each.run(f"c{i}", stop)) for i, each in enumerate(clients)]
        for number in range(kills):
            await _moment(book, reports * number // kills, running, dice)
            target = dice.choice(TARGETS)
            await asyncio.to_thread(_kill, stack, target)
            killed[target] += 1
        await _moment(book, reports, running, dice)
        stop.set()
        await asyncio.gather(*running)
    seconds = time.monotonic() - began
    if expire:
        run_out(book.asked)
        await eventually_async(lambda: _nothing_held(stack, keys), "all holds ran out", _LONG)
    stack.wait_ready()
    stack.settle(_LONG)
    with closing(sqlite3.connect(stack.data_dir / "pdp.db")) as database:
        check_entries(database, book, expire=expire)
        check_sums(database, stack.root["key_id"], book.asked)
    await check_counters(stack, keys, book.asked)
    expired = sum(each.status == "expired" for each in book.asked)
    return Done(killed, book.reports, book.again, seconds, len(book.asked), expired)


async def _moment(
    book: Book, reports: int, running: Sequence[asyncio.Task[None]], dice: random.Random
) -> None:
    """Wait for so many reports, and a little more or not; a client that fails ends it."""

    async def there() -> bool:
        for task in running:
            if task.done():
                task.result()
        return book.reports >= reports

    await eventually_async(there, f"{reports} reports are taken", _LONG)
    await asyncio.sleep(dice.random() * dice.choice((0.01, 0.3, 1.5)))


def _kill(stack: Stack, target: str) -> None:
    """kill -9: a plane, both at once, or the supervisor, which takes both with it."""
    if target == "supervisor":
        stack.kill_supervisor()
        stack.launch()
        return
    for plane in ("data", "control") if target == "both" else (target,):
        stack.kill(plane)


async def _nothing_held(stack: Stack, keys: Sequence[Key]) -> bool:
    return all(not each.held for each in (await _counted(stack, keys)).values())


async def _counted(stack: Stack, keys: Sequence[Key]) -> dict[str, Sums]:
    """Return the counters' sums by key, as a dry run tells them."""
    found: dict[str, Sums] = {}
    for key in keys:
        look = await stack.check(key.secret, dry_run=True)
        for limit in look.limits:
            sums = found.setdefault(limit.key_id, Sums())
            match limit.name, limit.unit:
                case "budget_limits.total", _:
                    sums.spent, sums.held = limit.spent, limit.held
                case "token_limits.total", _:
                    sums.tokens_spent, sums.tokens_held = limit.spent, limit.held
                case _, "requests":
                    sums.requests = limit.spent + limit.held
    return found


async def check_counters(stack: Stack, keys: Sequence[Key], asked: Sequence[Asked]) -> None:
    """Compare the counters of every key that has limits with the oracle."""
    expected = dict(sums_of(asked))
    del expected[stack.root["key_id"]]  # It has no limits that would show.
    found = await _counted(stack, keys)
    assert {name: _money(each) for name, each in found.items()} == {
        name: _money(each) for name, each in expected.items()
    }
    # A permission that was given back stays a request.
    assert all(found[name].requests >= expected[name].requests for name in expected)


def check_entries(database: sqlite3.Connection, book: Book, *, expire: bool) -> None:
    """Compare every entry of the ledger with the oracle.

    Two things are there that no client was told of, and both count: a permission whose
    caller was gone, which is given back; and, where holds `expire`, one whose answer was
    lost, and that ran out before its Check was repeated. The oracle learns of the latter here.
    """
    query = (
        "SELECT key_id, request_id, status, charged_cost, charged_tokens, held_cost, held_tokens "
        "FROM audit WHERE decision_id NOT LIKE 'adm_%'"
    )
    rows = Counter(row for row in database.execute(query) if row[2:5] != ("cancelled", 0, 0))
    expected = Counter(map(_row_of, book.asked))
    missing, extra = expected - rows, rows - expected
    assert not missing, f"not as it was acknowledged: {missing}; instead: {extra}"
    assert set(extra.values()) <= {1}, "nothing is there twice"
    key_of = {each.key.id: each.key for each in book.asked}
    for key_id, request_id, *rest in extra:
        assert expire, "a hold that nobody knows of"
        assert request_id in book.twice
        assert rest == ["expired", HELD_COST, HELD_TOKENS, 0, 0]
        lost = Asked(key_of[key_id], request_id, status="expired")
        lost.cost, lost.tokens = HELD_COST, HELD_TOKENS
        book.asked.append(lost)


def check_sums(database: sqlite3.Connection, root: str, asked: Sequence[Asked]) -> None:
    """Compare the ledger's sums with the oracle."""
    query = (
        "SELECT key_id, cost, held_cost, tokens, held_tokens, requests "
        "FROM key_spend WHERE period = 'total'"
    )
    found = {row[0]: Sums(*row[1:]) for row in database.execute(query)}
    expected = sums_of(asked)
    assert {name: _money(each) for name, each in found.items()} == {
        name: _money(each) for name, each in expected.items()
    }
    query = "SELECT COUNT(*) FROM audit WHERE status = 'cancelled' AND charged_tokens = 0"
    (given_back,) = database.execute(query).fetchone()
    assert found[root].requests == expected[root].requests + given_back
    ended = [each for each in asked if each.status != "pending"]
    used = database.execute("SELECT SUM(requests), SUM(cost) FROM usage_daily").fetchone()
    assert used == (len(ended) + given_back, sum(each.cost for each in ended))


def _money(sums: Sums) -> tuple[int, int, int, int]:
    return sums.spent, sums.held, sums.tokens_spent, sums.tokens_held


def _row_of(asked: Asked) -> tuple[object, ...]:
    live = asked.status == "pending"
    return (
        asked.key.id,
        asked.request_id,
        asked.status,
        0 if live else asked.cost,
        0 if live else asked.tokens,
        asked.held_cost if live else 0,
        asked.held_tokens if live else 0,
    )
