"""House-keeping of a spool beside a running data plane, all of it off the event loop."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from typing import Final

import structlog

from pdp.counters.memory import MemoryCounters
from pdp.errors import SpoolFailed, StartRefused
from pdp.spool.checkpoint import Checkpoint, save
from pdp.spool.journal import Journal

_log = structlog.get_logger(__name__)

_DAY: Final = 86_400_000_000_000
_MINUTE: Final = 60_000_000_000


class SpoolKeeper:
    """Flushes, compacts, drops and prunes. Call `keep` every second or so."""

    def __init__(
        self,
        journal: Journal,
        counters: MemoryCounters,
        clock: Callable[[], int],
        *,
        needed: Callable[[], int] | None = None,
    ) -> None:
        """`needed`: counters are elsewhere, and may be told the records from there on again.

        Then `counters` stand for nothing but what they have `seen`.
        """
        self._journal = journal
        self._counters = counters
        self._clock = clock
        self._needed = needed
        self._covered = 0
        self._pruned_on = 0
        self._process: subprocess.Popen[str] | None = None
        self._closed = False
        self._told_at: int | None = None

    async def keep(self) -> None:
        """Do what is due. Raises `SpoolFailed` when something could not be done; do it again."""
        now = self._clock()
        self._tell_room(now)
        self._counters.prune(now)
        # Before the flush: of what a checkpoint covers, nothing may be in memory alone.
        end = self._journal.closed_until()
        await asyncio.to_thread(self._counters.seen.flush)
        if now // _DAY != self._pruned_on:
            await asyncio.to_thread(self._counters.seen.prune, now)
            self._pruned_on = now // _DAY
        if end > self._covered:
            # The checkpoint must not know more than what survives a power cut.
            await asyncio.to_thread(self._journal.sync)
            self._covered = await asyncio.to_thread(self._compact, end)
        covered = self._covered
        if self._needed is not None:
            covered = min(covered, self._needed())
        await asyncio.to_thread(self._journal.drop, covered)

    def _tell_room(self, now: int) -> None:
        """Say every minute that the spool fills up, and once that it does no longer."""
        journal = self._journal
        size, most, told = journal.size, journal.room.max_bytes, self._told_at
        if size * 5 < most * 4:
            if told is not None:
                _log.info("the spool has room again", bytes=size, max_bytes=most)
                self._told_at = None
        elif told is None or not 0 <= now - told < _MINUTE:
            _log.warning(
                "the spool fills up: see why the ledger does not take its records",
                bytes=size,
                max_bytes=most,
                denials="leave no audit entry" if journal.crowded else "are audited",
            )
            self._told_at = now

    def _compact(self, end: int) -> int:
        """Compact up to a record in another process; return up to which the checkpoint goes."""
        try:
            with subprocess.Popen(
                [sys.executable, "-m", "pdp.spool.compact", str(self._journal.directory), str(end)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            ) as process:
                self._process = process
                if self._closed:
                    process.kill()
                output, errors = process.communicate()
                self._process = None
        except OSError as error:
            raise SpoolFailed(f"cannot compact the spool: {error.strerror}") from error
        if process.returncode:
            raise SpoolFailed(f"cannot compact the spool: {errors.strip() or 'it was killed'}")
        return int(output)

    async def sync(self) -> None:
        """Sync the journal: what was appended so far can be shipped."""
        await asyncio.to_thread(self._journal.sync)

    def close(self) -> None:
        """Write a checkpoint of everything, so that the next start replays nothing, and close.

        Blocks; for a graceful stop, when nobody waits. Raises `SpoolFailed` when
        it could not be written: then the next start replays.
        """
        self._closed = True
        process = self._process
        if process is not None:
            process.kill()
        journal = self._journal
        try:
            journal.sync()
            self._counters.seen.flush()
            if self._needed is not None:
                return
            state = self._counters.snapshot()
            save(journal.directory, Checkpoint(journal.spool_id, journal.next_sequence, state))
        except (OSError, StartRefused) as error:
            raise SpoolFailed(f"cannot write a checkpoint: {error}") from error
        finally:
            self._counters.seen.close()
            journal.close()
