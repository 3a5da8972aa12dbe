"""Tell watchers of changes, whoever made them: one look at the change counter finds them all.

What a watcher costs does not grow with their number: a quiet heartbeat is the poller's own
look, and those who wait for the same change share one question.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from pdp.errors import Unavailable
from pdp.store import changes
from pdp.store.changes import Changes
from pdp.store.database import Database

POLL_INTERVAL = 0.2
"""Seconds: how late a change by another process (the CLI, another control plane) is noticed.
What this process changes it notices at once."""

_APART = 0.05
"""Seconds between two looks: of many changes in a row the first is told at once, the others
together."""

HEARTBEAT = 1.0
"""Seconds between two messages to a watcher when nothing changes."""


class ChangeFeed:
    """One poller for any number of watchers."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._revision = -1
        self._seen_at = float("-inf")
        self._nudges = 0
        self._moved = asyncio.Condition()
        self._looks: dict[int, asyncio.Task[Changes]] = {}

    async def run(self) -> None:
        """Poll until cancelled; a database that is away is asked again."""
        while True:
            # Before the look: what is committed during it may not be in it.
            self._database.changed.clear()
            try:
                async with self._database.reading() as connection:
                    revision = await changes.current(connection)
            except Unavailable:
                # Watchers hear nothing meanwhile, and so know that they may be behind.
                await asyncio.sleep(POLL_INTERVAL)
                continue
            self._seen_at = asyncio.get_running_loop().time()
            if revision != self._revision:
                async with self._moved:
                    self._revision = revision
                    self._moved.notify_all()
            await asyncio.sleep(_APART)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_INTERVAL - _APART):
                    await self._database.changed.wait()

    async def watch(self, after: int) -> AsyncIterator[Changes]:
        """Yield what changed after a revision, the first answer at once; empty: a heartbeat.

        Every message means that the database was read less than a heartbeat ago.
        `after` 0 starts from now: who knows nothing has nothing to forget.
        """
        if after == 0:
            async with self._database.reading() as connection:
                found = Changes(await changes.current(connection))
        else:
            found = await self._since(after)
        while True:
            # Before the message: who is nudged while it is being sent is told again.
            nudges = self._nudges
            yield found
            found = await self._next(found.revision, nudges)

    async def nudge(self) -> None:
        """Have every watcher told at once of what is beside the changes: prices."""
        async with self._moved:
            self._nudges += 1
            self._moved.notify_all()

    async def moved(self, after: int, within: float) -> int:
        """Wait for the revision to be another than `after`, `within` seconds; return it."""
        with contextlib.suppress(TimeoutError):
            async with self._moved, asyncio.timeout(within):
                await self._moved.wait_for(lambda: self._revision != after)
        return self._revision

    async def _next(self, after: int, nudges: int) -> Changes:
        """Return what comes after a revision: a change, or a heartbeat or nudge without one."""
        with contextlib.suppress(TimeoutError):
            async with self._moved, asyncio.timeout(HEARTBEAT):
                await self._moved.wait_for(lambda: self._revision > after or self._nudges != nudges)
        age = asyncio.get_running_loop().time() - self._seen_at
        if self._revision == after and age < 2 * POLL_INTERVAL:
            return Changes(after)
        return await self._since(after)

    async def _since(self, after: int) -> Changes:
        """Ask the database, together with all who ask the same meanwhile."""
        look = self._looks.get(after)
        if look is None:
            look = self._looks[after] = asyncio.create_task(self._look(after))
            look.add_done_callback(lambda done: self._looked(after, done))
        # One watcher's end must not take the answer from the others.
        return await asyncio.shield(look)

    async def _look(self, after: int) -> Changes:
        async with self._database.reading() as connection:
            return await changes.since(connection, after)

    def _looked(self, after: int, done: "asyncio.Task[Changes]") -> None:
        del self._looks[after]
        if not done.cancelled():
            done.exception()  # Everybody who asked may be gone; then nobody else looks at it.
