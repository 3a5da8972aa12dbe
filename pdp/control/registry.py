"""Data planes at every control plane of one database, so that those that count apart are refused.

A row each, written when it comes and goes, and renewed by one statement each some seconds.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from pdp.control.attendance import clash
from pdp.errors import Conflict, Unavailable
from pdp.store import data_planes
from pdp.store.database import Database

_log = structlog.get_logger(__name__)

BEAT: Final = 5.0
"""Seconds from one renewal to the next."""

EXPIRY: Final = 15
"""Seconds after which a data plane is gone whose control plane says nothing of it."""

_LOOKS, _PAUSE = 4, 0.2
"""How often one is looked for that leaves as another comes, and the seconds between."""

_FORGOTTEN: Final = 3600


class Registry:
    """What one control plane tells the others; `name` is its own, another at each start."""

    def __init__(
        self, database: Database, name: str, sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        self._database = database
        self._name = name
        self._sleep = sleep
        self._here: dict[str, str] = {}
        self._known: set[str] = set()
        self._closing = False
        self._lock = asyncio.Lock()

    async def enter(self, name: str, counters: str) -> None:
        """Note that a data plane is here.

        Raises `Conflict` while one is elsewhere that it must not be beside. Raises
        `Unavailable` without SQL, but not for one that was let in before.
        """
        for look in range(_LOOKS):
            try:
                words = await self._enter(name, counters)
            except Unavailable:
                if name not in self._known:
                    raise
                words = ""
            if not words:
                self._here[name] = counters
                self._known.add(name)
                return
            if look + 1 < _LOOKS:
                await self._sleep(_PAUSE)
        raise Conflict(words)

    async def _enter(self, name: str, counters: str) -> str:
        async with self._lock, self._database.writing() as connection:
            await data_planes.lock(connection)
            others = await data_planes.seen_within(connection, EXPIRY)
            words = clash(name, counters, others)
            if not words:
                await data_planes.put(connection, self._name, {name: counters})
            return words

    async def leave(self, name: str) -> None:
        """Note that it is gone; at our own end it is not, and comes back or goes to another."""
        self._here.pop(name, None)
        if self._closing:
            return
        try:
            async with self._lock:
                if name not in self._here:
                    async with self._database.writing() as connection:
                        await data_planes.remove(connection, self._name, name)
        except Unavailable as error:
            _log.warning("a data plane is gone, and others hear of it later", error=str(error))

    async def run(self) -> None:
        """Renew what is here, until cancelled."""
        try:
            while True:
                await self._sleep(BEAT)
                try:
                    await self.beat()
                except Unavailable as error:
                    _log.warning("data planes are not renewed, trying again", error=str(error))
        finally:
            self._closing = True

    async def beat(self) -> None:
        """Renew what is here. Raises `Unavailable`."""
        async with self._lock:
            here = dict(self._here)
            if not here:
                return
            async with self._database.writing() as connection:
                others = await data_planes.seen_within(connection, EXPIRY)
                await data_planes.put(connection, self._name, here)
                await data_planes.prune(connection, _FORGOTTEN)
        for name, counters in here.items():
            if words := clash(name, counters, others):
                # Both were here while the database was not.
                _log.error("data planes count apart", data_plane=name, reason=words)
