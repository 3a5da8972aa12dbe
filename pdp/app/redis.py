"""Counters in Redis, made and joined."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from pdp.app.counters import Counting
from pdp.app.reached import Reached
from pdp.counters.redis.address import parse_address
from pdp.counters.redis.alone import Alone
from pdp.counters.redis.breaker import Breaker
from pdp.counters.redis.counters import RedisCounters
from pdp.counters.redis.history import History
from pdp.counters.redis.line import Line
from pdp.counters.redis.own import OwnHolds
from pdp.counters.redis.roots import Roots
from pdp.counters.redis.stats import LineStats
from pdp.counters.redis.tender import Tender
from pdp.data.books import Books
from pdp.data.control import ControlClient
from pdp.key import CompiledKey
from pdp.ports import KeySource
from pdp.quota.hold import Hold
from pdp.records import Overruled
from pdp.serve.histogram import Histogram
from pdp.serve.turn import Turn
from pdp.settings import Settings
from pdp.spool.journal import Journal
from pdp.spool.segment import list_segments

_JOIN_PATIENCE: Final = 1.0
"""Seconds that a request waits for its root to be joined: longer, and its caller is gone."""

_PROBE_INTERVAL: Final = 250_000_000
"""ns between two looks whether Redis is back."""


def count_in_redis(
    settings: Settings,
    control: ControlClient,
    keys: KeySource,
    history: History,
    holds: Sequence[Hold],
    turn: Turn,
) -> Counting:
    """Return the counters of a data plane; `holds` are the live ones of its spool."""
    latency = Histogram()
    stats = LineStats(latency.observe)
    roots = _roots_on(settings, control, history, holds, stats, turn)
    alone = Alone(is_lenient=settings.on_backend_error == "allow")
    counters = RedisCounters(roots, _roots_of(keys), alone)
    reached = reached_of(settings)
    tender = Tender(
        counters, roots, history.spool_id, time.time_ns, time.monotonic_ns, reached.note
    )
    return Counting(counters, tender, stats, latency, planes=reached.by())


def reached_of(settings: Settings) -> Reached:
    """Return what is known of the Redis of the settings from before."""
    assert settings.redis_url is not None
    return Reached(settings.data_dir, parse_address(settings.redis_url.reveal()).place)


async def count_rest(settings: Settings, control: ControlClient, journal: Journal) -> None:
    """Let Redis count what it has not of a spool to which nothing is added. Raises `Unavailable`.

    Then it is nobody's whom others would wait for.
    """
    roots = _roots_on(settings, control, history_of(journal, journal.append), (), LineStats())
    try:
        # Redis may not know the root again of what is only here, if it has just lost its data.
        for root in sorted(await roots.line.roots() | await roots.history.roots()):
            await roots.join(roots.lane(root))
        await roots.line.take_leave(journal.spool_id)
    finally:
        await roots.close()


def _roots_on(
    settings: Settings,
    control: ControlClient,
    history: History,
    holds: Sequence[Hold],
    stats: LineStats,
    turn: Turn | None = None,
) -> Roots:
    assert settings.redis_url is not None
    return Roots(
        owner=history.spool_id,
        line=Line(
            parse_address(settings.redis_url.reveal()),
            deadline=settings.redis_deadline,
            most_connections=settings.redis_connections,
            stats=stats,
        ),
        ledger=Books(control),
        history=history,
        own=OwnHolds(holds),
        breaker=Breaker(_PROBE_INTERVAL),
        stats=stats,
        patience=_JOIN_PATIENCE,
        monotonic=time.monotonic_ns,
        hold_ttl=int(settings.hold_ttl * 1_000_000_000),
        turn=turn,
    )


def _roots_of(keys: KeySource) -> Callable[[str], str | Awaitable[str]]:
    async def wait(finding: Awaitable[CompiledKey | None]) -> str:
        return _root(await finding)

    def root_of_key(key_id: str) -> str | Awaitable[str]:
        found = keys.by_id(key_id) if key_id else None
        return _root(found) if found is None or isinstance(found, CompiledKey) else wait(found)

    return root_of_key


def _root(key: CompiledKey | None) -> str:
    return "" if key is None else key.ancestors[-1]


def history_of(journal: Journal, append: Callable[[Overruled], None]) -> History:
    """Return a spool as what Redis is to count; `append` adds a record to it."""

    def read_now(first: int, most: int) -> Sequence[tuple[int, bytes]]:
        # What is gone from the spool is in the ledger, and was counted long ago.
        first = max(first, list_segments(journal.directory)[0].first)
        found = journal.read(first, most)
        if not found and first < journal.next_sequence:
            journal.sync()
            found = journal.read(first, most)
        return found

    async def read(first: int, most: int) -> Sequence[tuple[int, bytes]]:
        return await asyncio.to_thread(read_now, first, most)

    return History(
        journal.spool_id, read, lambda: journal.next_sequence, journal.shipped_until, append
    )
