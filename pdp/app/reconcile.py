"""Counters in Redis and the ledger, brought together to be compared."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import structlog

from pdp.control.books import SqlBooks, books_of
from pdp.counters.redis.address import parse_address
from pdp.counters.redis.away import Away
from pdp.counters.redis.line import Line
from pdp.counters.redis.stats import LineStats
from pdp.counters.redis.watched import WatchedCounters
from pdp.errors import Conflict, PdpError, Unavailable
from pdp.reconcile.comparison import Pace
from pdp.reconcile.reconciler import Choice, Outcome, Reconciler, never
from pdp.reconcile.told import packed, told_of
from pdp.reconcile.unattended import Unattended
from pdp.settings import Settings
from pdp.store.database import Database

_log = structlog.get_logger(__name__)

INTERVAL: Final = 300.0
"""Seconds between two comparisons by a control plane."""

PACE: Final = Pace()

_DEADLINE: Final = 2.0
"""Seconds for a call: nobody waits for it."""

_CONNECTIONS: Final = 2


@asynccontextmanager
async def line_of(settings: Settings) -> AsyncIterator[Line]:
    """Give a control plane's line to Redis."""
    assert settings.redis_url is not None
    line = Line(
        parse_address(settings.redis_url.reveal()),
        deadline=_DEADLINE,
        most_connections=_CONNECTIONS,
        stats=LineStats(),
    )
    try:
        yield line
    finally:
        await line.close()


async def reconcile(
    settings: Settings, database: Database, correct: Choice, organization_id: str | None = None
) -> list[Outcome]:
    """Compare each organization, or one, and correct what differs if so chosen.

    Where it is of all, data planes hear of it for their metrics. Where it cannot be done of
    some, it is of the others; of none: raises `Unavailable`, or `Conflict` where somebody
    else compares just now. Raises `NotFound`.
    """
    reconciler = Reconciler(
        clock=time.time_ns,
        monotonic=time.monotonic_ns,
        rest=asyncio.sleep,
        pace=PACE,
        hold_ttl=int(settings.hold_ttl * 1_000_000_000),
    )
    async with line_of(settings) as line:
        found = await books_of(database, organization_id)
        outcomes, errors = await _all_of(found, line, reconciler, correct)
        if errors and len(errors) == len(outcomes):
            raise errors[0]
        if organization_id is None and not errors:
            drifts = [drift for outcome in outcomes for drift in outcome.standing]
            await line.tell_drift(packed(told_of(drifts, time.time_ns() // 1_000_000_000)))
    return outcomes


async def _all_of(
    found: Sequence[SqlBooks], line: Line, reconciler: Reconciler, correct: Choice
) -> tuple[list[Outcome], list[PdpError]]:
    """Compare one after another, until Redis is away: it is asked no more then."""
    outcomes: list[Outcome] = []
    errors: list[PdpError] = []
    away = await _away(line)
    for books in found:
        counters = WatchedCounters(line, books.root_key_id, secrets.token_hex(8))
        try:
            if away is not None:
                raise away
            outcomes.append(await reconciler.reconcile(books, counters, correct=correct))
        except (Conflict, Unavailable) as error:
            errors.append(error)
            names = books.organization_id, books.root_key_id
            outcomes.append(Outcome(*names, "not compared", trouble=str(error)))
            away = away or await _away(line)
    return outcomes, errors


async def _away(line: Line) -> Away | None:
    """Return what is wrong with Redis; None: it answers."""
    try:
        await line.ping()
    except Away as error:
        return error
    return None


class Round:
    """What a control plane does every few minutes: it compares.

    It corrects nothing, or, with `PDP_RECONCILE=correct`, what has stood since the last time.
    """

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        corrects = settings.reconcile == "correct"
        self._correct: Choice = Unattended().is_sure if corrects else never

    async def check(self) -> None:
        """Compare all organizations, and log what differs. Raises `Unavailable`."""
        try:
            outcomes = await reconcile(self._settings, self._database, self._correct)
        except Conflict:
            return  # Somebody else is at it.
        for outcome in outcomes:
            if outcome.corrected:
                _log.warning(
                    "counters have been corrected by the ledger: see the audit log",
                    organization=outcome.organization_id,
                    sums=len(outcome.corrected),
                )
            if outcome.trouble:
                _log.warning(
                    "counters are not compared, trying again",
                    organization=outcome.organization_id,
                    error=outcome.trouble,
                )
            if outcome.has_drift:
                _log.error(
                    "counters differ from the ledger: look with `pdp reconcile --check`, "
                    "correct with `pdp reconcile`",
                    organization=outcome.organization_id,
                    sums=sum(not drift.is_explained for drift in outcome.standing),
                )
