"""From the spool to the ledger: batches, in order, until the control plane has committed them."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from pdp.data.pace import Look, is_busy, rest_after
from pdp.errors import Refused, StartRefused, Unavailable

_log = structlog.get_logger(__name__)

_BATCH = 500
_PATIENCE, _PATIENCE_AT_START = 3, 30
"""Failures in a row that are worth a word: at the start the other plane may come second."""
_REMINDER = 12
"""Refusals from one word to the next."""


class Journal(Protocol):
    """The part of the spool that the shipper needs."""

    spool_id: str
    next_sequence: int

    def read(self, from_sequence: int, max_records: int) -> Sequence[tuple[int, bytes]]:
        """Return (sequence, record) in order; empty: nothing newer. Runs in a thread."""
        ...

    def shipped(self, next_sequence: int) -> None:
        """Note that every record below is in the ledger."""
        ...


class Ledger(Protocol):
    """The part of the control client that the shipper needs."""

    async def ingest(self, spool_id: str, first_sequence: int, records: Sequence[bytes]) -> int:
        """Hand records over; return the sequence number that comes next."""
        ...


class Shipper:
    """Ships what is in the spool; what is committed is never shipped twice in vain.

    The ledger keeps the position, so a restarted data plane only has to ask: `placed` is
    set once it has. Make it before anything is appended. `idle`, `retry_delay` and
    `refused_delay` are seconds between looks where there was nothing, nobody, or no way on;
    pdp/data/pace.py says how long it rests under load. `clock` counts seconds from any time.
    """

    def __init__(
        self,
        journal: Journal,
        ledger: Ledger,
        *,
        idle: float = 0.1,
        retry_delay: float = 0.5,
        refused_delay: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._journal = journal
        self._ledger = ledger
        self._idle = idle
        self._retry_delay = retry_delay
        self._end_at_start = journal.next_sequence
        self._refused_delay = refused_delay
        self._clock = clock
        self._looked = self._look()
        self.refusals = 0
        """How often the ledger has refused the same records; 0: it takes them."""
        self._next: int | None = None
        self.placed = asyncio.Event()

    @property
    def backlog(self) -> int:
        """How many records are not in the ledger yet; 0 while that is not known."""
        return 0 if self._next is None else self._journal.next_sequence - self._next

    async def run(self) -> None:
        """Ship until cancelled; the control plane may come and go. Raises `StartRefused`."""
        failures = 0
        while True:
            start = self._clock()
            try:
                await self.ship()
                failures = 0
            except Refused as error:
                failures = 0
                self._complain(error)
                await asyncio.sleep(self._refused_delay)
                continue
            except Unavailable as error:
                failures += 1
                if failures == (_PATIENCE if self.placed.is_set() else _PATIENCE_AT_START):
                    _log.warning("ledger out of reach, records stay in the spool", error=str(error))
                # At the start, Checks wait for the place.
                await asyncio.sleep(self._retry_delay if self.placed.is_set() else self._idle)
                continue
            await asyncio.sleep(self.rest(self._clock() - start))

    def rest(self, took: float) -> float:
        """Return the seconds to wait after a batch that took `took` seconds."""
        before, self._looked = self._looked, self._look()
        # A call costs as much as a hundred records: let some gather.
        least = self._idle if self.backlog < _BATCH else 0.0
        if not is_busy(before, self._looked):
            return least
        return max(least, rest_after(took, self.backlog))

    def _look(self) -> Look:
        return Look(self._clock(), self._journal.next_sequence)

    def _complain(self, error: Refused) -> None:
        if self.refusals % _REMINDER == 0:
            _log.error(
                "ledger refuses records, all since then stay in the spool",
                first_sequence=self._next,
                refusals=self.refusals + 1,
                error=str(error),
            )
        self.refusals += 1

    async def ship(self) -> bool:
        """Ship one batch; False if there was nothing to ship."""
        if self._next is None:
            await self._ask()
        if not self.backlog:
            return False
        # In a thread: the first read of a long segment takes a tenth of a second.
        batch = await asyncio.to_thread(self._journal.read, self._next or 0, _BATCH)
        if not batch:
            return False
        first = batch[0][0]
        records = [record for _, record in batch]
        self._acknowledge(await self._ledger.ingest(self._journal.spool_id, first, records))
        return True

    async def _ask(self) -> None:
        """Find the place; raises `StartRefused` if the ledger knows more than the spool did.

        That is, at the start: records that came since do not make an old copy newer. Nor is a
        place given to a copy of a spool that is in use.
        """
        try:
            following = await self._ledger.ingest(self._journal.spool_id, 0, ())
        except Refused as error:
            raise StartRefused(str(error)) from error
        if following > self._end_at_start:
            raise StartRefused(
                f"the spool ends at record {self._end_at_start}, the ledger has "
                f"{following} of it: it is an old copy, and counters would forget what was spent "
                "since; put the newest one back, or remove the spool to count from zero"
            )
        self._acknowledge(following)
        self.placed.set()

    async def drain(self) -> None:
        """Ship all there is; raises `Unavailable` when the control plane is gone."""
        while await self.ship():
            pass

    def _acknowledge(self, next_sequence: int) -> None:
        self._next = next_sequence
        self.refusals = 0
        self._journal.shipped(next_sequence)
