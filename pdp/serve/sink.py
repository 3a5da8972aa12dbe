"""The `UsageSink` of the data plane: the journal, with fsync grouped off the hot path."""

import asyncio
from typing import Protocol

import structlog

from pdp.errors import SpoolFailed
from pdp.spool.records import Record

_log = structlog.get_logger(__name__)


class Appendable(Protocol):
    """The part of the journal that the sink needs."""

    def append(self, record: Record) -> None:
        """Write one record; raises `SpoolFailed`."""
        ...

    def sync(self) -> None:
        """Make what was appended survive a power cut; blocks. Raises `SpoolFailed`."""
        ...


class JournalSink:
    """Appends at once and syncs every `interval` seconds while there is something to sync.

    A killed process loses nothing (the kernel has the bytes); a power cut at
    most one interval.
    """

    def __init__(self, journal: Appendable, interval: float = 0.005) -> None:
        self._journal = journal
        self._interval = interval
        self._dirty = asyncio.Event()

    def append(self, record: Record) -> None:
        """Write one record before returning."""
        self._journal.append(record)
        self._dirty.set()

    async def sync_forever(self) -> None:
        """Sync until cancelled."""
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            try:
                await asyncio.to_thread(self._journal.sync)
            except SpoolFailed as error:
                # The bytes are with the kernel; only a power cut could still take them.
                _log.error("the spool cannot be synced, trying again", error=str(error))
                self._dirty.set()
                await asyncio.sleep(1.0)
            await asyncio.sleep(self._interval)
