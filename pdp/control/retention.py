"""Retention of the audit log: entries older than some days go, beside everything else.

Sums of keys and days stay: they are the ledger's own, not computed from entries. An
entry goes only when nothing can change these sums through it any more: a pending one
never, an expired one after everybody has given up on its late report.
"""

from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from pdp.store import retention as store
from pdp.store.database import Database

_log = structlog.get_logger(__name__)

SWEEP_INTERVAL: Final = 600.0
"""Seconds between two sweeps."""
BATCH: Final = 500
"""Entries in one transaction: a few ms, for which writers wait."""
PAUSE: Final = 0.05
"""Seconds between two batches: what is written meanwhile goes first."""

_DAY: Final = 86_400 * 1_000_000_000
_CORRECTED: Final = 7 * _DAY
"""How much longer an expired entry stays: its late report corrects the sums by it."""


class Retention:
    """Deletes what is older than `days` at `clock()` (ns). `rest` waits some seconds."""

    def __init__(
        self,
        database: Database,
        days: int,
        clock: Callable[[], int],
        rest: Callable[[float], Awaitable[object]],
    ) -> None:
        self._database = database
        self._days = days
        self._clock = clock
        self._rest = rest

    async def sweep(self) -> int:
        """Delete all that is due; return how many entries that were. Raises `Unavailable`."""
        before = self._clock() - self._days * _DAY
        async with self._database.reading() as connection:
            organization_ids = await store.organization_ids(connection)
        gone = 0
        for each in organization_ids:
            gone += await self._sweep(each, before)
        if gone:
            _log.info("old audit entries deleted", entries=gone, older_than_days=self._days)
        return gone

    async def _sweep(self, organization_id: str, before: int) -> int:
        gone, after = 0, None
        while True:
            async with self._database.writing() as connection:
                deleted, after = await store.delete_some(
                    connection, organization_id, before, before - _CORRECTED, after, BATCH
                )
            gone += deleted
            if after is None:
                return gone
            await self._rest(PAUSE)
