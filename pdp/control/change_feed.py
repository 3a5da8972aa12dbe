"""Tell watchers of changes, whoever made them: one look at the change counter finds them all."""

import asyncio
from collections.abc import AsyncIterator

from pdp.errors import Unavailable
from pdp.store import changes
from pdp.store.changes import Changes
from pdp.store.database import Database

POLL_INTERVAL = 0.2
"""Seconds: how late a change can be noticed, by this process or another (the CLI)."""

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
            await asyncio.sleep(POLL_INTERVAL)

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
