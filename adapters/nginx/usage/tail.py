"""Usage lines at the end of a growing file: nothing is lost while nobody reads.

What is read is saved only after it is durable in the spool: a restart reads some lines
again, which are known by then, and none less.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

import structlog

from adapters.nginx.usage.channel import Complaint
from adapters.nginx.usage.follower import Follower
from adapters.nginx.usage.intake import Intake
from adapters.nginx.usage.place import Places, load_places, save_places
from pdp.errors import StartRefused, Unavailable

_log = structlog.get_logger(__name__)

T = TypeVar("T")

POLL: Final = 0.2
"""Seconds between two looks at a file that does not grow."""

SAVE: Final = 1.0
"""Seconds between two saved places while it does."""


class Tail:
    """Follows the log `path`, and keeps in `saved` how far.

    `durable` waits until all that was reported survives a power cut, or raises `Unavailable`.
    Files are read in a thread of its own: a slow disk must not hold up Checks.
    """

    def __init__(
        self,
        path: Path,
        saved: Path,
        intake: Intake,
        durable: Callable[[], Awaitable[None]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises `StartRefused` when the places cannot be read."""
        self._saved = saved
        self._intake = intake
        self._durable = durable
        self._clock = clock
        try:
            places = load_places(saved, path)
        except OSError as error:
            reason = (error.strerror or "cannot be read").lower()
            raise StartRefused(f"PDP_DATA_DIR: `{saved}`: {reason}") from error
        self._follower = Follower(path, places, clock)
        self._begun = False
        self._taken: Places | None = None
        self._saved_at = clock()
        self._thread = ThreadPoolExecutor(1, "usage-log")
        self._unreadable = Complaint(_log, "the usage log cannot be read, trying again")
        self._unsaved = Complaint(_log, "cannot save how far the usage log was read, trying again")

    def counts(self) -> list[tuple[str, str, int]]:
        """Return (channel, result, lines)."""
        return self._intake.channel.counts()

    async def run(self) -> None:
        """Take lines until cancelled."""
        while True:
            try:
                lines = await self._in_thread(self._read)
                self._unreadable.over()
            except OSError as error:
                self._unreadable.say(error=(error.strerror or str(error)).lower())
                lines = []
            if lines:
                for line in lines:
                    await self._intake.take(line)
                await self._intake.done()
                self._taken = self._follower.places()
            if self._taken and (not lines or self._clock() - self._saved_at >= SAVE):
                await self._save()
            if not lines:
                await asyncio.sleep(POLL)

    async def finish(self) -> None:
        """Save how far lines were taken, and close everything. Call when `run` has ended."""
        await self._intake.give_up()  # Those are read again: their place is not saved.
        if self._taken:
            await self._save()
        await self._in_thread(self._follower.close)
        self._thread.shutdown(wait=False)

    def _read(self) -> list[bytes]:
        if not self._begun:
            self._follower.begin()
            # From here on nothing that is rotated is old, also if we are killed in a moment.
            save_places(self._saved, self._follower.places())
            self._begun = True
        return self._follower.read()

    async def _save(self) -> None:
        taken = self._taken
        assert taken is not None
        try:
            await self._durable()
            await self._in_thread(lambda: save_places(self._saved, taken))
        except (Unavailable, OSError) as error:
            self._unsaved.say(error=str(error))
            return
        self._unsaved.over()
        self._saved_at = self._clock()
        self._taken = None

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
