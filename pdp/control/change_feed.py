"""Tell watchers of changes, whoever made them: one look at the change counter finds them all."""

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

HEARTBEAT = 1.0
"""Seconds between two messages to a watcher when nothing changes."""


class ChangeFeed:
    """One poller for any number of watchers."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._revision = -1
        self._moved = asyncio.Condition()

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
            async with self._moved:
                self._revision = revision
                self._moved.notify_all()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_INTERVAL):
                    await self._database.changed.wait()

    async def watch(self, after: int) -> AsyncIterator[Changes]:
        """Yield what changed after a revision, the first answer at once; empty: a heartbeat.

        Every message means that the database was read less than a heartbeat ago.
        `after` 0 starts from now: who knows nothing has nothing to forget.
        """
        async with self._database.reading() as connection:
            found = (
                Changes(await changes.current(connection))
                if after == 0
                else (await changes.since(connection, after))
            )
        while True:
            yield found
            after = found.revision
            await self._next(after)
            async with self._database.reading() as connection:
                found = await changes.since(connection, after)

    async def _next(self, after: int) -> None:
        """Wait for a change, a heartbeat at most."""
        async with self._moved:
            try:
                async with asyncio.timeout(HEARTBEAT):
                    await self._moved.wait_for(lambda: self._revision > after)
            except TimeoutError:
                return
