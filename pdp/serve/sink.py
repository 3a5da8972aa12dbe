"""The `UsageSink` of the data plane: the journal, with fsync grouped off the hot path."""

import asyncio
from collections import deque
from typing import Final, Protocol

import structlog

from pdp.errors import SpoolFailed
from pdp.records import Denied, Record
from pdp.serve.logs import log_defect

_log = structlog.get_logger(__name__)

MOST_OWED: Final = 50_000
"""Records, about 1 kB each, that wait in memory for a disk that is full."""


_SLICE: Final = 200
"""Records that are written in one go: about a millisecond."""


class Appendable(Protocol):
    """The part of the journal that the sink needs."""

    @property
    def crowded(self) -> bool:
        """Whether what moves no counter should leave the rest of the room to what does."""
        ...

    def append(self, *records: Record) -> None:
        """Write records in one go; raises `SpoolFailed` and writes none."""
        ...

    def sync(self) -> None:
        """Make what was appended survive a power cut; blocks. Raises `SpoolFailed`."""
        ...


class JournalSink:
    """Appends at once and syncs every `interval` seconds while there is something to sync.

    A killed process loses nothing (the kernel has the bytes); a power cut at
    most one interval. While the disk is full records wait here, in their order:
    then a killed process does lose them, and no report is acknowledged. Denials, which
    anybody may cause, are `skipped` where room gets scarce, on disk or here.
    """

    def __init__(
        self,
        journal: Appendable,
        *,
        interval: float = 0.005,
        retry_delay: float = 1.0,
        most_owed: int = MOST_OWED,
    ) -> None:
        self._journal = journal
        self._interval = interval
        self._retry_delay = retry_delay
        self._most_owed = most_owed
        self._dirty = asyncio.Event()
        self._owed: deque[Record] = deque()
        self._batch: list[Record] | None = None
        self.failures = 0
        self.skipped = 0

    @property
    def waiting(self) -> int:
        """How many records wait to be written."""
        return len(self._owed)

    @property
    def owing(self) -> bool:
        """Tell whether records wait to be written."""
        return bool(self._owed)

    def begin(self) -> None:
        """Gather the records that come until `end`, which nobody is told of before."""
        self._batch = []

    def end(self) -> None:
        """Write what was gathered in one go. What cannot be written is kept, or lost."""
        batch, self._batch = self._batch, None
        if not batch:
            return
        if not self._owed:
            try:
                self._journal.append(*batch)
            except Exception:  # noqa: S110
                pass  # One by one, each is kept or lost by itself, and says why.
            else:
                self._dirty.set()
                return
        for record in batch:
            try:
                self.append(record)
            except SpoolFailed:
                self.failures += 1
            except Exception as error:
                log_defect(_log, "a record cannot be written down", error)
                self.failures += 1

    def append(self, record: Record) -> None:
        """Write one record before returning, or keep it and raise `SpoolFailed`.

        Between `begin` and `end` it is written by `end`, before anybody is answered.
        """
        if record.__class__ is Denied and self._is_scarce():
            self.skipped += 1
            return
        if self._batch is not None:
            self._batch.append(record)
            return
        if self._owed:
            self._keep(record, "the spool cannot be written at the moment")
        try:
            self._journal.append(record)
        except SpoolFailed as error:
            _log.error("the spool cannot be written, keeping records in memory", error=str(error))
            self._keep(record, str(error))
        self._dirty.set()

    def _is_scarce(self) -> bool:
        return self._journal.crowded or len(self._owed) >= self._most_owed // 2

    def _keep(self, record: Record, reason: str) -> None:
        kept = len(self._owed) < self._most_owed
        if kept:
            self._owed.append(record)
            self._dirty.set()
        raise SpoolFailed(reason, kept=kept)

    async def pay(self) -> None:
        """Write what waits, in order; in between, calls are answered. Raises `SpoolFailed`."""
        while self._owed:
            for _ in range(min(_SLICE, len(self._owed))):
                self._journal.append(self._owed[0])
                self._owed.popleft()
            await asyncio.sleep(0)

    async def durable(self) -> None:
        """Return once all that was appended survives a power cut. Raises `SpoolFailed`."""
        await self.pay()
        await asyncio.to_thread(self._journal.sync)

    async def sync_forever(self) -> None:
        """Write what waits and sync, until cancelled."""
        failing = False
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            try:
                await self.pay()
                await asyncio.to_thread(self._journal.sync)
                if failing:
                    _log.info("the spool is well again")
                failing = False
            except SpoolFailed as error:
                if not failing:
                    _log.error("the spool is not well, trying again", error=str(error))
                failing = True
                self._dirty.set()
                await asyncio.sleep(self._retry_delay)
            await asyncio.sleep(self._interval)
